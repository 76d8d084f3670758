import { InvalidArgumentError, type RoomService } from 'rollcall';
import { expect, test } from 'vitest';
import { createRequestHandlers } from '../../../src/notifications/request-handlers.js';
import type { ConnectionPeer } from '../../../src/server/connection-peer.js';
import type { ConnectionHandlerOptions, ConnectionIdentity } from '../../../src/server/options.js';
import { plainEncoder } from '../../../src/server/peer-adapter.js';
import type { AttachedClient, RequestSettings } from '../../../src/server/request-context.js';
import { ServerConnection } from '../../../src/server/server-connection.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { deferred } from '../../support/wait.js';

/** A WebSocket that records the calls on it. */
class FakeSocket implements ConnectionPeer {
  readyState = 1;
  bufferedAmount = 0;
  paused = false;
  readonly done: string[] = [];
  readonly sent: { type: string; id?: number; code?: string }[] = [];

  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }
  ping(): void {
    this.done.push('ping');
  }
  close(code: number): void {
    this.done.push(`close ${code}`);
    this.readyState = 2;
  }
  terminate(): void {
    this.done.push('terminate');
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
}

type Given = Partial<ConnectionHandlerOptions> & {
  expiresAt?: number;
  admit?: (key: string) => Promise<number | undefined>;
};

function fixture({ expiresAt, admit, ...options }: Given = {}) {
  const clock = new FakeClock();
  const socket = new FakeSocket();
  const reported: unknown[] = [];
  const counters = { frames: 0, malformed: 0, limited: 0 };
  const report = (error: unknown) => void reported.push(error);
  const connection = new ServerConnection<ConnectionIdentity>(socket, plainEncoder, {
    clock,
    maxFrameBytes: 1_048_576,
    heartbeatInterval: 25_000,
    consumeRate: admit,
    report,
    counters,
    pongs: { reported: false },
    onEnded: () => {},
  });
  const { peer } = connection;
  const room = {
    id: 's1',
    userId: 'ann',
    attached: true,
    rooms: [],
    isIn: () => true,
    watching: 0,
    isWatching: () => false,
    revocations: 0,
    close: (code: number, reason: string) => peer.close(code, reason),
    touch: async () => {},
  };
  const settings = {
    options: { authorize: () => true, rooms: {} as RoomService, authenticate: () => 'ann', ...options },
    maxRooms: 10,
    maxWatched: 10,
    clock,
    report,
  } as unknown as RequestSettings<ConnectionIdentity>;
  const client = {
    known: { user: { userId: 'ann' }, userId: 'ann', expiresAt, rateKey: 'ann' },
    socket: room,
  } as unknown as AttachedClient<ConnectionIdentity>;
  const receive = (frame: object | string) =>
    connection.receive(typeof frame === 'string' ? frame : JSON.stringify(frame));
  const begin = () => {
    peer.welcome({ type: 'pong' });
    socket.sent.length = 0;
    connection.start(settings, client);
  };
  return { clock, socket, peer, connection, room, reported, counters, receive, begin };
}

const request = (id: number, method = 'go') => ({ type: 'request', id, method });

test('requests start in order, although authorize takes different times', async () => {
  const started: unknown[] = [];
  const decisions = [deferred<boolean>(), deferred<boolean>(), deferred<boolean>()];
  const { receive, begin } = fixture({
    authorize: (_, request) =>
      decisions[Number(request.action === 'request' && request.method.slice(1))]?.promise ?? true,
    requests: Object.fromEntries(
      ['m0', 'm1', 'm2', 'm3'].map((method) => [method, () => void started.push(method)]),
    ),
  });
  begin();
  for (const at of [0, 1, 2, 3]) receive(request(at, `m${at}`));
  decisions[2]?.resolve(true);
  decisions[1]?.resolve(false);
  await turn();
  expect(started).toEqual([]);
  decisions[0]?.resolve(true);
  await turn();
  expect(started).toEqual(['m0', 'm2', 'm3']);
});

test('a frame that arrives as the queue empties is handled', async () => {
  const { receive, begin, socket } = fixture();
  begin();
  // The frame arrives at each microtask until the queue is empty.
  for (let at = 0; at < 20; at++) {
    receive({ type: 'ping' });
    for (let hop = 0; hop < at; hop++) await Promise.resolve();
  }
  await turn();
  expect(socket.sent).toHaveLength(20);
});

test('reading pauses while the queue is full, and resumes afterwards', async () => {
  const go = deferred<boolean>();
  const { receive, begin, socket } = fixture({ authorize: () => go.promise, requests: { go: () => 1 } });
  begin();
  for (let id = 0; id < 66; id++) receive(request(id));
  expect(socket.paused).toBe(true);
  go.resolve(true);
  await turn();
  expect(socket.paused).toBe(false);
  expect(socket.sent).toHaveLength(66);
});

