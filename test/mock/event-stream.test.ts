import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CloseCode, defineChannel, PresenceService, PubSubService, RoomService } from 'rollcall';
import {
  ClientError,
  connectEventStream,
  type EventStreamClient,
  type EventStreamClientOptions,
} from 'rollcall/event-stream';
import { type EventStreamOptions, pipeEventStream } from 'rollcall/sse';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { waitFor } from '../support/wait.js';

interface Seen {
  readonly stream: EventStreamClient;
  /** Names and values of what happened, without states. */
  readonly log: unknown[][];
  readonly states: string[];
  /** Names and data of events. */
  readonly events: unknown[][];
}

let server: Server;
let url: string;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let requests: IncomingMessage[];
const streams: EventStreamClient[] = [];

async function listen(port = 0): Promise<void> {
  server = createServer((request, response) => {
    requests.push(request);
    answer(request, response);
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/events`;
}

async function stopServer(): Promise<void> {
  const closed = once(server.close(), 'close');
  server.closeAllConnections();
  await closed;
}

beforeEach(async () => {
  requests = [];
  await listen();
});
afterEach(async () => {
  for (const stream of streams.splice(0)) stream.close();
  if (server.listening) await stopServer();
});

function open(options: Partial<EventStreamClientOptions> = {}): Seen {
  const stream = connectEventStream({ url, backoff: { first: 5, max: 20 }, ...options });
  streams.push(stream);
  const seen: Seen = { stream, log: [], states: [], events: [] };
  for (const name of ['open', 'reconnecting', 'closed', 'error', 'discontinuity'] as const) {
    stream.on(name, (info) => seen.log.push([name, info]));
  }
  stream.on('state', (state) => seen.states.push(state));
  stream.events.on('*', (data, { event }) => seen.events.push([event, data]));
  return seen;
}

const begin = (response: ServerResponse, text = ''): ServerResponse => {
  response.writeHead(200, { 'content-type': 'text/event-stream' }).write(`:\n\n${text}`);
  return response;
};
const names = ({ log }: Seen): unknown[] => log.map(([name]) => name);
const until = (what: string, fn: () => unknown) => waitFor(fn, { message: what });

describe('any server', () => {
  test('headers and the URL are asked for at each attempt; the stream resumes after an orderly end', async () => {
    let connection = 0;
    answer = (_, response) => {
      connection++;
      begin(response, `retry: 5\nid: ${connection}\ndata: ${connection}\n\n`).end();
    };
    let token = 0;
    const seen = open({
      url: () => `${url}?n=${token}`,
      headers: async () => ({ authorization: `Bearer ${++token}` }),
    });
    await until('three connections', () => requests.length >= 3);
    expect(
      requests.slice(0, 3).map(({ headers }) => [headers.authorization, headers['last-event-id']]),
    ).toEqual([
      ['Bearer 1', undefined],
      ['Bearer 2', '1'],
      ['Bearer 3', '2'],
    ]);
    expect(requests[1]?.url).toBe('/events?n=1');
    expect(requests[0]?.headers.accept).toBe('text/event-stream');
    await until('three events', () => seen.events.length >= 3);
    expect(seen.events.slice(0, 3)).toEqual([
      ['message', 1],
      ['message', 2],
      ['message', 3],
    ]);
    expect(names(seen)).not.toContain('discontinuity');
    expect(seen.states.slice(0, 4)).toEqual(['open', 'waiting', 'connecting', 'open']);
  });

  test('a gateway that fails, limits or answers with a page is tried again; the wait grows', async () => {
    const statuses = [502, 503, 429, 408, 200];
    answer = (_, response) => {
      const status = statuses.shift();
      if (status) response.writeHead(status, { 'content-type': 'text/html' }).end('<p>');
      else begin(response, 'data: 1\n\n');
    };
    const seen = open({ random: () => 1, backoff: { first: 1, max: 4 } });
    await until('an event', () => seen.events.length === 1);
    const waits = seen.log.filter(([name]) => name === 'reconnecting').map(([, info]) => info);
    expect(waits).toMatchObject([
      { status: 502, attempt: 1, delay: 1, reason: 'HTTP status 502' },
      { status: 503, attempt: 2, delay: 2 },
      { status: 429, attempt: 3, delay: 4 },
      { status: 408, attempt: 4, delay: 4 },
      { status: 200, attempt: 5, delay: 4, reason: 'not an event stream, but text/html' },
    ]);
  });

  test('Retry-After decides on the wait', async () => {
    answer = (_, response) => response.writeHead(503, { 'retry-after': '7' }).end();
    const seen = open();
    await until('reconnecting', () => seen.log.length > 0);
    expect(seen.log[0]).toEqual(['reconnecting', expect.objectContaining({ attempt: 1, delay: 7_000 })]);
  });

  test.each([
    [204, 1000],
    [400, CloseCode.PROTOCOL_ERROR],
    [401, CloseCode.UNAUTHENTICATED],
    [403, CloseCode.DISCONNECTED],
    [404, CloseCode.PROTOCOL_ERROR],
  ])('the status %i ends the stream with the code %i', async (status, code) => {
    answer = (_, response) => response.writeHead(status).end();
    const seen = open();
    await until('closed', () => seen.stream.state === 'closed');
    expect(seen.log).toEqual([['closed', { code, reason: `HTTP status ${status}`, status }]]);
    expect(requests.length).toBe(1);
  });

  test('with a function for the headers, the second 401 in a row ends the stream', async () => {
    let token = 0;
    answer = ({ headers }, response) => {
      if (headers.authorization === '2') begin(response).end();
      else response.writeHead(401).end();
    };
    const seen = open({ headers: () => ({ authorization: String(++token) }) });
    await until('closed', () => seen.stream.state === 'closed');
    expect(token).toBe(4);
    expect(names(seen)).toEqual(['reconnecting', 'open', 'reconnecting', 'reconnecting', 'closed']);
  });

  test('a silent connection is lost after silenceTimeout', async () => {
    answer = (_, response) => begin(response);
    const seen = open({ silenceTimeout: 50 });
    await until('a second connection', () => requests.length > 1);
    expect(seen.log[1]).toMatchObject(['reconnecting', { reason: 'no data from the server' }]);
  });

  test('without ids, a lost connection is a discontinuity before the next event', async () => {
    const responses: ServerResponse[] = [];
    answer = (_, response) => responses.push(begin(response));
    const before = Date.now();
    const seen = open();
    await until('one connection', () => responses.length === 1);
    responses[0]?.write('data: 1\n\n');
    await until('an event', () => seen.events.length === 1);
    responses[0]?.destroy();
    await until('another connection', () => responses.length === 2);
    await until('open', () => seen.stream.state === 'open');
    expect(names(seen)).not.toContain('discontinuity');
    responses[1]?.write('data: 3\n\n');
    await until('two events', () => seen.events.length === 2);
    const [, gap] = seen.log.find(([name]) => name === 'discontinuity') ?? [];
    expect(gap).toEqual({ reason: 'reconnected', recovered: false, since: expect.any(Number) });
    expect((gap as { since: number }).since).toBeGreaterThanOrEqual(before);
  });

  test('an id that is not ASCII is sent as EventSource sends it; a given id is where the stream begins', async () => {
    answer = (_, response) => begin(response, 'id: ü\ndata: 1\n\n').end();
    open({ lastEventId: 'start' });
    await until('two connections', () => requests.length >= 2);
    expect(requests[0]?.headers['last-event-id']).toBe('start');
    expect(Buffer.from(requests[1]?.headers['last-event-id'] as string, 'latin1').toString()).toBe('ü');
  });

  test('errors of handlers, of parse and of the URL are reported, and the stream goes on', async () => {
    answer = (_, response) => begin(response, 'data: {\n\ndata: 1\n\ndata: 2\n\n');
    let urls = 0;
    const seen = open({
      url: () => {
        if (urls++ === 0) throw new Error('no token');
        return url;
      },
    });
    seen.stream.events.on('message', (n) => {
      if (n === 1) throw new Error('handler');
    });
    await until('two events', () => seen.events.length === 2);
    const errors = seen.log.filter(([name]) => name === 'error').map(([, error]) => (error as Error).message);
    expect(errors).toEqual(['no token', expect.stringContaining('JSON'), 'handler']);
    expect(seen.log[1]).toMatchObject(['reconnecting', { reason: 'Error: no token' }]);
  });

  test('close() ends the request; reconnect() connects again', async () => {
    const closed: number[] = [];
    answer = (_, response) => {
      const n = requests.length;
      begin(response).on('close', () => closed.push(n));
    };
    const seen = open();
    await until('open', () => seen.stream.state === 'open');
    seen.stream.reconnect();
    await until('open again', () => requests.length === 2 && seen.stream.state === 'open');
    expect(seen.log.filter(([name]) => name === 'open').map(([, info]) => info)).toEqual([
      { reconnected: false },
      { reconnected: true },
    ]);
    seen.stream.close();
    expect(seen.stream.state).toBe('closed');
    await until('both requests ended', () => closed.length === 2);
    expect(seen.log.at(-1)).toEqual(['closed', { code: 1000, reason: 'close' }]);
    seen.stream.reconnect();
    expect(seen.stream.state).toBe('closed');
  });

  test.each([
    [{ url: '' }, 'url: not a string or function'],
    [{ url: 'x', header: {} }, 'header: unknown option'],
    [{ url: 'x', headers: 7 }, 'headers: not an object or function'],
    [{ url: 'x', silenceTimeout: 0 }, 'silenceTimeout or backoff: out of range'],
    [{ url: 'x', backoff: { first: 5, max: 1 } }, 'silenceTimeout or backoff: out of range'],
  ])('%j is refused', (options, message) => {
    expect(() => connectEventStream(options as never)).toThrow(new ClientError('INVALID', message));
  });
});

describe('rollcall/sse', () => {
  const news = defineChannel('news', { history: { size: 100, ttl: 60_000 } });
  let redis: EmbeddedRedis;
  let pubsub: PubSubService;
  let presence: PresenceService;
  let rooms: RoomService;
  let restarting: AbortController;
  let options: EventStreamOptions;
  let token: string;

  beforeEach(async () => {
    redis = await createEmbeddedRedis();
    pubsub = new PubSubService({ redis: redis.client });
    presence = new PresenceService({ redis: redis.connect(), grace: 0 });
    rooms = new RoomService({ pubsub, presence });
    restarting = new AbortController();
    options = { pubsub, channels: [news()], retry: 20 };
    token = 'a';
    answer = (request, response) => {
      if (request.headers.authorization !== `Bearer ${token}`) return void response.writeHead(401).end();
      pipeEventStream(request, response, { ...options, signal: restarting.signal } as EventStreamOptions);
    };
  });
  afterEach(async () => {
    for (const stream of streams.splice(0)) stream.close();
    await rooms.close();
    await presence.close();
    await pubsub.close();
    await redis.close();
  });

  test('nothing is lost over a restart during which the token changes and a gateway answers 502', async () => {
    const seen = open({ headers: () => ({ authorization: `Bearer ${token}` }) });
    const ready: unknown[] = [];
    const marks: boolean[] = [];
    seen.stream.events.on('$ready', (data) => ready.push(data));
    seen.stream.events.on('*', (_, { replayed }) => marks.push(replayed));
    await until('ready', () => ready.length === 1);
    await pubsub.publish(news(), 1);
    await until('an event', () => seen.events.length === 1);

    const { port } = server.address() as AddressInfo;
    restarting.abort();
    await stopServer();
    await pubsub.publish(news(), 2);
    const serve = answer;
    answer = (_, response) => void response.writeHead(502).end();
    await listen(port);
    await until('a 502', () => seen.log.some(([, info]) => (info as { status?: number }).status === 502));
    token = 'b';
    restarting = new AbortController();
    answer = serve;
    await pubsub.publish(news(), 3);
    await until('three events', () => seen.events.length >= 3);
    expect(seen.events).toEqual([
      ['news', 1],
      ['news', 2],
      ['news', 3],
    ]);
    await until('ready again', () => ready.length === 2);
    expect(ready).toMatchObject([{ returned: false }, { returned: true }]);
    await pubsub.publish(news(), 4);
    await until('a live event', () => marks.length === 4);
    expect(marks).toEqual([false, true, true, false]);
    const gaps = seen.log.filter(([name]) => name === 'discontinuity').map(([, gap]) => gap);
    expect(gaps.filter((gap) => !(gap as { recovered: boolean }).recovered)).toEqual([]);
  });

  test('a history that is lost during a break is a discontinuity, told by the server once', async () => {
    const seen = open({ headers: { authorization: 'Bearer a' } });
    await until('open', () => seen.stream.state === 'open');
    await pubsub.publish(news(), 1);
    await until('an event', () => seen.events.length === 1);
    const serve = answer;
    answer = (_, response) => void response.writeHead(503).end();
    server.closeAllConnections();
    await until('a 503', () => requests.length > 1);
    for (let n = 2; n < 150; n++) await pubsub.publish(news(), n);
    answer = serve;
    await until('the last event', () => seen.events.at(-1)?.[1] === 149);
    expect(seen.events.length).toBe(101);
    const gaps = seen.log.filter(([name]) => name === 'discontinuity').map(([, gap]) => gap);
    expect(gaps).toMatchObject([{ channel: 'news', reason: 'trimmed', recovered: false }]);
  });

  test('disconnectUser ends the stream for good', async () => {
    options = { rooms, user: { userId: 'ann' }, join: ['lobby'] };
    const seen = open({ headers: { authorization: 'Bearer a' } });
    await until('online', async () => (await presence.getPresence('ann'))?.status === 'online');
    await rooms.disconnectUser('ann');
    await until('closed', () => seen.stream.state === 'closed');
    expect(seen.log.at(-1)).toEqual(['closed', expect.objectContaining({ code: CloseCode.DISCONNECTED })]);
    expect(requests.length).toBe(1);
  });
});
