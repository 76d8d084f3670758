import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { CloseCode, defineChannel, PresenceService, PubSubService, RoomService } from 'rollcall';
import { type EventStreamOptions, eventStream } from 'rollcall/sse';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MATRIX_ALL } from '../shared/redis-clients.js';
import { EventParser, TestEventSource } from '../support/sse-client.js';
import { type Answer, fullyTested, type SseServer, sseServers, startHttp2 } from '../support/sse-servers.js';
import { waitFor } from '../support/wait.js';

const history = { size: 1_000, ttl: 60_000 };
const room = defineChannel<{ n: number }>()('room:{id}', { history });

let redis: EmbeddedRedis;
let pubsub: PubSubService;
let presence: PresenceService;
let rooms: RoomService;
let answer: Answer;
const servers: SseServer[] = [];
const sources: TestEventSource[] = [];

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  pubsub = new PubSubService({ redis: redis.client });
  // A separate client, so that its subscriptions are not counted as those of the streams.
  presence = new PresenceService({ redis: redis.connect(), grace: 0 });
  rooms = new RoomService({ pubsub, presence, bans: true });
});

afterEach(async () => {
  await Promise.all(sources.splice(0).map((source) => source.close()));
  await Promise.all(servers.splice(0).map((server) => server.stop()));
  await rooms.close();
  await presence.close();
  await pubsub.close();
  await redis.close();
});

/** Checks that ended streams leave no sockets, rooms or subscriptions. */
async function expectNothingLeft(): Promise<void> {
  await Promise.all(servers.flatMap(({ streams }) => streams.map(({ closed }) => closed)));
  await waitFor(() => rooms.stats().sockets === 0 && pubsub.stats().channels === 0, {
    message: () => JSON.stringify([rooms.stats(), pubsub.stats()]),
  });
  expect(rooms.stats()).toMatchObject({ sockets: 0, users: 0, rooms: 0 });
  expect(pubsub.stats().handlers).toBe(0);
}

