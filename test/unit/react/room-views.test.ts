import { expect, test } from 'vitest';
import { ClientRegistry } from '../../../src/react/registry.js';
import { RoomStore } from '../../../src/react/room-store.js';
import type { RoomView } from '../../../src/react/types.js';
import { toNamesKey } from '../../../src/react/validate.js';
import { turn } from '../../support/fake-clock.js';
import { fc, MODEL_TIMEOUT } from '../../support/property.js';
import { Harness, WELCOME } from '../client/harness.js';
import { Connection, type Fate, ModelServer } from '../client/model-server.js';

const ROOM = 'lobby';

interface Options {
  readonly last: number;
  readonly limit: number;
  readonly events: readonly string[] | undefined;
  /** The number of the event to begin around. */
  readonly around?: number;
  readonly maxLoaded?: number;
}

/** The options of a component; some of them list only some events. */
const COMPONENTS: readonly Options[] = [
  { last: 0, limit: 1_000, events: undefined },
  { last: 3, limit: 1_000, events: undefined },
  { last: 4, limit: 6, events: undefined },
  { last: 2, limit: 1_000, events: ['message'] },
  { last: 0, limit: 3, events: ['reaction'] },
  { last: 2, limit: 1_000, events: undefined, around: 3 },
  { last: 3, limit: 5, events: ['message'], around: 2 },
  { last: 1, limit: 1, events: undefined, maxLoaded: 1 },
  { last: 2, limit: 1, events: ['message'], around: 3, maxLoaded: 1 },
];

const component = fc.nat({ max: COMPONENTS.length - 1 });
const operation = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('mount' as const), component }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('unmount' as const), component }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      event: fc.constantFrom('message', 'message', 'reaction'),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('step' as const),
      requests: fc.nat({ max: 4 }),
      frames: fc.nat({ max: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 600 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('retry' as const), component }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('send' as const), component }) },
  // The two that lead far: everything is answered, and events are missed while there is no connection.
  { weight: 8, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('lose' as const), missed: fc.nat({ max: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renew token' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close and connect' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('load older' as const), component }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('load newer' as const), component }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('jump to latest' as const), component }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('trim' as const), kept: fc.nat({ max: 3 }) }) },
);
const fates = fc.array(
  fc.constantFrom<Fate>(
    ...([
      'answer',
      'answer',
      'answer',
      'answer',
      'drop-before',
      'drop-after',
      'limit',
      'fail',
      'forbid',
    ] as const),
  ),
  { maxLength: 40 },
);

/** A mounted component. */
interface Mounted {
  readonly store: RoomStore;
  readonly unmount: () => void;
}

/** Waits a macrotask, because a room is left one macrotask after its last component. */
const nextMacrotask = () => new Promise((resolve) => setTimeout(resolve));

/** Checks the events of a view. Each missing event must be announced by a discontinuity at its place. */
function check(
  view: RoomView,
  server: ModelServer,
  names: readonly string[] | undefined,
  isFinal: boolean,
): void {
  const { history } = server.room(ROOM);
  const received = view.events.filter(({ status }) => status === 'received');
  expect(view.events.slice(0, received.length)).toEqual(received);
  const wanted = history.filter(({ event }) => names === undefined || names.includes(event));
  const indexes = received.map((event) => wanted.findIndex(({ position }) => position === event.position));
  expect(indexes).not.toContain(-1);
  // What a page of the history brings first is also listed as pending, until the send is answered.
  const numbers = (isFinal ? view.events : received).map(({ data }) => data);
  expect(numbers).toEqual([...new Set(numbers)]);
  expect(indexes).toEqual([...new Set(indexes)].sort((a, b) => a - b));
  const announced = new Set(view.discontinuities.map(({ after }) => after));
  for (const [at, index] of indexes.entries()) {
    // A list around a position need not reach the latest event.
    const next = indexes[at + 1] ?? (isFinal && !view.hasNewer ? wanted.length : index + 1);
    if (next !== index + 1) expect(announced).toContain(received[at]?.key);
  }
}

