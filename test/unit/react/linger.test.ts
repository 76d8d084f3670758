import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ClientRegistry } from '../../../src/react/registry.js';
import { RoomStore } from '../../../src/react/room-store.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeSocket, Harness } from '../client/harness.js';

let harness: Harness;
let socket: FakeSocket;

function mount(linger?: number): { store: RoomStore; unmount: () => void } {
  const registry = ClientRegistry.of(harness.client);
  const store = new RoomStore(
    registry,
    'lobby',
    { linger },
    { key: '*', names: undefined, limit: 10, last: 0 },
  );
  return { store, unmount: store.subscribe(() => {}) };
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  harness = new Harness();
  socket = await harness.open();
});

afterEach(() => {
  harness.client.close();
  vi.useRealTimers();
});

test('a room and its list are kept for the largest linger after the last component unmounts', async () => {
  const first = mount(500);
  const second = mount(2_000);
  await turn();
  socket.answer('join', { position: 'p1' });
  first.unmount();
  second.unmount();
  vi.advanceTimersByTime(1_000);
  socket.receive({ type: 'event', room: 'lobby', event: 'message', data: 1, position: 'p2' });
  const third = mount();
  await turn();
  expect(socket.sent.filter(({ type }) => type === 'join' || type === 'leave')).toEqual([]);
  expect(third.store.snapshot().events.map(({ data }) => data)).toEqual([1]);
  third.unmount();
  vi.advanceTimersByTime(1_999);
  expect(socket.takeSent('leave')).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(socket.takeSent('leave')).toHaveLength(1);
});

test('without linger a room is left one macrotask after the last component unmounts', async () => {
  const { unmount } = mount();
  await turn();
  socket.answer('join', { position: 'p1' });
  unmount();
  expect(socket.takeSent('leave')).toEqual([]);
  vi.advanceTimersByTime(0);
  expect(socket.takeSent('leave')).toHaveLength(1);
});