describe.each(Object.entries(sseServers))('%s', (name, start) => {
  const testInFull: (title: string, body: () => Promise<void>) => void =
    fullyTested.has(name) || MATRIX_ALL ? test : () => {};
  let server: SseServer;

  beforeEach(async () => {
    server = await start((url) => answer(url));
    servers.push(server);
  });

  function open(query = '', lastEventId = ''): TestEventSource {
    const source = new TestEventSource(`${server.url}/events${query}`, lastEventId);
    sources.push(source);
    return source;
  }

  describe('channels', () => {
    beforeEach(() => {
      answer = () => ({ pubsub, channels: ['news', room({ id: 'a' })], retry: 20 });
    });

    test('events carry published payloads, named by their channels', async () => {
      const source = open();
      await source.until('$ready');
      expect(source.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
      expect(source.headers.get('cache-control')).toBe('no-cache, no-transform');
      await pubsub.publish('news', { text: 'hello\nworld' });
      await pubsub.publish(room({ id: 'a' }), { n: 1 });
      await source.until('room:a');
      expect(source.events.slice(1).map(({ type, data }) => [type, data])).toEqual([
        ['news', '{"text":"hello\\nworld"}'],
        ['room:a', '{"n":1}'],
      ]);
    });

    testInFull(
      'a client that reconnects gets the missed messages of every channel, once and in order',
      async () => {
        const first = open();
        await first.until('$ready');
        await pubsub.publish('news', 1, { history });
        await pubsub.publish(room({ id: 'a' }), { n: 1 });
        await Promise.all([first.until('news'), first.until('room:a')]);
        await first.close();
        const published: Promise<unknown>[] = [];
        for (let n = 2; n <= 250; n++) {
          published.push(pubsub.publish(room({ id: 'a' }), { n }), pubsub.publish('news', n, { history }));
        }
        await Promise.all(published);
        const second = open('', first.lastEventId);
        await Promise.all([second.until('room:a', 249), second.until('news', 249), second.until('$ready')]);
        await pubsub.publish(room({ id: 'a' }), { n: 251 });
        await second.until('room:a', 250);
        const missed = Array.from({ length: 249 }, (_, at) => at + 2);
        expect(second.of('news')).toEqual(missed);
        expect(second.of('room:a')).toEqual([...missed, 251].map((n) => ({ n })));
        expect(second.of('$discontinuity')).toEqual([]);
        expect(second.of('$ready')).toEqual([{ returned: true }]);
      },
    );

    testInFull('a client that has received no message yet can resume', async () => {
      const first = open();
      await first.until('$ready');
      await first.close();
      await pubsub.publish(room({ id: 'a' }), { n: 1 });
      // The same with the id in the URL.
      const second = open(`?lastEventId=${first.lastEventId}`);
      await second.until('room:a');
      expect(second.of('room:a')).toEqual([{ n: 1 }]);
    });

    testInFull(
      'messages without history, trimmed messages and unknown ids are reported as discontinuities',
      async () => {
        const first = open();
        await first.until('$ready');
        await pubsub.publish(room({ id: 'a' }), { n: 1 });
        await first.until('room:a');
        await first.close();
        await pubsub.publish('news', 'not stored');
        await redis.flush();
        const second = open('', first.lastEventId);
        await second.until('$ready');
        const unrecovered = { since: expect.any(Number), recovered: false };
        expect(second.of('$discontinuity')).toEqual(
          expect.arrayContaining([
            { channel: 'news', reason: 'reconnected', ...unrecovered },
            { channel: 'room:a', reason: 'wiped', ...unrecovered },
          ]),
        );

        const third = open('', 'of-another-server');
        await third.until('$ready');
        expect(third.of('$discontinuity')).toEqual([
          { channel: 'news', reason: 'reconnected', recovered: false },
          { channel: 'room:a', reason: 'reconnected', recovered: false },
        ]);
      },
    );

    test('a client that disconnects while its stream starts leaves no subscription or socket', async () => {
      const many = Array.from({ length: 30 }, () => open());
      await Promise.all(many.slice(0, 20).map((source) => source.until('$ready')));
      expect(pubsub.stats().handlers).toBeGreaterThanOrEqual(40);
      await Promise.all(many.map((source) => source.close()));
      await expectNothingLeft();
    });

    testInFull('a slow consumer delays no other client, and recovers every message', async () => {
      const channel = room({ id: 'a' });
      answer = () => ({ pubsub, channels: [channel], maxBufferedBytes: 500_000, retry: 20 });
      const { port } = new URL(server.url);
      const slow = connect(Number(port), '127.0.0.1');
      slow.on('error', () => {});
      slow.pause();
      slow.write('GET /events HTTP/1.1\r\nHost: a\r\n\r\n');
      await waitFor(() => server.streams.length === 1 && pubsub.stats().handlers === 1);
      const quick = open();
      await quick.until('$ready');
      const filler = 'x'.repeat(50_000);
      let n = 0;
      const closed = server.streams[0]?.closed.then(({ code }) => code);
      while (pubsub.stats().handlers === 2 && n < 600) {
        const { position } = await pubsub.publish(channel, { n: ++n, filler } as { n: number });
        await waitFor(() => quick.lastEventId.endsWith(`.${position}`), { interval: 1 });
      }
      expect(await closed).toBe(CloseCode.SLOW_CONSUMER);
      expect(quick.connections).toBe(1);
      const parser = new EventParser();
      // The parser ignores the lines with the lengths of HTTP chunks.
      slow.on('data', (bytes) => parser.feed(bytes.toString()));
      slow.resume();
      await waitFor(() => parser.events.some(({ type }) => type === '$close'));
      const returned = open('', parser.lastEventId);
      await waitFor(() => returned.lastEventId === quick.lastEventId, { timeout: 8_000 });
      const numbers = (events: readonly { type: string; data: string }[]) =>
        events.filter(({ type }) => type === 'room:a').map(({ data }) => Number(/"n":(\d+)/.exec(data)?.[1]));
      expect([...numbers(parser.events), ...numbers(returned.events)]).toEqual(
        Array.from({ length: n }, (_, at) => at + 1),
      );
      slow.destroy();
    });
  });

  describe('rooms', () => {
    beforeEach(() => {
      answer = (url) => {
        const userId = url.searchParams.get('user') ?? 'ann';
        if (userId === 'nobody') return undefined;
        const join = [{ room: 'lobby', last: 2, members: true, info: { as: userId } }, 'other'];
        return { rooms, user: { userId, meta: { by: 'sse' } }, join, watch: ['zoe'], retry: 20 };
      };
    });

    test('the reader is a member of the rooms and receives messages to them and to the user', async () => {
      await rooms.broadcast('lobby', 'said', 1);
      await rooms.broadcast('lobby', 'said', 2, { from: 'zoe' });
      await rooms.broadcast('lobby', 'said', 3);
      const source = open();
      await source.until('$ready');
      const [ready] = source.of<{ returned: boolean; socket: string; client: string }>('$ready');
      expect(ready).toEqual({ returned: false, socket: expect.any(String), client: expect.any(String) });
      const user = await presence.getPresence('ann');
      expect(user).toMatchObject({ status: 'online', socketIds: [ready?.socket] });
      expect(user?.sockets[0]?.meta).toEqual({ by: 'sse' });
      expect((await presence.getRoomMembers('lobby')).map(({ userId }) => userId)).toEqual(['ann']);

      await rooms.broadcast('other', 'news', { a: [1] });
      await rooms.sendToUser('ann', 'told', 'you');
      await rooms.broadcastTyping('lobby', 'zoe', { ttl: 3_000 });
      await presence.setPresence('zoe', 'socket', 'busy');
      await Promise.all([source.until('news'), source.until('told'), source.until('$typing')]);
      await source.until('$presence', 2);
      const position = expect.stringMatching(/^\d+-\d+$/);
      const at = expect.any(Number);
      expect(source.of('said')).toEqual([
        { room: 'lobby', position, at, replayed: true, from: 'zoe', data: 2 },
        { room: 'lobby', position, at, replayed: true, data: 3 },
      ]);
      expect(source.of('news')).toEqual([{ room: 'other', position, at, data: { a: [1] } }]);
      expect(source.of('told')).toEqual([{ position, at, data: 'you' }]);
      expect(source.of('$typing')).toEqual([{ room: 'lobby', from: 'zoe', data: { ttl: 3_000 } }]);
      expect(source.of('$members')[0]).toMatchObject({ room: 'lobby', reset: true });
      expect(source.of('$presence').at(-1)).toMatchObject({ users: [{ user: 'zoe', status: 'busy' }] });
    });

    testInFull(
      'a client that reconnects gets the missed messages of every room and of the user, once',
      async () => {
        const first = open();
        await first.until('$ready');
        const [ready] = first.of<{ socket: string }>('$ready');
        await rooms.broadcast('other', 'said', 1);
        await first.until('said');
        // The event is excluded for this connection only; the next connection reads it from history.
        const except = await rooms.broadcast('other', 'said', 'own', { except: ready?.socket as string });
        await waitFor(() => first.lastEventId.includes(String(except.position)));
        await first.close();
        await expectNothingLeft();
        expect((await presence.getPresence('ann'))?.status).toBe('offline');
        expect(await presence.getRoomMembers('lobby')).toEqual([]);

        await rooms.broadcast('lobby', 'said', 2);
        await rooms.broadcast('other', 'said', 3);
        await rooms.sendToUser('ann', 'told', 4);
        for (const n of [5, 6, 7]) await rooms.broadcast('lobby', 'said', n);
        const second = open('', first.lastEventId);
        await Promise.all([second.until('said', 5), second.until('told'), second.until('$ready')]);
        await rooms.broadcast('lobby', 'said', 8);
        await second.until('said', 6);
        const said = second.of<{ room: string; data: number }>('said');
        expect(said.filter((each) => each.room === 'lobby').map(({ data }) => data)).toEqual([2, 5, 6, 7, 8]);
        expect(said.filter((each) => each.room === 'other').map(({ data }) => data)).toEqual([3]);
        expect(second.of('told')).toMatchObject([{ data: 4 }]);
        expect(second.of('$discontinuity')).toEqual([]);
      },
    );

    testInFull('events with except of an earlier connection are not sent to a later one', async () => {
      const source = open();
      await source.until('$ready');
      const [ready] = source.of<{ socket: string; client: string }>('$ready');
      await rooms.broadcast('lobby', 'said', 1, { except: ready?.socket as string });
      await rooms.broadcast('lobby', 'said', 2);
      await source.until('said');
      await source.close();
      await rooms.broadcast('lobby', 'said', 3, { except: ready?.client as string });
      const later = open('', source.lastEventId);
      await later.until('$ready');
      expect(later.of<{ client: string }>('$ready')[0]?.client).toBe(ready?.client);
      await rooms.broadcast('lobby', 'said', 4, { except: ready?.client as string });
      await rooms.broadcast('lobby', 'said', 5);
      await later.until('said');
      expect([...source.of('said'), ...later.of('said')]).toMatchObject([{ data: 2 }, { data: 5 }]);
    });

    testInFull('a reader that the server removes from a room receives a notice', async () => {
      const source = open();
      await source.until('$ready');
      const [socket] = rooms.socketsOf('ann');
      await socket?.leave('lobby');
      await source.until('$error');
      expect(source.of('$error')).toMatchObject([{ room: 'lobby', code: 'REMOVED' }]);
    });

    testInFull(
      'a reader who is kicked receives the reason, and with a ban reads the other rooms only',
      async () => {
        const source = open();
        await source.until('$ready');
        await rooms.kick('lobby', 'ann', { reason: 'spam', ban: 600_000 });
        await source.until('$error');
        const kicked = { room: 'lobby', code: 'KICKED', message: 'spam' };
        expect(source.of('$error')).toMatchObject([kicked]);
        await source.close();
        const later = open('', source.lastEventId);
        await later.until('$ready');
        expect(later.of('$error')).toMatchObject([kicked]);
        await rooms.sendToUser('ann', 'said', 'hello');
        await later.until('said');
      },
    );

    testInFull("another user's event id recovers nothing", async () => {
      const ann = open('?user=ann');
      await ann.until('$ready');
      await ann.close();
      await rooms.sendToUser('bob', 'told', 1);
      const bob = open('?user=bob', ann.lastEventId);
      await bob.until('$ready');
      await rooms.sendToUser('bob', 'told', 2);
      await bob.until('told');
      expect(bob.of('told')).toMatchObject([{ data: 2 }]);
    });

    test('disconnectUser closes with its code, and a 204 stops the client', async () => {
      let banned = false;
      const allowed = answer;
      answer = (url) => (banned ? undefined : allowed(url));
      const source = open();
      await source.until('$ready');
      banned = true;
      await rooms.disconnectUser('ann', 'spam');
      await source.ended;
      expect(source.of('$close')).toEqual([{ code: CloseCode.DISCONNECTED, reason: 'spam', again: false }]);
      expect(source.status).toBe(204);
      await expectNothingLeft();
    });

    testInFull(
      'a client that disconnects while its stream starts leaves no subscription or socket',
      async () => {
        const many = Array.from({ length: 20 }, (_, at) => open(`?user=user-${at % 7}`));
        await Promise.all(many.slice(0, 10).map((source) => source.until('$ready')));
        await Promise.all(many.map((source) => source.close()));
        await expectNothingLeft();
        await waitFor(async () => (await presence.getOnlineCount()) === 0);
      },
    );
  });
});

test('clients that disconnect at any moment leave no subscription or socket', async () => {
  const options = (at: number): EventStreamOptions =>
    at % 2 === 0
      ? { pubsub, channels: ['news', room({ id: String(at % 5) })] }
      : { rooms, user: { userId: `user-${at % 11}` }, join: ['lobby'] };
  const shutdown = new AbortController();
  const { signal } = shutdown;
  for (let at = 0; at < 700; at += 100) {
    await Promise.all(
      Array.from({ length: 100 }, async (_, plus) => {
        const gone = new AbortController();
        const request = new Request('http://host/', { signal: gone.signal });
        const { body, events } = eventStream(request, { ...options(at + plus), signal });
        const reader = body?.getReader();
        for (let reads = 0; reads < plus % 3; reads++) await reader?.read();
        if (plus % 4 < 2) gone.abort();
        else if (plus % 4 === 2) await reader?.cancel();
        else await Promise.all([events.close(), reader?.cancel()]);
        await events.closed;
      }),
    );
  }
  await expectNothingLeft();
});

test('a stream works over HTTP/2 without TLS', async () => {
  answer = () => ({ pubsub, channels: ['news'] });
  const server = await startHttp2((url) => answer(url));
  servers.push(server);
  const session = connectHttp2(server.url);
  const stream = session.request({ ':path': '/events' });
  const parser = new EventParser();
  stream.on('data', (bytes: Buffer) => parser.feed(bytes.toString()));
  const [headers] = await once(stream, 'response');
  expect(headers).toMatchObject({ ':status': 200, 'content-type': 'text/event-stream; charset=utf-8' });
  await waitFor(() => parser.events.length === 1);
  await pubsub.publish('news', 1);
  await waitFor(() => parser.events.length === 2);
  stream.close();
  await expectNothingLeft();
  session.close();
});

test('an HTTP/2 client that disconnects before the stream begins leaves no subscription or socket', async () => {
  answer = (url) => ({ rooms, user: { userId: url.pathname.slice(1) } });
  const arrived: (() => void)[] = [];
  const server = await startHttp2(
    (url) => answer(url),
    () => new Promise<void>((resolve) => arrived.push(resolve)),
  );
  servers.push(server);
  const session = connectHttp2(server.url);
  session.on('error', () => {});
  const stream = session.request({ ':path': '/ann' });
  stream.on('error', () => {});
  await waitFor(() => arrived.length === 1);
  stream.close();
  await once(stream, 'close');
  session.request({ ':path': '/bob' }).on('error', () => {});
  await waitFor(() => arrived.length === 2);
  session.destroy();
  await once(session, 'close');
  for (const proceed of arrived) proceed();
  await waitFor(() => server.streams.length === 2);
  await expectNothingLeft();
  expect((await server.streams[0]?.closed)?.code).toBe(1006);
});

test.each(['while their streams are queued', 'before their streams begin'])(
  'pipelined requests of HTTP/1 whose connection closes %s leave nothing behind',
  async (when) => {
    answer = () => ({ rooms, user: { userId: 'ann' } });
    const arrived: (() => void)[] = [];
    const server = await sseServers['node:http'](
      (url) => answer(url),
      undefined,
      () => new Promise<void>((resolve) => arrived.push(resolve)),
    );
    servers.push(server);
    const socket = connect(Number(new URL(server.url).port));
    socket.write('GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\n');
    await waitFor(() => arrived.length === 2);
    const proceed = async () => {
      for (const next of arrived) next();
      await waitFor(() => server.streams.length === 2);
    };
    if (when.startsWith('while')) await proceed();
    socket.destroy();
    await once(socket, 'close');
    if (when.startsWith('before')) await proceed();
    await expectNothingLeft();
  },
);

describe('the start of a new client', () => {
  async function first(options: EventStreamOptions): Promise<EventParser> {
    const response = eventStream(new Request('http://host/'), options);
    const parser = new EventParser();
    const reader = response.body?.getReader();
    while (!parser.events.some(({ type }) => type === '$ready')) {
      parser.feed(Buffer.from((await reader?.read())?.value as Uint8Array).toString());
    }
    await reader?.cancel();
    await response.events.closed;
    return parser;
  }

  test('a new client starts with the next message, the last messages, the oldest, or after a position', async () => {
    const channel = room({ id: 'a' });
    const positions: string[] = [];
    for (let n = 1; n <= 120; n++) positions.push((await pubsub.publish(channel, { n })).position as string);
    const got = async (entry: object) => {
      const parser = await first({ pubsub, channels: [{ channel, event: 'message', ...entry }] });
      expect(parser.lastEventId.endsWith(`.${positions.at(-1)}`)).toBe(true);
      const events = parser.events.filter(({ type }) => type === 'message');
      return events.map(({ data }) => (JSON.parse(data) as { n: number }).n);
    };
    const all = positions.map((_, at) => at + 1);
    expect(await got({})).toEqual([]);
    expect(await got({ last: 3 })).toEqual([118, 119, 120]);
    expect(await got({ last: 1_000 })).toEqual(all);
    expect(await got({ since: 'earliest' })).toEqual(all);
    expect(await got({ since: positions[109] })).toEqual(all.slice(110));
  });

  test('the history of a channel without history is not read', async () => {
    const parser = await first({ pubsub, channels: [{ channel: 'news', history: false }] });
    expect(parser.lastEventId).toMatch(/^[\w-]{8}$/);
    expect(pubsub.stats().handlers).toBe(0);
  });
});
