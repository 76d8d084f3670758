import { expect, test, vi } from 'vitest';
import { turn } from '../../support/fake-clock.js';
import { Harness, WELCOME } from './harness.js';

/** A client with numbered tokens, connected with the first. */
async function connected(expiresIn = 60_000, more: object = {}) {
  let token = 0;
  const all = new Harness({ url: async () => `wss://chat.test/ws?token=${++token}`, ...more });
  const socket = await all.open({ expiresIn, heartbeat: 10_000_000 });
  await vi.dynamicImportSettled();
  await turn();
  const advance = async (ms: number) => {
    all.clock.advance(ms);
    await turn();
  };
  return { all, socket, advance };
}

test('after 80 % of the life of the credentials, the client sends those of a new URL, again and again', async () => {
  const { all, socket, advance } = await connected();
  await advance(47_999);
  expect(socket.takeSent('refresh')).toEqual([]);
  await advance(1);
  expect(socket.answer('refresh', { expiresIn: 100_000 })).toMatchObject({
    url: 'wss://chat.test/ws?token=2',
  });
  await advance(79_999);
  expect(socket.takeSent('refresh')).toEqual([]);
  await advance(1);
  // Credentials that do not expire.
  expect(socket.answer('refresh', {})).toMatchObject({ url: 'wss://chat.test/ws?token=3' });
  await advance(1_000_000);
  expect(all.sockets).toHaveLength(1);
  expect(socket.takeSent('refresh')).toEqual([]);
  expect(all.of('error')).toEqual([]);
});

test('a refused refresh and a failed URL function are reported and repeated', async () => {
  const url = vi.fn(async () => 'wss://chat.test');
  const { all, socket, advance } = await connected(60_000, { url });
  url.mockRejectedValueOnce(new Error('no token'));
  await advance(48_000);
  expect(all.of('error')).toEqual([new Error('no token')]);
  await advance(250);
  socket.refuse('refresh', 'FORBIDDEN');
  expect(all.of('error')).toMatchObject([{}, { code: 'FORBIDDEN' }]);
  await advance(500);
  socket.refuse('refresh', 'UNAVAILABLE', { retryAfter: 3_000 });
  await advance(2_999);
  expect(socket.takeSent('refresh')).toEqual([]);
  await advance(1);
  socket.answer('refresh', { expiresIn: 60_000 });
  expect(all.client.state).toBe('open');
  expect(all.of('error')).toHaveLength(3);
});

test('of the ends of credentials and of permissions, the first one counts', async () => {
  const { all, socket, advance } = await connected();
  all.client.join('hall');
  socket.answer('join', { expiresIn: 100_000 });
  await vi.dynamicImportSettled();
  await advance(40_000);
  expect(socket.takeSent('refresh')).toEqual([]);
  all.client.join('library');
  socket.answer('join', { expiresIn: 5_000 });
  await vi.dynamicImportSettled();
  await advance(3_999);
  expect(socket.takeSent('refresh')).toEqual([]);
  await advance(1);
  // The server tells the first one of the new ends.
  socket.answer('refresh', { expiresIn: 10_000 });
  await advance(7_999);
  expect(socket.takeSent('refresh')).toEqual([]);
  await advance(1);
  expect(socket.takeSent('refresh')).toHaveLength(1);
});

test('the end of a permission is enough: the credentials themselves need not end', async () => {
  const { all, socket, advance } = await connected(0);
  all.client.join('hall');
  socket.answer('join', { expiresIn: 10_000 });
  await vi.dynamicImportSettled();
  await advance(8_000);
  expect(socket.takeSent('refresh')).toHaveLength(1);
});

test('a token with less and less time left is asked for once a second at most', async () => {
  const { socket, advance } = await connected(500);
  await advance(999);
  expect(socket.takeSent('refresh')).toEqual([]);
  await advance(1);
  socket.answer('refresh', { expiresIn: 10 });
  await advance(999);
  expect(socket.takeSent('refresh')).toEqual([]);
  await advance(1);
  expect(socket.takeSent('refresh')).toHaveLength(1);
});

