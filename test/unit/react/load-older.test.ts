import { afterEach, beforeEach, expect, test } from 'vitest';
import { ClientRegistry } from '../../../src/react/registry.js';
import { RoomStore } from '../../../src/react/room-store.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeSocket, failure, Harness } from '../client/harness.js';

let harness: Harness;
let socket: FakeSocket;

beforeEach(async () => {
  harness = new Harness();
  socket = await harness.open();
});
afterEach(() => harness.client.close());

test('a room that has had no event has no older ones, and none before its first', async () => {
  const list = { key: '*', names: undefined, limit: 2, last: 0 };
  const store = new RoomStore(ClientRegistry.of(harness.client), 'lobby', {}, list);
  store.subscribe(() => {});
  await turn();
  socket.answer('join', { position: '1764400000000000-0' });
  expect(store.snapshot()).toMatchObject({ state: 'joined', hasOlder: false });
  const receive = (n: number) =>
    socket.receive({
      type: 'event',
      room: 'lobby',
      event: 'message',
      data: n,
      position: `176440000000000${n}-7`,
    });
  receive(1);
  receive(2);
  expect(store.snapshot().hasOlder).toBe(false);
  expect(await store.calls.loadOlder()).toBe(false);
  expect(socket.sent).toEqual([]);
  // The first one is no longer in the list.
  receive(3);
  expect(store.snapshot().hasOlder).toBe(true);
});

test('a list has begun for a component when it has the last events that this component asks for', async () => {
  const mount = (last: number) => {
    const list = { key: '*', names: undefined, limit: 10, last };
    return new RoomStore(ClientRegistry.of(harness.client), 'lobby', { last }, list);
  };
  const [few, many] = [mount(1), mount(3)];
  few.subscribe(() => {});
  await turn();
  socket.receive({ type: 'event', room: 'lobby', event: 'message', data: 3, position: 'p3', at: 3 });
  socket.answer('join', { position: 'p2' });
  await turn();
  expect([few.isSettled(), many.isSettled()]).toEqual([true, false]);
  many.subscribe(() => {});
  await turn();
  expect(many.isSettled()).toBe(false);
  const events = [2, 1].map((n) => ({ event: 'message', data: n, position: `p${n}`, at: n }));
  socket.answer('history', { events, more: false });
  await turn();
  expect(many.isSettled()).toBe(true);
  expect(many.snapshot().events.map(({ data }) => data)).toEqual([1, 2, 3]);
  // A list that cannot begin shows why.
  const most = mount(5);
  const filtered = new RoomStore(
    ClientRegistry.of(harness.client),
    'lobby',
    {},
    { key: '["a"]', names: ['a'], limit: 5, last: 5 },
  );
  expect(most.isSettled()).toBe(false);
  filtered.subscribe(() => {});
  await turn();
  socket.refuse('history', 'FORBIDDEN');
  await turn();
  expect(filtered.isSettled()).toBe(true);
  expect(filtered.snapshot().error).toMatchObject({ code: 'FORBIDDEN' });
});

test('a page that cannot be loaded rejects and is shown as the error, until a page is loaded', async () => {
  const list = { key: '*', names: undefined, limit: 10, last: 0 };
  const store = new RoomStore(ClientRegistry.of(harness.client), 'lobby', {}, list);
  let rendered = store.snapshot();
  store.subscribe(() => {
    rendered = store.snapshot();
  });
  await turn();
  socket.answer('join', { position: 'p1' });
  const refused = failure(store.calls.loadOlder());
  await turn();
  socket.refuse('history', 'FORBIDDEN');
  expect(await refused).toMatchObject({ code: 'FORBIDDEN' });
  // The component has rendered it when the caller goes on.
  expect(rendered).toBe(store.snapshot());
  expect(store.snapshot()).toMatchObject({ state: 'joined', error: { code: 'FORBIDDEN' }, hasOlder: true });
  const loading = store.calls.loadOlder();
  await turn();
  const events = [{ event: 'message', data: 1, position: 'p1', at: 1 }];
  socket.answer('history', { events, more: false });
  expect(await loading).toBe(false);
  const { error, events: listed } = store.snapshot();
  expect(error).toBeUndefined();
  expect(listed).toMatchObject([{ data: 1, replayed: true }]);
});
