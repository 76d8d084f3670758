import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { NotificationStore } from '../../../src/react/notification-store.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeSocket, type Frame, failure, Harness, WELCOME } from '../client/harness.js';

let harness: Harness;
let store: NotificationStore;
let socket: FakeSocket;
let changes: number;

const notification = (number: number, read = false) => ({
  id: `${number}-0`,
  at: number,
  data: `n${number}`,
  read,
});
const page = (numbers: readonly number[], unread: number, more = false) => ({
  notifications: numbers.map((number, index) => notification(number, index >= unread)),
  unread: { count: unread, capped: false },
  more,
});
const ids = () => store.snapshot().notifications.map(({ id }) => Number.parseInt(id, 10));
const unread = () => store.snapshot().unread;
const receive = (number: number) =>
  socket.receive({
    type: 'event',
    event: 'notification',
    data: { id: `${number}-0`, at: number, data: `n${number}` },
  });
const receiveRead = (number: number) =>
  socket.receive({ type: 'event', event: 'notification:read', data: { id: `${number}-0` } });
const methods = () =>
  socket.sent.filter(({ type }) => type === 'request').map((frame: Frame) => frame['method']);

async function answer(data: unknown): Promise<void> {
  socket.answer('request', data);
  await turn();
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  harness = new Harness();
  store = new NotificationStore(harness.client);
  changes = 0;
  store.subscribe(() => changes++);
  socket = await harness.open();
  await turn();
});

afterEach(() => {
  harness.client.close();
  vi.useRealTimers();
});

test('the list has the first page and later notifications, each once and in the order of time', async () => {
  expect(store.snapshot().state).toBe('loading');
  receive(5);
  receive(4);
  await answer(page([4, 3, 2], 2));
  expect(store.snapshot()).toMatchObject({ state: 'ready', unread: 3, capped: false, hasOlder: false });
  expect(ids()).toEqual([5, 4, 3, 2]);
  receive(6);
  receive(6);
  receive(3);
  expect(ids()).toEqual([6, 5, 4, 3, 2]);
  expect(unread()).toBe(4);
});

test('a read mark of another device marks that notification and all older ones as read', async () => {
  await answer(page([5, 4, 3], 3));
  receiveRead(4);
  expect(store.snapshot().notifications.map(({ read }) => read)).toEqual([false, true, true]);
  expect(unread()).toBe(1);
  const before = store.snapshot();
  receiveRead(3);
  expect(store.snapshot().notifications.map(({ read }) => read)).toEqual([false, true, true]);
  expect(store.snapshot().unread).toBe(before.unread);
});

test('a read mark beyond the list, or during a read, reads the list again', async () => {
  receiveRead(4);
  expect(methods()).toHaveLength(2);
  await answer(page([4, 3], 2));
  expect(store.snapshot().state).toBe('loading');
  await answer(page([4, 3], 0));
  expect(unread()).toBe(0);
  receiveRead(9);
  expect(methods()).toEqual(['notifications.list']);
});

test('markRead marks the newest notification by default, or the given one', async () => {
  await answer(page([5, 4, 3], 3));
  const { markRead } = store.snapshot();
  const marked = markRead('4-0');
  const request = socket.answer('request', { readUpTo: '4-0' });
  expect(request).toMatchObject({ method: 'notifications.acknowledge', data: { id: '4-0' } });
  await marked;
  expect(unread()).toBe(1);
  const all = markRead();
  expect(socket.answer('request', { readUpTo: '5-0' }).data).toEqual({ id: '5-0' });
  await all;
  expect(unread()).toBe(0);
  expect(store.snapshot().markRead).toBe(markRead);
  const refused = failure(store.snapshot().markRead());
  socket.refuse('request', 'FORBIDDEN');
  expect(await refused).toMatchObject({ code: 'FORBIDDEN' });
});

test('loadOlder adds pages until there are no more', async () => {
  await answer(page([5, 4], 1, true));
  const first = store.snapshot().loadOlder(2);
  expect(socket.answer('request', page([3, 2], 0, true)).data).toEqual({ before: '4-0', limit: 2 });
  expect(await first).toBe(true);
  const second = store.snapshot().loadOlder();
  socket.answer('request', page([1], 0));
  expect(await second).toBe(false);
  expect(ids()).toEqual([5, 4, 3, 2, 1]);
  expect(await store.snapshot().loadOlder()).toBe(false);
  expect(methods()).toEqual([]);
});

