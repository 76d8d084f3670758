import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ClientRegistry } from '../../../src/react/registry.js';
import type { UnreadStore } from '../../../src/react/unread-store.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeSocket, Harness, WELCOME } from '../client/harness.js';

let harness: Harness;
let socket: FakeSocket;
let store: UnreadStore;
const releases: (() => void)[] = [];

const event = (n: number, from = 'bob', name = 'message') => ({
  event: name,
  from,
  position: `p${n}`,
  at: n,
  data: n,
});
const receive = (n: number, from?: string, name?: string) =>
  socket.receive({ type: 'event', room: 'lobby', ...event(n, from, name) });
/** Answers a read of the history with the events of these numbers, newest first. */
async function answer(numbers: readonly number[], more = false): Promise<void> {
  socket.answer('history', { events: numbers.map((n) => event(n)), more });
  await turn();
}
const count = () => {
  const { unread, capped } = store.snapshot();
  return capped ? `${unread}+` : unread;
};

async function mount(since?: string): Promise<() => void> {
  const release = store.subscribe(() => {}, since);
  releases.push(release);
  await turn();
  return release;
}

async function join(position: string | undefined = 'p10'): Promise<void> {
  socket.answer('join', { position });
  await turn();
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  harness = new Harness();
  socket = await harness.open();
  store = ClientRegistry.of(harness.client).unread('lobby', '["message"]', ['message']);
});

afterEach(() => {
  for (const release of releases.splice(0)) release();
  harness.client.close();
  vi.useRealTimers();
});

test('events of others are counted from the first join on, until they are marked as read', async () => {
  await mount();
  // An event that another component asked for with `last`.
  receive(10);
  await join();
  expect(store.snapshot()).toMatchObject({ unread: 0, capped: false, readUpTo: 'p10' });
  receive(11);
  receive(12, 'alice');
  receive(13, 'bob', 'reaction');
  receive(14);
  expect(count()).toBe(2);
  expect(store.snapshot().markRead()).toBe('p14');
  const marked = store.snapshot();
  expect(marked).toMatchObject({ unread: 0, readUpTo: 'p14' });
  receive(15, 'alice');
  expect(store.snapshot()).toBe(marked);
  expect(socket.takeSent('history')).toEqual([]);
});

test('with a stored position, what came after it is counted, with events that arrive during the read', async () => {
  await mount('p7');
  await join();
  receive(11);
  await answer([11, 10, 9, 8, 7, 6], true);
  expect(count()).toBe(4);
  expect(store.snapshot().readUpTo).toBe('p7');
  // On another device.
  await mount('p9');
  await answer([11, 10, 9], true);
  expect(count()).toBe(2);
  expect(store.snapshot().markRead()).toBe('p11');
  // The component stores the position and passes it back.
  await mount('p11');
  expect(socket.takeSent('history')).toEqual([]);
});

test('more than 100 are counted no further, and few of many events by a limited number of reads', async () => {
  await mount('p1');
  await join('p300');
  await answer(
    Array.from({ length: 200 }, (_, n) => 300 - n),
    true,
  );
  expect(count()).toBe('100+');
  receive(301);
  expect(count()).toBe('100+');
  store.snapshot().markRead();
  await mount('p0');
  for (let page = 0; page < 5; page++) {
    socket.answer('history', { events: [event(300 - page, 'alice')], more: true });
    await turn();
  }
  expect(socket.takeSent('history')).toEqual([]);
  expect(count()).toBe('0+');
});

test('a mark that the history no longer has counts all of it; a failed read is repeated', async () => {
  await mount('p1');
  await join();
  socket.refuse('history', 'INTERNAL');
  await turn();
  expect(store.snapshot().error).toMatchObject({ code: 'INTERNAL' });
  vi.advanceTimersByTime(1_000);
  await answer([10, 9, 8]);
  expect(store.snapshot()).toMatchObject({ unread: 3, capped: false, error: undefined });
});

test('a gap reads again, and what is marked during a read stays read', async () => {
  await mount();
  await join();
  receive(11);
  socket.receive({ type: 'discontinuity', room: 'lobby', reason: 'wiped', since: 1, recovered: false });
  receive(14);
  await answer([14, 13, 12, 11, 10, 9], true);
  expect(count()).toBe(4);
  socket.receive({ type: 'discontinuity', room: 'lobby', reason: 'wiped', since: 1, recovered: false });
  store.snapshot().markRead();
  await answer([14, 13], true);
  expect(count()).toBe(0);
  expect(store.snapshot().readUpTo).toBe('p14');
});

test('the mark stays while no component is mounted, and missed events are counted afterwards', async () => {
  const release = await mount();
  await join();
  release();
  releases.length = 0;
  vi.advanceTimersByTime(1);
  socket.answer('leave');
  await mount();
  await join('p12');
  await answer([12, 11, 10], true);
  expect(count()).toBe(2);
});

test('markRead before the room is joined counts all that is there then as read', async () => {
  await mount('p7');
  expect(store.snapshot().markRead()).toBeUndefined();
  await join();
  expect(socket.takeSent('history')).toEqual([]);
  expect(store.snapshot()).toMatchObject({ unread: 0, readUpTo: 'p10' });
  receive(11);
  expect(count()).toBe(1);
  // Without a component it is unknown what the user has seen.
  releases.pop()?.();
  vi.advanceTimersByTime(0);
  expect(store.snapshot().markRead()).toBe('p10');
});

test('a refused room is shown as the error; after a retry, what was missed is counted', async () => {
  await mount('p9');
  await join();
  await answer([10, 9], true);
  expect(count()).toBe(1);
  socket.receive({ type: 'error', room: 'lobby', code: 'FORBIDDEN', message: 'no' });
  expect(store.snapshot().error).toMatchObject({ code: 'FORBIDDEN' });
  ClientRegistry.of(harness.client).known('lobby')?.retry();
  await join('p12');
  await answer([12, 11, 10, 9], true);
  expect(store.snapshot()).toMatchObject({ unread: 3, error: undefined });
});

test('after a log-in as another user, nothing is unread of what the room has then', async () => {
  await mount('p7');
  await join();
  await answer([10, 9, 8, 7], true);
  expect(count()).toBe(3);
  socket.receive({ ...WELCOME, user: 'bob' });
  expect(store.snapshot()).toMatchObject({ unread: 0, readUpTo: 'p10' });
  receive(11, 'alice');
  expect(count()).toBe(1);
  expect(socket.takeSent('history')).toEqual([]);
});

test('in a room without history, events are counted from the join on', async () => {
  await mount();
  socket.answer('join', {});
  const hear = () => socket.receive({ type: 'event', room: 'lobby', event: 'message', from: 'bob', data: 1 });
  hear();
  hear();
  expect(count()).toBe(2);
  expect(store.snapshot().markRead()).toBeUndefined();
  expect(count()).toBe(0);
  socket = await harness.reconnect();
  socket.answer('join', {});
  hear();
  expect(count()).toBe(1);
  expect(socket.takeSent('history')).toEqual([]);
});
