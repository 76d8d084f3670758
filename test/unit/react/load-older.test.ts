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

test('a page that cannot be loaded rejects and is shown as the error, until a page is loaded', async () => {
  const list = { key: '*', names: undefined, limit: 10, last: 0 };
  const store = new RoomStore(ClientRegistry.of(harness.client), 'lobby', {}, list);
  store.subscribe(() => {});
  await turn();
  socket.answer('join', { position: 'p1' });
  const refused = failure(store.calls.loadOlder());
  await turn();
  socket.refuse('history', 'FORBIDDEN');
  expect(await refused).toMatchObject({ code: 'FORBIDDEN' });
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
