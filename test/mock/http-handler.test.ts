import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { CloseCode, createRollcall, type Rollcall } from 'rollcall';
import { type Client, type ClientError, type ConnectOptions, connect } from 'rollcall/client';
import { createHttpHandler, type HttpHandler, type HttpHandlerOptions } from 'rollcall/server';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { serveWebSocket } from 'rollcall/ws';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { HttpSocket } from '../../src/client/http-socket.js';
import { FakeClock } from '../support/fake-clock.js';
import { waitFor } from '../support/wait.js';

interface Process {
  readonly rollcall: Rollcall;
  readonly options: HttpHandlerOptions;
  http: HttpHandler;
}

let redis: EmbeddedRedis;
/** Two processes behind one address: streams go to the first that is up, other requests to the last. */
let processes: Process[];
let server: Server;
let url: string;
/** Requests that were no upgrades. */
let requested: number;
const clients: Client[] = [];
const failures: unknown[] = [];

const userOf = ({ url = '' }: IncomingMessage) =>
  new URLSearchParams(url.slice(url.indexOf('?'))).get('user');

async function startProcess(more: Partial<HttpHandlerOptions> = {}): Promise<Process> {
  const rollcall = createRollcall({
    redis: redis.connect(),
    presence: { grace: 0 },
    rooms: { history: { size: 1_000, ttl: 60_000 } },
    onError: (error) => failures.push(error),
  });
  const options: HttpHandlerOptions = {
    rooms: rollcall.rooms,
    authenticate: userOf,
    authorize: () => true,
    requests: { echo: (_, data) => data },
    onError: (error) => failures.push(error),
    ...more,
  };
  return { rollcall, options, http: createHttpHandler(options) };
}

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  processes = [await startProcess(), await startProcess()];
  requested = 0;
  server = createServer((request, response) => {
    requested++;
    const at = request.method === 'GET' ? 0 : -1;
    void processes.at(at)?.http.handle(request, response);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/ws`;
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  const closed = once(server.close(), 'close');
  server.closeAllConnections();
  await closed;
  for (const { http, rollcall } of processes) {
    await http.shutdown();
    await rollcall.close();
  }
  await redis.close();
  expect(failures.splice(0)).toEqual([]);
});

function open(user: string, options: Partial<ConnectOptions> = {}): Client {
  const client = connect({
    url: `${url}?user=${user}`,
    WebSocket: HttpSocket,
    backoff: { first: 5, max: 20 },
    ...options,
  });
  clients.push(client);
  return client;
}

const until = (what: string, fn: () => unknown) => waitFor(fn, { message: what, timeout: 10_000 });

describe('a client over HTTP', () => {
  test('joins, sends, calls and is present, with its requests at another process than its stream', async () => {
    const [ann, bob] = [open('ann'), open('bob')];
    const received: unknown[] = [];
    const room = bob.join('lobby');
    room.on('message', (data, { from }) => received.push([from, data]));
    await room.ready;
    const sends = Array.from({ length: 50 }, (_, n) => ann.join('lobby').send('message', n));
    await Promise.all(sends);
    await until('50 events', () => received.length === 50);
    expect(received).toEqual(sends.map((_, n) => ['ann', n]));
    expect(await ann.request('echo', { deep: ['ü', null] })).toEqual({ deep: ['ü', null] });
    expect(processes[0]?.http.stats().connections).toBe(2);
    expect(processes[1]?.http.stats().connections).toBe(0);
    const { presence } = (processes[1] as Process).rollcall;
    expect((await presence.getPresence('ann'))?.status).toBe('online');
    ann.close();
    await until('ann offline', async () => (await presence.getPresence('ann'))?.status === 'offline');
  });

  test('replaces its credentials on the open stream, before they expire', async () => {
    // The client waits for real time, at least 1 s. The server's time passes between the refreshes.
    const clock = new FakeClock();
    const tokens: string[] = [];
    for (const [n, process] of processes.entries()) {
      process.http = createHttpHandler({
        ...process.options,
        clock,
        authenticate({ url = '' }) {
          const parameters = new URLSearchParams(url.slice(url.indexOf('?')));
          tokens.push(`${n}: ${parameters.get('token')}`);
          return { userId: 'ann', expiresAt: clock.now() + 1_000 };
        },
      });
    }
    let made = 0;
    const client = open('ann', { url: () => `${url}?token=${++made}` });
    const opened = vi.fn();
    client.on('open', opened);
    for (const count of [2, 3]) {
      await until(`${count} tokens`, () => tokens.length === count);
      clock.advance(900);
    }
    expect(await client.request('echo', 1)).toBe(1);
    expect(opened).toHaveBeenCalledTimes(1);
    expect(tokens).toEqual(['0: 1', '0: 2', '0: 3']);
  });

  test('sends volatile events, and knows how much waits for the network', async () => {
    const sockets: HttpSocket[] = [];
    class Spied extends HttpSocket {
      constructor(address: string) {
        super(address);
        sockets.push(this);
      }
    }
    const client = open('ann', { WebSocket: Spied });
    const room = client.join('lobby');
    const received: unknown[] = [];
    room.on('moved', (data) => received.push(data));
    await room.ready;
    const results = [];
    for (let n = 0; n < 30; n++)
      results.push(await room.send('moved', [n, 'x'.repeat(1_000)], { volatile: true }));
    const sent = results.flatMap(({ dropped }, n) => (dropped ? [] : [n]));
    expect(sent.length).toBeLessThan(30);
    await until('events', () => received.length === sent.length);
    expect(received.map((data) => (data as unknown[])[0])).toEqual(sent);
    await until('nothing waits', () => sockets[0]?.bufferedAmount === 0);
    expect(await room.send('moved', [30], { volatile: true })).toEqual({});
    expect(await room.history()).toEqual({ events: [], more: false });
  });

  test('sees whom it may see: visible and revoke, called in another process than its stream', async () => {
    const blocked = new Set(['bob']);
    for (const process of processes) {
      process.http = createHttpHandler({
        ...process.options,
        visible: (viewer, userId) => viewer.userId !== 'ann' || !blocked.has(userId),
      });
    }
    const { presence, rooms } = (processes[1] as Process).rollcall;
    for (const user of ['bob', 'carol']) {
      await presence.setPresence(user, user);
      await presence.join('lobby', user, user);
    }
    const ann = open('ann');
    const room = ann.join('lobby', { members: true });
    const watch = ann.watch(['bob', 'carol']);
    const statuses = () => ['bob', 'carol'].map((user) => watch.current().get(user)?.status);
    await until('presence and members', () => watch.current().size === 2 && room.members.size === 2);
    expect([statuses(), [...room.members.keys()].sort()]).toEqual([
      ['offline', 'online'],
      ['ann', 'carol'],
    ]);
    blocked.clear();
    await presence.setPresence('bob', 'bob', 'busy');
    await presence.join('lobby', 'bob', 'bob', 1);
    await until('bob', () => statuses()[0] === 'busy' && room.members.has('bob'));
    const errors: unknown[] = [];
    ann.on('error', (error) => errors.push((error as ClientError).code));
    await rooms.revoke('ann', { watch: ['bob'], members: ['lobby'] });
    await until('the ends', () => statuses()[0] === 'offline' && room.members.size === 0);
    expect(watch.current().get('bob')).toMatchObject({ code: 'FORBIDDEN' });
    await until('an error', () => errors.length > 0);
    expect([errors, room.state, statuses()[1]]).toEqual([['FORBIDDEN'], 'joined', 'online']);
  });

  test('loses nothing when the process of its stream restarts', async () => {
    const ann = open('ann');
    const received: unknown[] = [];
    const gaps: unknown[] = [];
    const room = ann.join('lobby');
    room.on('message', (n) => received.push(n));
    room.onDiscontinuity(({ recovered }) => gaps.push(recovered));
    await room.ready;
    const { rooms } = (processes[1] as Process).rollcall;
    await rooms.broadcast('lobby', 'message', 1);
    await until('one event', () => received.length === 1);
    const [first] = processes.splice(0, 1) as [Process];
    await first.http.shutdown();
    await rooms.broadcast('lobby', 'message', 2);
    await until('two events', () => received.length === 2);
    await rooms.broadcast('lobby', 'message', 3);
    await until('three events', () => received.length === 3);
    expect(received).toEqual([1, 2, 3]);
    expect(gaps.filter((recovered) => !recovered)).toEqual([]);
    await first.rollcall.close();
  });

  test.each([
    ['close', CloseCode.UNAUTHENTICATED],
    ['status', CloseCode.UNAUTHENTICATED],
  ] as const)('is refused for good with refuseWith %s', async (refuseWith, code) => {
    const { rollcall, options } = processes[0] as Process;
    const http = createHttpHandler({ ...options, refuseWith, authenticate: () => null });
    processes[0] = { rollcall, options, http };
    const closed: unknown[] = [];
    open('ann').on('closed', (info) => closed.push(info.code));
    await until('closed', () => closed.length === 1);
    expect(closed).toEqual([code]);
  });
});

describe('requests', () => {
  const post = (session: string, body = '{}') => fetch(`${url}?session=${session}`, { method: 'POST', body });

  async function openSession(): Promise<{ id: string; cancel: () => Promise<void> }> {
    const response = await fetch(`${url}?user=ann`);
    const reader = response.body?.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    let text = '';
    await until('the session', async () => {
      text += Buffer.from((await reader.read()).value ?? []).toString();
      return /event: session\ndata: (\S+)/.test(text);
    });
    return { id: /event: session\ndata: (\S+)/.exec(text)?.[1] as string, cancel: () => reader.cancel() };
  }

  test('frames for an ended or invented session are refused', async () => {
    processes.pop()?.rollcall.close();
    const { id, cancel } = await openSession();
    expect((await post(id)).status).toBe(204);
    expect((await post('guess')).status).toBe(400);
    await cancel();
    await until('410', async () => (await post(id)).status === 410);
    // Another process's, which may exist.
    expect((await post(`${'A'.repeat(12)}.${'A'.repeat(22)}`)).status).toBe(204);
  });

  test('a body that was read before is an error, and frames are not taken for sent', async () => {
    processes.pop()?.rollcall.close();
    const { id, cancel } = await openSession();
    expect((await post(id, '')).status).toBe(400);
    expect(failures.splice(0)).toEqual([expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' })]);
    await cancel();
  });

  test('a body that is too long is not read to its end', async () => {
    processes.pop()?.rollcall.close();
    const { id, cancel } = await openSession();
    const outcome = await post(id, 'x'.repeat(4 * 1_048_576)).then(
      ({ status }) => status,
      () => 'cut',
    );
    expect([413, 'cut']).toContain(outcome);
    await cancel();
  });

  test('other methods are refused, and other origins need permission', async () => {
    const { rollcall, options } = processes.pop() as Process;
    const origins = ['https://app.example'];
    processes.push({ rollcall, options, http: createHttpHandler({ ...options, origins }) });
    const put = await fetch(url, { method: 'PUT', body: '' });
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'GET, POST, OPTIONS']);
    const ask = (origin: string) => fetch(url, { method: 'OPTIONS', headers: { origin } });
    const allowed = await ask('https://app.example');
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example');
    expect(allowed.headers.get('access-control-allow-credentials')).toBe('true');
    const refused = await ask('https://other.example');
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([204, null]);
    expect(refused.headers.get('vary')).toBe('origin');
  });

  test('a Web-standard request gets a Response', async () => {
    const { rooms } = (processes[0] as Process).rollcall;
    const http = createHttpHandler<{ userId: string }, Request>({
      rooms,
      authenticate: (request) => new URL(request.url).searchParams.get('user'),
      authorize: () => true,
    });
    const abort = new AbortController();
    const response = await http.fetch(new Request(`${url}?user=ann`, { signal: abort.signal }));
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const reader = response.body?.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    let text = '';
    await until('welcome', async () => {
      text += Buffer.from((await reader.read()).value ?? []).toString();
      return text.includes('"type":"welcome"');
    });
    abort.abort();
    await until('no connection', () => http.stats().connections === 0);
    expect((await http.fetch(new Request(url, { method: 'POST', body: '' }))).status).toBe(400);
    await http.shutdown();
    expect((await http.fetch(new Request(`${url}?user=ann`))).status).toBe(503);
  });

  test.each([
    [{ origins: 'https://app.example' }],
    [{ origins: ['https://app.example/'] }],
    [{ origin: [] }],
  ])('%j is refused', (more) => {
    const { options } = processes[0] as Process;
    expect(() => createHttpHandler({ ...options, ...more } as never)).toThrow(/origin/);
  });
});

describe('the fallback of the client', () => {
  let wss: WebSocketServer;
  let blocked: boolean;
  let upgrades: Socket[];

  beforeEach(() => {
    vi.stubGlobal('WebSocket', WebSocket);
    wss = new WebSocketServer({ noServer: true });
    blocked = true;
    upgrades = [];
    const serving = serveWebSocket(wss, (processes[0] as Process).options);
    server.on('upgrade', (request, socket: Socket, head) => {
      upgrades.push(socket);
      // A client that gives up may reset the connection of a refused upgrade.
      socket.on('error', () => {});
      if (blocked) socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      else wss.handleUpgrade(request, socket, head, (each) => wss.emit('connection', each, request));
    });
    return async () => {
      vi.unstubAllGlobals();
      await serving.close();
      wss.close();
    };
  });

  const openDefault = () => {
    const client = connect({ url: `${url}?user=ann`, backoff: { first: 5, max: 20 } });
    clients.push(client);
    return client;
  };

  test('behind a proxy that refuses upgrades, the fourth attempt goes over HTTP and stays there', async () => {
    const client = openDefault();
    expect(await client.request('echo', 1)).toBe(1);
    expect(upgrades.length).toBe(3);
    client.reconnect();
    expect(await client.request('echo', 2)).toBe(2);
    expect(upgrades.length).toBe(3);
  });

  test('behind a proxy that cuts WebSockets early, no event is lost on the way to HTTP', async () => {
    blocked = false;
    const client = openDefault();
    const received: unknown[] = [];
    const room = client.join('lobby');
    room.on('message', (n) => received.push(n));
    const { rooms } = (processes[1] as Process).rollcall;
    const isHttp = () => processes[0]?.http.stats().connections === 1;
    const sent: number[] = [];
    for (let n = 0; n < 8; n++) {
      await until('joined', () => room.state === 'joined' && (upgrades.length > 0 || isHttp()));
      await rooms.broadcast('lobby', 'message', n);
      sent.push(n);
      for (const socket of upgrades.splice(0)) socket.destroy();
    }
    await until('8 events', () => received.length === 8);
    expect(received).toEqual(sent);
    await until('HTTP', isHttp);
  });

  test('an application that passes the class gets no fallback', async () => {
    clients.push(
      connect({ url: `${url}?user=ann`, backoff: { first: 5, max: 20 }, WebSocket: globalThis.WebSocket }),
    );
    await until('seven attempts', () => upgrades.length >= 7);
    expect(processes[0]?.http.stats()).toMatchObject({ connections: 0, refused: 0 });
    expect(requested).toBe(0);
  });

  test('with a server that has no HTTP handler, WebSockets are tried again', async () => {
    const client = openDefault();
    processes.splice(0, 2, ...processes.map((each) => ({ ...each, http: notFound })));
    await until('five attempts', () => upgrades.length >= 5);
    blocked = false;
    expect(await client.request('echo', 1)).toBe(1);
  });
});

const notFound = {
  handle: async (_, response) => {
    response.writeHead(404);
    response.end();
  },
  shutdown: async () => {},
} as HttpHandler;