test('a failure is shown, and the list is read again after a growing delay', async () => {
  socket.refuse('request', 'INTERNAL');
  await turn();
  expect(store.snapshot().error).toMatchObject({ code: 'INTERNAL' });
  vi.advanceTimersByTime(1_000);
  expect(methods()).toHaveLength(1);
  socket.refuse('request', 'INTERNAL');
  await turn();
  vi.advanceTimersByTime(1_999);
  expect(methods()).toHaveLength(0);
  vi.advanceTimersByTime(1);
  await answer(page([1], 1));
  expect(store.snapshot()).toMatchObject({ state: 'ready', error: undefined, unread: 1 });
});

test('a gap in the user’s events reads the list again', async () => {
  await answer(page([1], 1));
  socket.receive({ type: 'discontinuity', reason: 'trimmed', since: 0, recovered: true });
  expect(methods()).toEqual([]);
  socket.receive({ type: 'discontinuity', reason: 'trimmed', since: 0, recovered: false });
  await answer(page([3, 2, 1], 3));
  expect(ids()).toEqual([3, 2, 1]);
});

test('after a log-in as another user nothing of the former one is shown, also if it arrives late', async () => {
  await answer(page([2, 1], 2, true));
  const older = store.snapshot().loadOlder();
  await turn();
  const { id: late } = socket.takeSent('request')[0] as Frame;
  socket.receive({ ...WELCOME, user: 'bob' });
  expect(store.snapshot()).toMatchObject({ state: 'loading', notifications: [], unread: 0, hasOlder: false });
  socket.receive({ type: 'ok', id: late, data: page([0], 0) });
  await older;
  expect(ids()).toEqual([]);
  await answer(page([7], 1));
  expect(store.snapshot()).toMatchObject({ state: 'ready', unread: 1 });
  expect(ids()).toEqual([7]);
  // The former user's first page is under way.
  socket.receive({ type: 'discontinuity', reason: 'trimmed', since: 0, recovered: false });
  const { id: first } = socket.takeSent('request')[0] as Frame;
  socket.receive({ ...WELCOME, user: 'alice' });
  socket.receive({ type: 'ok', id: first, data: page([8, 7], 2) });
  await turn();
  expect(ids()).toEqual([]);
  await answer(page([2, 1], 2));
  expect(ids()).toEqual([2, 1]);
});

test('a component that mounts later sees neither an earlier failure nor the list of an earlier user', async () => {
  await answer(page([1], 1));
  const other = new NotificationStore(harness.client);
  let unmount = other.subscribe(() => {});
  await turn();
  socket.refuse('request', 'INTERNAL');
  await turn();
  expect(other.snapshot()).toMatchObject({ state: 'loading', error: { code: 'INTERNAL' } });
  unmount();
  vi.advanceTimersByTime(0);
  // A component that suspends would otherwise throw it for ever.
  expect(other.snapshot()).toMatchObject({ state: 'loading', error: undefined });
  unmount = other.subscribe(() => {});
  await turn();
  await answer(page([1], 1));
  expect(other.snapshot()).toMatchObject({ state: 'ready', unread: 1 });
  unmount();
  vi.advanceTimersByTime(0);
  socket.receive({ ...WELCOME, user: 'bob' });
  expect(other.snapshot()).toMatchObject({ state: 'loading', notifications: [], unread: 0 });
});

test('the count stops at 100', async () => {
  await answer({ notifications: [notification(1)], unread: { count: 100, capped: false }, more: true });
  receive(2);
  expect(store.snapshot()).toMatchObject({ unread: 100, capped: true });
});

test('after the last component unmounts nothing is received or read', async () => {
  const other = new NotificationStore(harness.client);
  const unsubscribe = other.subscribe(() => {});
  await turn();
  unsubscribe();
  vi.advanceTimersByTime(0);
  socket.sent.length = 0;
  receive(7);
  expect(other.snapshot().notifications).toEqual([]);
  expect(methods()).toEqual([]);
});
