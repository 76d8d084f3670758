import type { Room } from 'rollcall/client';
import { expect, test } from 'vitest';
import { turn } from '../../support/fake-clock.js';
import { fc } from '../../support/property.js';
import { Harness, WELCOME } from './harness.js';
import { Connection, ModelServer } from './model-server.js';

const ROOMS = ['a', 'b'];

const room = fc.constantFrom(...ROOMS);
const operation = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('send' as const), room }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('say' as const), room }) },
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
  readonly heard: string[];
  readonly told: string[];
}

test('whatever breaks: each event once and in order, each resolved send kept once, nothing left over', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(operation, { maxLength: 60 }),
      fc.array(fate, { maxLength: 60 }),
      async (operations, fates) => {
        const coming = [...fates];
        const server = new ModelServer(() => coming.shift() ?? 'answer');
        const all = new Harness({ timeout: 1e9, backoff: { first: 100, max: 200 } });
        const connections: Connection[] = [];
        /** Gives each new socket a server, which welcomes it. */
        const settle = async () => {
          await turn();
          for (const socket of all.sockets.slice(connections.length)) {
            connections.push(new Connection(server, socket));
            socket.say(WELCOME);
          }
        };
        const listen = (name: string): Listener => {
          const joined = all.client.join(name);
          const listener: Listener = { room: joined, name, heard: [], told: [] };
          joined.on('message', (_, { position }) => listener.heard.push(position!));
          joined.onDiscontinuity(({ reason }) => listener.told.push(reason));
          return listener;
        };
        const ended: (Listener & { readonly atLeave: number })[] = [];
        const listeners = new Map(ROOMS.map((name) => [name, listen(name)]));
        const resolved: { name: string; data: number; position: string }[] = [];
        const refused: { data: number; error: unknown }[] = [];
        let pending = 0;
        let count = 0;
        for (const each of operations) {
          await settle();
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
          } else if (each.do === 'say') server.say(each.room, 'server');
          else if (each.do === 'step') connection.step(each.requests, each.frames);
          else if (each.do === 'wait') all.clock.advance(each.ms);
          else if (each.do === 'cut') connection.end();
          else {
            const old = listeners.get(each.room)!;
            void old.room.leave();
            ended.push({ ...old, atLeave: old.heard.length });
            listeners.set(each.room, listen(each.room));
          }
        }
        coming.length = 0;
        for (let i = 0; i < 200 && (i < 20 || pending > 0); i++) {
          await settle();
          connections.at(-1)!.step(1_000, 1_000);
          all.clock.advance(100);
        }
        await settle();

        expect(pending).toBe(0);
        // Only a room that was left gives up what was to be said there.
        for (const { error } of refused) expect(error).toMatchObject({ code: 'CLOSED' });
        if (ended.length === 0) expect(refused).toEqual([]);
        for (const { name, data, position } of resolved) {
          const kept = server.room(name).history.filter((each) => each.data === data);
          expect(kept.map((each) => each.position)).toEqual([position]);
        }
        for (const name of ROOMS) {
          const kept = server.room(name).history.map(({ data }) => data);
          const said = kept.filter((data) => data !== 'server') as number[];
          expect(new Set(said).size).toBe(said.length);
          // Only what the server has put off may be overtaken.
          if (!fates.includes('limit')) expect(said).toEqual(said.toSorted((a, b) => a - b));
        }
        for (const { name, heard, told, room } of [...listeners.values(), ...ended]) {
          const positions = server.room(name).history.map((kept) => kept.position);
          const from = heard.length === 0 ? 0 : positions.indexOf(heard[0]!);
          expect(heard).toEqual(positions.slice(from, from + heard.length));
          expect(told).toEqual([]);
          if (room.state === 'joined') expect(room.position).toBe(`p${positions.length}`);
          if (room.state === 'joined' && heard.length > 0) expect(heard.at(-1)).toBe(positions.at(-1));
        }
        for (const { room } of listeners.values()) expect(room.state).toBe('joined');
        for (const { room, heard, atLeave } of ended) {
          expect(room.state).toBe('left');
          expect(heard).toHaveLength(atLeave);
        }
        all.client.close();
        expect(all.clock.timers).toBe(0);
      },
    ),
    { numRuns: 300 },
  );
}, 60_000);