test('a URL that arrives after the connection is lost is not sent on the next one', async () => {
  const arrivals: ((url: string) => void)[] = [];
  const all = new Harness({ url: () => new Promise((resolve) => arrivals.push(resolve)) });
  await turn();
  arrivals.shift()?.('wss://chat.test/1');
  const socket = await all.open({ expiresIn: 10_000 });
  await vi.dynamicImportSettled();
  await turn();
  all.clock.advance(8_000);
  await turn();
  socket.end();
  all.clock.advance(1_000);
  await turn();
  const [refreshed, reconnected] = arrivals;
  reconnected?.('wss://chat.test/3');
  await turn();
  const next = await all.open();
  refreshed?.('wss://chat.test/2');
  await turn();
  expect(next.takeSent('refresh')).toEqual([]);
});

test('no timer stays when the connection ends, also while the code is loaded', async () => {
  const all = new Harness({ url: () => 'wss://chat.test' });
  await all.open({ expiresIn: 60_000 });
  all.client.close();
  await vi.dynamicImportSettled();
  await turn();
  expect(all.clock.timers).toBe(0);
  const { all: other } = await connected();
  other.client.close();
  expect(other.clock.timers).toBe(0);
});

test('a client with the same URL for ever, and one whose credentials do not expire, send no refresh', async () => {
  const same = new Harness();
  const socket = await same.open({ expiresIn: 10_000 });
  await vi.dynamicImportSettled();
  await turn();
  same.clock.advance(9_999);
  expect(socket.takeSent('refresh')).toEqual([]);
  const { socket: other, advance } = await connected(0);
  await advance(100_000);
  expect(other.takeSent('refresh')).toEqual([]);
});

test('refresh sends the credentials of a new URL at once, and the timer starts again', async () => {
  const { all, socket, advance } = await connected();
  const { client } = all;
  let done = client.refresh();
  await vi.dynamicImportSettled();
  await turn();
  expect(socket.answer('refresh', { expiresIn: 100_000 })).toMatchObject({
    url: 'wss://chat.test/ws?token=2',
  });
  await done;
  await advance(79_999);
  expect(socket.takeSent('refresh')).toEqual([]);
  await advance(1);
  socket.answer('refresh', {});
  done = client.refresh();
  await turn();
  socket.refuse('refresh', 'FORBIDDEN');
  await expect(done).rejects.toMatchObject({ code: 'FORBIDDEN', outcome: 'failed' });
  expect(client.state).toBe('open');
  const same = new Harness();
  await expect(same.client.refresh()).rejects.toMatchObject({ code: 'INVALID' });
});

test('a refresh without a connection is sent on the next one', async () => {
  const all = new Harness({ url: () => 'wss://chat.test' });
  const done = all.client.refresh();
  await vi.dynamicImportSettled();
  const socket = await all.open();
  socket.answer('refresh', {});
  await done;
  expect(all.of('error')).toEqual([]);
});

test('a second welcome is another user on the same connection', async () => {
  const { all, socket, advance } = await connected(60_000);
  const { client } = all;
  const room = client.join('lobby');
  socket.answer('join', { position: '5-1' });
  socket.receive({ type: 'event', event: 'hi', data: 1, position: '7-1' });
  void client.setStatus('busy');
  socket.answer('status');
  await turn();
  socket.receive({ ...WELCOME, user: 'bob', position: '3-1', heartbeat: 10_000_000, expiresIn: 10_000 });
  expect([client.user, client.state, room.state]).toEqual(['bob', 'open', 'joined']);
  expect(all.of('open')).toMatchObject([
    { user: 'alice', reconnected: false },
    { user: 'bob', reconnected: true },
  ]);
  expect(all.of('discontinuity')).toEqual([]);
  // The status of this client is the new user's, too.
  expect(socket.answer('status')).toMatchObject({ status: 'busy' });
  expect(socket.takeSent('join')).toEqual([]);
  socket.receive({ type: 'error', room: 'lobby', code: 'FORBIDDEN', message: 'not you' });
  expect([room.state, room.error?.code]).toEqual(['refused', 'FORBIDDEN']);
  await vi.dynamicImportSettled();
  await turn();
  await advance(8_000);
  expect(socket.takeSent('refresh')).toHaveLength(1);
  // The position is the new user's, although it is an earlier one.
  socket.end();
  await advance(1_000);
  const [, next] = all.sockets;
  expect(next?.url).toContain('since=3-1');
});
