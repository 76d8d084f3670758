import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PubSubService } from 'rollcall';
import { pipeEventStream } from 'rollcall/sse';
import { io as connectTo } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/internal/clock.js';
import { nodeRedis } from '../shared/redis-clients.js';
import { SocketIoFixture } from '../shared/socket-io-fixture.js';
import { type WsClient, WsFixture, type WsNode } from '../shared/ws-fixture.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type SlowLine, startSlowLine } from '../support/slow-line.js';
import { EventParser } from '../support/sse-client.js';
import { waitFor } from '../support/wait.js';

// A catch-up that is longer than a peer's buffer, over a line that is slower than the server.

const MESSAGES = 20_000;
/** Of each message, in characters: all messages together are more than the buffers of the sockets hold. */
const SIZE = 600;
const MAX_BUFFERED = 65_536;
/** In bytes per second: much slower than the server reads its history. */
const RATE = 6 * 1_048_576;
const PATIENT = 60_000;
const ROOM = 'lobby';

let redis: RedisServer;
const ends: (() => unknown)[] = [];
const fixture = new WsFixture(() => ({
  client: () => {
    const { client, end } = nodeRedis(redis.port);
    ends.push(end);
    return client;
  },
  end: async () => {},
}));

beforeAll(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  await fixture.end();
  for (const end of ends.splice(0)) await end();
});
afterAll(() => redis.stop());

/** A server with a room that has many messages, and a slow line to it. */
async function start({ rate = RATE, clock = systemClock } = {}): Promise<{ node: WsNode; line: SlowLine }> {
  const history = { size: MESSAGES, ttl: 600_000 };
  const node = await fixture.node({ rooms: { history, maxBufferedBytes: MAX_BUFFERED, clock } });
  const text = 'x'.repeat(SIZE);
  for (let at = 0; at < MESSAGES; at += 500) {
    const numbers = Array.from({ length: 500 }, (_, index) => at + index);
    await Promise.all(numbers.map((number) => node.rooms.broadcast(ROOM, 'said', { number, text })));
  }
  const line = await startSlowLine(node.port, rate);
  ends.unshift(() => line.stop());
  return { node, line };
}

async function connectOver(line: SlowLine): Promise<WsClient> {
  return fixture.client({ url: `ws://127.0.0.1:${line.port}` }, 'ann');
}

/** The most bytes that have waited for a client. */
function observeWaiting({ wss }: WsNode): () => number {
  let most = 0;
  const timer = setInterval(() => {
    for (const { bufferedAmount } of wss.clients) most = Math.max(most, bufferedAmount);
  }, 5);
  ends.unshift(() => clearInterval(timer));
  return () => most;
}

const numbersOf = (client: WsClient) =>
  client.receivedData(ROOM).map((data) => (data as { number: number }).number);

test('a slow client receives all it missed, in order and on one connection', async () => {
  const { node, line } = await start();
  const client = await connectOver(line);
  const answer = await client.ask({ type: 'join', room: ROOM, since: '0-0' });
  expect(answer.type).toBe('ok');
  const waiting = observeWaiting(node);
  // Published while the client catches up.
  await node.rooms.broadcast(ROOM, 'said', { number: MESSAGES });
  await Promise.race([
    waitFor(() => client.of('event').length > MESSAGES, {
      timeout: PATIENT,
      message: () => `${client.of('event').length} messages`,
    }),
    client.closed.then((end) => Promise.reject(new Error(`closed after ${JSON.stringify(end)}`))),
  ]);
  expect(numbersOf(client)).toEqual(Array.from({ length: MESSAGES + 1 }, (_, at) => at));
  expect(client.of('discontinuity')).toEqual([]);
  expect(line.connections).toBe(1);
  expect(waiting()).toBeLessThanOrEqual(MAX_BUFFERED);
  expect(node.rooms.stats()).toMatchObject({ closedSlow: 0, dropped: 0 });
  // Live again.
  await node.rooms.broadcast(ROOM, 'said', { number: -1 });
  await waitFor(() => numbersOf(client).at(-1) === -1, { message: 'a live message' });
  expect(node.errors).toEqual([]);
});

test('a slow client receives the last messages in order, and live messages after them', async () => {
  const { node, line } = await start();
  const client = await connectOver(line);
  const waiting = observeWaiting(node);
  expect((await client.ask({ type: 'join', room: ROOM, last: 1_000 })).type).toBe('ok');
  await node.rooms.broadcast(ROOM, 'said', { number: MESSAGES });
  await client.until(() => numbersOf(client).at(-1) === MESSAGES, 'the live message');
  expect(numbersOf(client)).toEqual(Array.from({ length: 1_001 }, (_, at) => MESSAGES - 1_000 + at));
  expect(client.of('discontinuity')).toEqual([]);
  expect(waiting()).toBeLessThanOrEqual(MAX_BUFFERED);
  expect(line.connections).toBe(1);
});

