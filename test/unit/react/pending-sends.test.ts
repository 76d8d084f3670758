import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ClientRegistry } from '../../../src/react/registry.js';
import { RoomStore } from '../../../src/react/room-store.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeSocket, failure, Harness } from '../client/harness.js';

let harness: Harness;
let socket: FakeSocket;
let store: RoomStore;
let unmount: () => void;

function mount(names?: readonly string[]): RoomStore {
  const registry = ClientRegistry.of(harness.client);
  const mounted = new RoomStore(
    registry,
    'lobby',
    {},
    { key: String(names ?? '*'), names, limit: 2, last: 0 },
  );
  unmount = mounted.subscribe(() => {});
  return mounted;
}

const view = () => store.snapshot();
const list = () => view().events.map(({ data, status }) => `${data} ${status}`);
const keys = () => view().events.map(({ key }) => key);
const receive = (data: unknown, position: string, from = 'alice', event = 'message') =>
  socket.receive({ type: 'event', room: 'lobby', event, from, data, position, at: 1 });

async function send(data: unknown, event = 'message'): Promise<void> {
  void view().send(event, data);
  await turn();
}

beforeEach(async () => {
  harness = new Harness();
  socket = await harness.open();
  store = mount();
  await turn();
  socket.answer('join', { position: 'p1' });
  await turn();
});

afterEach(() => {
  unmount();
  harness.client.close();
  vi.useRealTimers();
});

test('a volatile send is not listed, and resolves at once', async () => {
  expect(await view().send('moved', 1, { volatile: true })).toEqual({});
  expect(list()).toEqual([]);
  socket.bufferedAmount = 1_000_000;
  expect(await view().send('moved', 2, { volatile: true })).toEqual({ dropped: true });
  expect(socket.takeSent('send')).toHaveLength(1);
});

test.each(['event first', 'answer first'])(
  'a send is pending until its event arrives, and keeps its key (%s)',
  async (order) => {
    await send('hello');
    expect(list()).toEqual(['hello pending']);
    const [key] = keys();
    if (order === 'answer first') {
      socket.answer('send', { position: 'p2' });
      await turn();
      expect(list()).toEqual(['hello pending']);
    }
    receive('hello', 'p2');
    if (order === 'event first') {
      expect(list()).toEqual(['hello received']);
      socket.answer('send', { position: 'p2' });
      await turn();
    }
    expect(list()).toEqual(['hello received']);
    expect(keys()).toEqual([key]);
    expect(view().events[0]).toMatchObject({ position: 'p2', at: 1, from: 'alice' });
  },
);

test('pending events stay last when other events arrive, and do not count towards the limit', async () => {
  await send('a');
  await send('b');
  receive('x', 'p2', 'bob');
  receive('a', 'p3', 'bob');
  expect(list()).toEqual(['x received', 'a received', 'a pending', 'b pending']);
  receive('a', 'p4');
  expect(list()).toEqual(['a received', 'a received', 'b pending']);
});

test('pending data is listed as it will be received', async () => {
  await send({ at: new Date(0), none: undefined });
  expect(view().events[0]?.data).toStrictEqual({ at: '1970-01-01T00:00:00.000Z' });
});

test('two equal events replace one pending send each', async () => {
  await send('a');
  await send('a');
  receive('a', 'p2');
  expect(list()).toEqual(['a received', 'a pending']);
  receive('a', 'p3');
  expect(list()).toEqual(['a received', 'a received']);
});

test('a failed send is listed with its error, sent again with the same idempotency key, or discarded', async () => {
  await send('hello');
  const [key] = keys();
  const first = socket.refuse('send', 'FORBIDDEN');
  await turn();
  expect(list()).toEqual(['hello failed']);
  expect(view().events[0]?.error).toMatchObject({ code: 'FORBIDDEN' });
  view().resend('another');
  view().resend(key as string);
  await turn();
  expect(list()).toEqual(['hello pending']);
  const second = socket.refuse('send', 'FORBIDDEN');
  expect(second['key']).toBe(first['key']);
  await turn();
  view().discard('another');
  expect(keys()).toEqual([key]);
  view().discard(key as string);
  expect(list()).toEqual([]);
});

test('a pending send cannot be discarded', async () => {
  await send('hello');
  view().discard(keys()[0] as string);
  expect(list()).toEqual(['hello pending']);
});

test('without a connection a send stays pending, and it is received once after the reconnection', async () => {
  socket.end();
  await send('hello');
  expect(list()).toEqual(['hello pending']);
  socket = await harness.reconnect();
  socket.answer('join', { position: 'p1' });
  await turn();
  socket.answer('send', { position: 'p2' });
  receive('hello', 'p2');
  expect(list()).toEqual(['hello received']);
});

test('without a connection, components render a send and its failure at once', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  const renders: string[][] = [];
  const stop = store.subscribe(() => renders.push(list()));
  socket.end();
  void view().send('message', 'hello', { timeout: 500 });
  await turn();
  vi.advanceTimersByTime(10);
  expect(renders.at(-1)).toEqual(['hello pending']);
  harness.clock.advance(500);
  await turn();
  vi.advanceTimersByTime(10);
  expect(renders.at(-1)).toEqual(['hello failed']);
  stop();
});

test('a send that failed with an unknown outcome is replaced by its event when that arrives', async () => {
  void view().send('message', 'hello', { timeout: 500 });
  await turn();
  harness.clock.advance(500);
  await turn();
  expect(view().events[0]).toMatchObject({
    status: 'failed',
    error: { code: 'TIMEOUT', outcome: 'unknown' },
  });
  receive('hello', 'p2');
  expect(list()).toEqual(['hello received']);
});

test('an acknowledged send whose event was missed is removed from the list by the gap', async () => {
  await send('hello');
  socket.answer('send', { position: 'p2' });
  await turn();
  socket.receive({ type: 'discontinuity', room: 'lobby', reason: 'trimmed', since: 0, recovered: false });
  expect(list()).toEqual([]);
});

test('a send that the server recognizes as a duplicate is removed from the list', async () => {
  receive('hello', 'p2');
  await send('hello');
  socket.answer('send', { position: 'p2', duplicate: true });
  await turn();
  expect(list()).toEqual(['hello received']);
});

test('a list of some events shows only their pending sends; without echo nothing is pending', async () => {
  const messages = mount(['message']);
  await send('like', 'reaction');
  await send('hello');
  view()
    .send('message', 'quiet', { echo: false })
    .catch(() => {});
  await turn();
  expect(messages.snapshot().events.map(({ data }) => data)).toEqual(['hello']);
  expect(list()).toEqual(['like pending', 'hello pending']);
  expect(messages.snapshot().events).toBe(messages.snapshot().events);
});

test('an invalid send rejects, and is not listed', async () => {
  expect(await failure(view().send('', 1))).toMatchObject({ code: 'INVALID' });
  expect(await failure(view().send('message', undefined))).toMatchObject({ code: 'INVALID' });
  expect(list()).toEqual([]);
});

test('an aborted send is removed from the list', async () => {
  const controller = new AbortController();
  void view().send('message', 'hello', { signal: controller.signal });
  await turn();
  expect(list()).toEqual(['hello pending']);
  controller.abort();
  await turn();
  expect(list()).toEqual([]);
});
