import type { Room } from 'rollcall/client';
import { expect, test } from 'vitest';
import { turn } from '../../support/fake-clock.js';
import { fc, MODEL_TIMEOUT } from '../../support/property.js';
import { Harness, WELCOME } from './harness.js';
import { Connection, ModelServer } from './model-server.js';

const ROOMS = ['a', 'b'];

const room = fc.constantFrom(...ROOMS);
const operation = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('send' as const), room }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('publish' as const), room }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('step' as const),
      requests: fc.integer({ min: 0, max: 4 }),
      frames: fc.integer({ min: 0, max: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 600 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cut' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rejoin' as const), room }) },
);
const fate = fc.constantFrom(
  ...(['answer', 'answer', 'answer', 'drop-before', 'drop-after', 'limit'] as const),
);

interface Listener {
  readonly room: Room;
  readonly name: string;
  readonly received: string[];
  readonly gaps: string[];
}

test(
  'connections that break at any point: each event is received once and in order, each resolved send is stored once, and no call stays pending',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(operation, { maxLength: 60 }),
        fc.array(fate, { maxLength: 60 }),
        async (operations, fates) => {
          const upcoming = [...fates];
          const server = new ModelServer(() => upcoming.shift() ?? 'answer');
          const all = new Harness({ timeout: 1e9, backoff: { first: 100, max: 200 } });
          const connections: Connection[] = [];
          /** Connects each new socket to the server and sends `welcome`. */
          const welcomeNewSockets = async () => {
            await turn();
            for (const socket of all.sockets.slice(connections.length)) {
              connections.push(new Connection(server, socket));
              socket.receive(WELCOME);
            }
          };
          const listen = (name: string): Listener => {
            const joined = all.client.join(name);
            const listener: Listener = { room: joined, name, received: [], gaps: [] };
            joined.on('message', (_, { position }) => listener.received.push(position!));
            joined.onDiscontinuity(({ reason }) => listener.gaps.push(reason));
            return listener;
          };
          const ended: (Listener & { readonly atLeave: number })[] = [];
          const listeners = new Map(ROOMS.map((name) => [name, listen(name)]));
          const resolved: { name: string; data: number; position: string }[] = [];
          const refused: { data: number; error: unknown }[] = [];
          let pending = 0;
          let count = 0;
          for (const each of operations) {
            await welcomeNewSockets();
            const connection = connections.at(-1)!;
            if (each.do === 'send') {
              const data = ++count;
              pending++;
              listeners
                .get(each.room)!
                .room.send('message', data)
                .then(({ position }) => resolved.push({ name: each.room, data, position: position! }))
                .catch((error: unknown) => refused.push({ data, error }))
                .finally(() => pending--);
            } else if (each.do === 'publish') server.publish(each.room, 'server');
            else if (each.do === 'step') connection.step(each.requests, each.frames);
            else if (each.do === 'wait') all.clock.advance(each.ms);
            else if (each.do === 'cut') connection.end();
            else {
              const old = listeners.get(each.room)!;
              void old.room.leave();
              ended.push({ ...old, atLeave: old.received.length });
              listeners.set(each.room, listen(each.room));
            }
          }
          upcoming.length = 0;
          for (let i = 0; i < 200 && (i < 20 || pending > 0); i++) {
            await welcomeNewSockets();
            connections.at(-1)!.step(1_000, 1_000);
            all.clock.advance(100);
          }
          await welcomeNewSockets();

          expect(pending).toBe(0);
          // Sends fail only in rooms that were left.
          for (const { error } of refused) expect(error).toMatchObject({ code: 'CLOSED' });
          if (ended.length === 0) expect(refused).toEqual([]);
          for (const { name, data, position } of resolved) {
            const stored = server.room(name).history.filter((each) => each.data === data);
            expect(stored.map((each) => each.position)).toEqual([position]);
          }
          for (const name of ROOMS) {
            const stored = server.room(name).history.map(({ data }) => data);
            const sentByClient = stored.filter((data) => data !== 'server') as number[];
            expect(new Set(sentByClient).size).toBe(sentByClient.length);
            // Only a send that was rate-limited may be overtaken.
            if (!fates.includes('limit'))
              expect(sentByClient).toEqual(sentByClient.toSorted((a, b) => a - b));
          }
          for (const { name, received, gaps, room } of [...listeners.values(), ...ended]) {
            const positions = server.room(name).history.map((stored) => stored.position);
            const from = received.length === 0 ? 0 : positions.indexOf(received[0]!);
            expect(received).toEqual(positions.slice(from, from + received.length));
            expect(gaps).toEqual([]);
            if (room.state === 'joined') expect(room.position).toBe(`p${positions.length}`);
            if (room.state === 'joined' && received.length > 0)
              expect(received.at(-1)).toBe(positions.at(-1));
          }
          for (const { room } of listeners.values()) expect(room.state).toBe('joined');
          for (const { room, received, atLeave } of ended) {
            expect(room.state).toBe('left');
            expect(received).toHaveLength(atLeave);
          }
          all.client.close();
          expect(all.clock.timers).toBe(0);
        },
      ),
      { numRuns: 300 },
    );
  },
  MODEL_TIMEOUT,
);