/** A list with `maxLoaded` has no more events than that, its limit and those that it begins with. */
function expectBounded(store: RoomStore, index: number): void {
  const { last, limit, maxLoaded = Infinity } = COMPONENTS[index]!;
  const received = store.snapshot().events.filter(({ status }) => status === 'received');
  expect(received.length).toBeLessThanOrEqual(limit + Math.max(last, maxLoaded));
}

test(
  'with any sequence of mounts, refusals, lost connections and retries, each view lists every event in order or announces a gap',
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 50 }), fates, async (operations, planned) => {
        const upcoming = [...planned];
        const server = new ModelServer(() => upcoming.shift() ?? 'answer');
        const harness = new Harness({ timeout: 1e9, backoff: { first: 100, max: 200 } });
        const registry = ClientRegistry.of(harness.client);
        const connections: Connection[] = [];
        const mounted = new Map<number, Mounted>();
        const welcomeNewSockets = async () => {
          await turn();
          for (const socket of harness.sockets.slice(connections.length)) {
            connections.push(new Connection(server, socket));
            socket.receive(WELCOME);
          }
          await turn();
        };
        const checkAll = (isFinal: boolean) => {
          for (const [index, { store }] of mounted) {
            check(store.snapshot(), server, COMPONENTS[index]!.events, isFinal);
          }
        };
        let count = 0;
        // The events around which some lists begin.
        while (count < 3) server.publish(ROOM, ++count);
        /** Asked to jump to the latest events, and have done so. */
        const [left, jumped] = [new Set<RoomStore>(), new Set<RoomStore>()];
        for (const each of operations) {
          await welcomeNewSockets();
          if (each.do === 'mount') {
            if (mounted.has(each.component)) continue;
            const { last, limit, events, around, maxLoaded } = COMPONENTS[each.component]!;
            const store = new RoomStore(
              registry,
              ROOM,
              { last: around === undefined ? last : 0 },
              {
                key: toNamesKey(events, 'events'),
                names: events,
                limit,
                last,
                around: around === undefined ? undefined : `p${around}`,
                maxLoaded,
              },
            );
            mounted.set(each.component, { store, unmount: store.subscribe(() => {}) });
          } else if (each.do === 'unmount') {
            mounted.get(each.component)?.unmount();
            mounted.delete(each.component);
            if (mounted.size === 0) await nextMacrotask();
          } else if (each.do === 'publish') server.publish(ROOM, ++count, each.event);
          else if (each.do === 'step') connections.at(-1)?.step(each.requests, each.frames);
          else if (each.do === 'wait') harness.clock.advance(each.ms);
          else if (each.do === 'retry') mounted.get(each.component)?.store.snapshot().retry();
          else if (each.do === 'send') {
            const store = mounted.get(each.component)?.store;
            // It jumps to the latest events.
            if (store) left.add(store);
            void store?.snapshot().send('message', ++count);
          } else if (each.do === 'settle') {
            for (let round = 0; round < 3; round++) {
              harness.clock.advance(200);
              await welcomeNewSockets();
              connections.at(-1)?.step(1_000, 1_000);
              await turn();
            }
          } else if (each.do === 'lose') {
            connections.at(-1)?.end();
            for (let n = 0; n < each.missed; n++) server.publish(ROOM, ++count);
          } else if (each.do === 'renew token') harness.client.reconnect();
          else if (each.do === 'close and connect') {
            connections.at(-1)?.end();
            harness.client.close();
            harness.client.connect();
          } else if (each.do === 'trim') {
            const room = server.room(ROOM);
            room.trimmed = Math.max(room.trimmed, room.history.length - each.kept);
          } else {
            const store = mounted.get(each.component)?.store;
            const view = store?.snapshot();
            let call: Promise<unknown> | undefined;
            if (each.do === 'load older') call = view?.loadOlder(2);
            else if (each.do === 'load newer') call = view?.loadNewer(2);
            else if (store) {
              left.add(store);
              call = view?.jumpToLatest().then(() => jumped.add(store));
            }
            call?.catch(() => {});
          }
          await turn();
          checkAll(false);
        }
        upcoming.length = 0;
        for (let i = 0; i < 40; i++) {
          await welcomeNewSockets();
          connections.at(-1)?.step(1_000, 1_000);
          harness.clock.advance(100);
          for (const { store } of mounted.values()) {
            if (store.snapshot().state === 'refused') store.snapshot().retry();
          }
        }
        await welcomeNewSockets();
        checkAll(true);
        /** Lets the server answer until the call has ended. */
        const answered = async (call: Promise<unknown>) => {
          let ended = false;
          const end = call.finally(() => {
            ended = true;
          });
          while (!ended) {
            await turn();
            connections.at(-1)?.step(1_000, 1_000);
            await turn();
          }
          await end;
        };
        for (const [index, { store }] of mounted) {
          const { last, limit, events } = COMPONENTS[index]!;
          const view = store.snapshot();
          expect(view.state).toBe('joined');
          if (server.room(ROOM).trimmed === 0) expect(view.discontinuities).toEqual([]);
          const { history, trimmed } = server.room(ROOM);
          // Every send has ended: it was received, or it failed and is listed.
          expect(view.events.filter(({ status }) => status === 'pending')).toEqual([]);
          const available = history
            .slice(trimmed)
            .filter(({ event }) => events === undefined || events.includes(event)).length;
          // A failed or refused read of older events is shown, and retried a second later.
          if (view.error !== undefined) expect(['INTERNAL', 'FORBIDDEN']).toContain(view.error.code);
          else expect(view.events.length).toBeGreaterThanOrEqual(Math.min(last, limit, available));
          const { around, maxLoaded } = COMPONENTS[index]!;
          if (maxLoaded !== undefined) expectBounded(store, index);
          else if (around === undefined || jumped.has(store)) expect(view.hasNewer).toBe(false);
          else if (trimmed === 0 && limit > history.length && !left.has(store) && view.error === undefined)
            expect(view.events.map(({ position }) => position)).toContain(`p${around}`);
          // To the oldest events and back again, in pages or at once: then it has no more events than its limit.
          while (maxLoaded !== undefined && store.snapshot().hasOlder) {
            await answered(store.snapshot().loadOlder(2));
            check(store.snapshot(), server, events, true);
            expectBounded(store, index);
          }
          const isPaged = history.length % 2 === 0;
          while (isPaged && store.snapshot().hasNewer) {
            await answered(store.snapshot().loadNewer(2));
            check(store.snapshot(), server, events, true);
          }
          await answered(store.snapshot().jumpToLatest());
          const latest = store.snapshot();
          check(latest, server, events, true);
          expect(latest.hasNewer).toBe(false);
          const received = latest.events.filter(({ status }) => status === 'received');
          // Lists of the same events are one, with the largest limit.
          const shared = COMPONENTS.filter(
            (each) => String(each.events) === String(events) && each.maxLoaded === maxLoaded,
          );
          const largest = Math.max(...shared.map((each) => each.limit));
          expect(received.length).toBeLessThanOrEqual(largest);
          // What was removed is loaded again, one page after the other.
          while (limit === 1_000 && store.snapshot().hasOlder) {
            await answered(store.snapshot().loadOlder(2));
            check(store.snapshot(), server, events, true);
          }
          if (limit === 1_000) {
            const all = store.snapshot().events.filter(({ status }) => status === 'received');
            expect(all.length).toBeGreaterThanOrEqual(available);
          }
        }
        for (const { unmount } of mounted.values()) unmount();
        await nextMacrotask();
        harness.client.close();
        expect(harness.clock.timers).toBe(0);
      }),
      { numRuns: 300 },
    );
  },
  MODEL_TIMEOUT,
);