test.each([
  ['last', { last: 1_000 }],
  ['since', { since: 'earliest' as const }],
])('an event stream sends missed messages as fast as a slow client reads, by %s', async (_, begin) => {
  const { client: own, end } = nodeRedis(redis.port);
  const pubsub = new PubSubService({ redis: own, prefix: fixture.prefix });
  const channel = `news by ${Object.keys(begin)}`;
  const history = { size: 1_000, ttl: 600_000 };
  const text = 'x'.repeat(4 * SIZE);
  await Promise.all(
    Array.from({ length: 1_000 }, (_, number) => pubsub.publish(channel, { number, text }, { history })),
  );
  let waiting = 0;
  const http = createServer((request, response) => {
    const channels = [{ channel, event: 'news', ...begin }, 'live'];
    pipeEventStream(request, response, { pubsub, channels, maxBufferedBytes: MAX_BUFFERED });
    const timer = setInterval(() => {
      waiting = Math.max(waiting, response.writableLength);
    }, 5);
    response.on('close', () => clearInterval(timer));
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const line = await startSlowLine((http.address() as AddressInfo).port, RATE / 4);
  ends.unshift(
    () => line.stop(),
    () => pubsub.close(),
    () => end(),
    () => void http.close().closeAllConnections(),
  );
  const response = await fetch(`http://127.0.0.1:${line.port}/`);
  const parser = new EventParser();
  const of = (type: string) => parser.events.filter((event) => event.type === type);
  const read = async () => {
    for await (const bytes of response.body ?? []) parser.feed(Buffer.from(bytes).toString('latin1'));
  };
  read().catch(() => {});
  // Live messages find room in the buffer.
  const talk = setInterval(() => void pubsub.publish('live', 1).catch(() => {}), 10);
  ends.unshift(() => clearInterval(talk));
  await waitFor(() => of('$ready').length + of('$close').length > 0 && of('news').length >= 1_000, {
    timeout: PATIENT,
    message: () => `${of('news').length} messages, ${JSON.stringify(of('$close'))}`,
  });
  expect(of('news').map(({ data }) => JSON.parse(data).number)).toEqual(
    Array.from({ length: 1_000 }, (_, at) => at),
  );
  expect([of('$close'), of('$discontinuity')]).toEqual([[], []]);
  expect(waiting).toBeLessThanOrEqual(MAX_BUFFERED);
});

test('a slow client of Socket.IO receives all it missed, with few packets waiting', async () => {
  const sockets = new SocketIoFixture(() => {
    const { client, end } = nodeRedis(redis.port);
    ends.push(end);
    return client;
  });
  ends.unshift(() => sockets.end());
  const node = await sockets.node();
  const history = { size: 5_000, ttl: 600_000 };
  const text = 'x'.repeat(4 * SIZE);
  await Promise.all(
    Array.from({ length: 5_000 }, (_, number) => node.pubsub.publish('news', { number, text }, { history })),
  );
  let waiting = 0;
  node.io.on('connection', (socket) => {
    void node.tracker.subscribe(socket, 'news', { since: 'earliest' });
    const timer = setInterval(() => {
      waiting = Math.max(waiting, (socket.conn as unknown as { writeBuffer: unknown[] }).writeBuffer.length);
    }, 5);
    socket.on('disconnect', () => clearInterval(timer));
  });
  const line = await startSlowLine(Number(new URL(node.url).port), RATE);
  ends.unshift(() => line.stop());
  const got: number[] = [];
  const client = connectTo(`http://127.0.0.1:${line.port}`, {
    transports: ['websocket'],
    auth: { user: 'ann' },
  });
  ends.unshift(() => void client.close());
  client.on('news', ({ number }: { number: number }) => void got.push(number));
  await waitFor(() => got.length >= 5_000, { timeout: PATIENT, message: () => `${got.length} messages` });
  expect(got).toEqual(Array.from({ length: 5_000 }, (_, at) => at));
  expect(waiting).toBeLessThanOrEqual(33);
});

test('a client that takes nothing during a catch-up is closed as a slow consumer, with few bytes waiting', async () => {
  // Timers of the service run 20 times as fast.
  const fast: typeof systemClock = {
    ...systemClock,
    after: (ms, task, options) => systemClock.after(ms / 20, task, options),
  };
  const { node, line } = await start({ clock: fast });
  const client = await connectOver(line);
  line.freeze();
  const waiting = observeWaiting(node);
  client.write({ type: 'join', room: ROOM, since: '0-0', id: 1 });
  await waitFor(() => node.rooms.stats().closedSlow === 1, { timeout: PATIENT, message: 'the close' });
  await waitFor(() => node.rooms.stats().sockets === 0, { message: 'the end of the socket' });
  expect(waiting()).toBeLessThanOrEqual(MAX_BUFFERED);
  client.socket.terminate();
});