test('long frames pause reading sooner, and a flood of them closes the connection', () => {
  const { receive, socket } = fixture();
  const long = { type: 'ping', pad: 'ü'.repeat(60_000) };
  for (let at = 0; at < 4; at++) receive(long);
  expect(socket.paused).toBe(false);
  receive(long);
  expect(socket.paused).toBe(true);
  for (let at = 0; at < 40; at++) receive(long);
  expect(socket.done).toEqual(['close 4529']);
  expect(socket.paused).toBe(false);
});

test('a handled frame no longer counts as waiting', async () => {
  const { receive, begin, socket } = fixture();
  begin();
  for (let at = 0; at < 100; at++) {
    receive({ type: 'ping', pad: '😀ü'.repeat(10_000) });
    await turn();
    expect(socket.paused).toBe(false);
  }
  expect(socket.done).toEqual([]);
});

test('at most 64 requests run at once', async () => {
  const running: (() => void)[] = [];
  const { receive, begin, socket } = fixture({
    requests: { go: () => new Promise<void>((resolve) => running.push(resolve)) },
  });
  begin();
  for (let id = 0; id < 70; id++) receive(request(id));
  await turn();
  expect(running).toHaveLength(64);
  running[0]?.();
  await turn();
  expect(running).toHaveLength(65);
  expect(socket.sent).toHaveLength(1);
});

test('frames that wait or arrive at the close are not handled', async () => {
  const called: unknown[] = [];
  const go = deferred<boolean>();
  const { receive, begin, connection, socket, counters } = fixture({
    authorize: () => go.promise,
    requests: { go: () => called.push(1) },
  });
  begin();
  for (let id = 0; id < 10; id++) receive(request(id));
  connection.close(1012, '');
  receive(request(11));
  go.resolve(true);
  await turn();
  expect([called, socket.sent, counters.frames]).toEqual([[], [], 10]);
});

test('a client that does not read its replies is closed', async () => {
  const { receive, begin, socket } = fixture();
  begin();
  socket.bufferedAmount = 5 * 1_048_576;
  receive({ type: 'ping' });
  await turn();
  expect(socket.done).toEqual(['close 4508']);
});

test('credentials that are valid for longer than the longest timer expire on time', async () => {
  const days = 86_400_000;
  const { clock, begin, socket } = fixture({ expiresAt: new FakeClock().now() + 60 * days });
  begin();
  clock.advance(60 * days - 1);
  expect(socket.done).toEqual([]);
  clock.advance(1);
  expect(socket.done).toEqual(['close 4501']);
});

test('an authorize that never settles closes the connection with 4500, and is reported', async () => {
  for (const known of [false, true]) {
    const { clock, connection, begin, receive, socket, reported } = fixture({
      authorize: () => new Promise<never>(() => {}),
      requests: { go: () => 1 },
    });
    if (known) begin();
    for (let id = 0; id < 70; id++) receive(request(id));
    clock.advance(1_399);
    expect(connection.checkAlive(clock.monotonic(), 1_000, 400)).toBe(true);
    expect(socket.done).toEqual([]);
    clock.advance(1);
    expect(connection.checkAlive(clock.monotonic(), 1_000, 400)).toBe(true);
    expect(socket.done).toEqual(['close 4500']);
    expect(reported).toHaveLength(1);
  }
});

test('a limiter that throws synchronously lets frames pass', async () => {
  const { receive, begin, socket, reported } = fixture({ admit: () => Promise.reject(new Error('odd')) });
  begin();
  receive({ type: 'ping' });
  await turn();
  expect(socket.sent).toMatchObject([{ type: 'error', code: 'INTERNAL' }]);
  expect(reported).toHaveLength(1);
});

test('invalid data of a client gets INVALID from the requests of notifications; an invalid argument of the application is INTERNAL', async () => {
  const refuse = () => Promise.reject(new InvalidArgumentError('id', 'must be a position'));
  const { receive, begin, socket, reported } = fixture({
    requests: {
      ...createRequestHandlers({ list: refuse, unread: refuse, acknowledge: refuse }),
      own: refuse,
    },
  });
  begin();
  receive({ type: 'request', id: 1, method: 'notifications.acknowledge', data: { id: 'x' } });
  receive({ type: 'request', id: 2, method: 'notifications.list', data: { limit: 101 } });
  await turn();
  expect(socket.sent).toMatchObject([
    { id: 1, code: 'INVALID', message: 'id: must be a position' },
    { id: 2, code: 'INVALID', message: 'limit: must be at most 100' },
  ]);
  expect(reported).toEqual([]);
  receive({ type: 'request', id: 3, method: 'own' });
  await turn();
  expect(socket.sent.at(-1)).toMatchObject({ id: 3, code: 'INTERNAL' });
  expect(reported).toHaveLength(1);
});
