import { EventEmitter } from 'node:events';
import { CloseCode, defineChannel, PubSubService, type RollcallError, type RoomService } from 'rollcall';
import {
  type ChannelStreamOptions,
  type EventStreamOptions,
  eventStream,
  pipeEventStream,
} from 'rollcall/sse';
import { describe, expect, test } from 'vitest';
import { TimeoutError } from '../../../src/internal/errors.js';
import { toChannelKey } from '../../../src/sse/last-event-id.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';
import { EventParser } from '../../support/sse-client.js';
import { deferred, waitFor } from '../../support/wait.js';

type Handler = (payload: string, context: object) => unknown;

/** A pub/sub service whose handlers the test calls. */
class FakePubSub {
  readonly handlers = new Set<Handler>();
  failing: Error | undefined;
  confirmed: Promise<void> | undefined;
  subscribed = 0;

  async subscribe(_channel: unknown, handler: Handler) {
    this.subscribed++;
    if (this.failing !== undefined) throw this.failing;
    await this.confirmed;
    this.handlers.add(handler);
    const unsubscribe = async () => void this.handlers.delete(handler);
    return { position: '5-1', unsubscribe };
  }

  publish(data: string, position?: string): void {
    const context = { channel: 'news', raw: data, ...(position === undefined ? {} : { position }) };
    for (const handler of [...this.handlers]) handler(data, context);
  }
}

function fixture(more: Partial<ChannelStreamOptions> = {}) {
  const pubsub = new FakePubSub();
  const clock = new FakeClock();
  const errors: RollcallError[] = [];
  const options: ChannelStreamOptions = {
    pubsub: pubsub as unknown as PubSubService,
    channels: ['news'],
    clock,
    onError: (error) => errors.push(error),
    ...more,
  };
  return { pubsub, clock, errors, options };
}

function request(url = 'http://host/events', headers: Record<string, string> = {}, init: RequestInit = {}) {
  return new Request(url, { headers, ...init });
}

/** Reads a response chunk by chunk. */
function reading(response: Response) {
  const parser = new EventParser();
  const done = (async () => {
    const decoder = new TextDecoder();
    for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
      parser.feed(decoder.decode(bytes, { stream: true }));
    }
  })();
  done.catch(() => {});
  return { parser, done };
}

describe('a stream', () => {
  test('a stream sends headers, retry and a comment at once', async () => {
    const { options, clock } = fixture({ headers: { 'Access-Control-Allow-Origin': '*', 'x-a': undefined } });
    const response = eventStream(request(), options);
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toEqual({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      'access-control-allow-origin': '*',
    });
    const { parser } = reading(response);
    await turn();
    expect([parser.retry, parser.comments]).toEqual([2_000, 1]);
    await response.events.close();
    expect(clock.timers).toBe(0);
  });

  test('each connection receives a different retry', async () => {
    for (const [chance, retry] of [
      [0, 1_000],
      [0.999, 2_998],
    ] as const) {
      const { options, clock } = fixture();
      clock.chance = chance;
      const response = eventStream(request(), options);
      const { parser } = reading(response);
      await turn();
      expect(parser.retry).toBe(retry);
      await response.events.close();
    }
  });

  test('a stream sends $ready, and then ids with the positions', async () => {
    const { options, pubsub } = fixture();
    const response = eventStream(request(), options);
    const { parser } = reading(response);
    await turn();
    pubsub.publish('{"a":1}', '6-2');
    pubsub.publish('{"a":2}');
    await turn();
    const key = toChannelKey('channel:news');
    expect(parser.events).toEqual([
      { type: '$ready', data: '{"returned":false}', lastEventId: `${key}.5-1` },
      { type: 'news', data: '{"a":1}', lastEventId: `${key}.6-2` },
      { type: 'news', data: '{"a":2}', lastEventId: `${key}.6-2` },
    ]);
    await response.events.close();
  });

  test('a comment is sent during silence only', async () => {
    const { options, pubsub, clock } = fixture({ keepAliveInterval: 1_000 });
    const response = eventStream(request(), options);
    const { parser } = reading(response);
    await turn();
    expect(parser.comments).toBe(1);
    clock.advance(999);
    await turn();
    expect(parser.comments).toBe(1);
    clock.advance(1);
    await turn();
    expect(parser.comments).toBe(2);
    // Silence begins at the last message, at any time within the interval.
    clock.advance(100);
    pubsub.publish('1');
    clock.advance(999);
    await turn();
    expect(parser.comments).toBe(2);
    clock.advance(1);
    await turn();
    expect(parser.comments).toBe(3);
    await response.events.close();
    expect(clock.timers).toBe(0);
  });

  test('HEAD is answered with headers and subscribes to nothing', async () => {
    const { options, pubsub } = fixture();
    const response = eventStream(request(undefined, {}, { method: 'HEAD' }), options);
    expect([response.body, response.headers.get('content-type')]).toEqual([
      null,
      'text/event-stream; charset=utf-8',
    ]);
    expect(await response.events.closed).toEqual({ code: 1000, reason: '' });
    expect(pubsub.subscribed).toBe(0);
  });
});

describe('the end of a stream', () => {
  test('on shutdown, clients are asked to reconnect after different delays', async () => {
    const shutdown = new AbortController();
    const { options, pubsub, clock } = fixture({ signal: shutdown.signal });
    clock.chance = 0.75;
    const response = eventStream(request(), options);
    const { parser, done } = reading(response);
    await turn();
    shutdown.abort();
    await done;
    expect(parser.retry).toBe(8_000);
    expect(parser.events.at(-1)).toMatchObject({
      type: '$close',
      data: JSON.stringify({ code: CloseCode.SERVICE_RESTART, reason: '', again: true }),
    });
    expect(await response.events.closed).toEqual({ code: CloseCode.SERVICE_RESTART, reason: '' });
    expect([pubsub.handlers.size, clock.timers]).toEqual([0, 0]);

    const late = eventStream(request(), options);
    const { parser: lateParser, done: over } = reading(late);
    await over;
    expect(lateParser.events.map(({ type }) => type)).toEqual(['$close']);
    expect(pubsub.subscribed).toBe(1);
  });

  test('a final close code asks the client not to reconnect', async () => {
    const { options } = fixture();
    const response = eventStream(request(), options);
    const { parser, done } = reading(response);
    await turn();
    void response.events.close(CloseCode.DISCONNECTED, 'spam');
    expect(await response.events.close(1012, 'ignored')).toEqual({ code: 4403, reason: 'spam' });
    await done;
    expect(parser.retry).toBe(2_000);
    expect(JSON.parse(parser.events.at(-1)?.data ?? '')).toEqual({
      code: 4403,
      reason: 'spam',
      again: false,
    });
  });

  test('a disconnected client leaves no subscription', async () => {
    const { options, pubsub, clock } = fixture();
    const gone = new AbortController();
    const response = eventStream(request(undefined, {}, { signal: gone.signal }), options);
    const { done } = reading(response);
    await turn();
    expect(pubsub.handlers.size).toBe(1);
    gone.abort();
    await done;
    expect((await response.events.closed).code).toBe(1006);
    expect([pubsub.handlers.size, clock.timers]).toEqual([0, 0]);
    pubsub.publish('1');
  });

  test('a client that disconnects before or during the start leaves no subscription', async () => {
    const { options, pubsub, clock } = fixture();
    const before = eventStream(request(undefined, {}, { signal: AbortSignal.abort() }), options);
    expect((await before.events.closed).code).toBe(1006);
    expect(pubsub.subscribed).toBe(0);
    const during = eventStream(request(), options);
    await during.body?.cancel();
    expect((await during.events.closed).code).toBe(1006);
    expect([pubsub.handlers.size, clock.timers]).toEqual([0, 0]);
  });

  test('a stream that waits for SUBSCRIBE ends at once, and its channel is left after the confirmation', async () => {
    const driver = new FakeDriver();
    const { options, clock, errors } = fixture();
    const pubsub = new PubSubService({ redis: driver, clock, probeInterval: 0 });
    const channels = [{ channel: 'news', history: false }];
    const response = eventStream(request(), { ...options, pubsub, channels });
    await turn();
    const [subscribe] = driver.pending;
    expect([subscribe?.method, subscribe?.names]).toEqual(['subscribe', ['news']]);
    expect(await response.events.close()).toEqual({ code: CloseCode.SERVICE_RESTART, reason: '' });
    expect(pubsub.stats().handlers).toBe(0);
    subscribe?.ack();
    await turn();
    expect(driver.pending.map(({ method }) => method)).toEqual(['unsubscribe']);
    driver.pending[0]?.ack();
    await pubsub.close();
    expect([driver.known.size, errors]).toEqual([0, []]);
  });

  test('a stream ends after its room service is closed', async () => {
    const clock = new FakeClock();
    const socket = { id: 'a', attached: true, position: undefined, serve: () => {}, detach: async () => {} };
    const channel = () => ({ definition: {} });
    const rooms = { attach: async () => socket, channel } as unknown as RoomService;
    const response = eventStream(request(), { rooms, user: { userId: 'ann' }, clock });
    void reading(response);
    await turn();
    clock.advance(15_000);
    socket.attached = false;
    clock.advance(15_000);
    expect((await response.events.closed).code).toBe(CloseCode.SERVICE_RESTART);
  });

  test('without Redis the response is 200 and the stream ends with a code to reconnect', async () => {
    const { options, pubsub, errors } = fixture();
    pubsub.failing = new TimeoutError('subscribe did not finish');
    const response = eventStream(request(), options);
    expect(response.status).toBe(200);
    const { parser, done } = reading(response);
    await done;
    expect(JSON.parse(parser.events.at(-1)?.data ?? '')).toMatchObject({ code: 4500, again: true });
    expect(errors).toEqual([pubsub.failing]);
  });
});

describe('backpressure', () => {
  test('a slow consumer receives its buffered events and $close, and recovers the rest later', async () => {
    const { options, pubsub, clock } = fixture({ maxBufferedBytes: 1_000 });
    const response = eventStream(request(), options);
    await turn();
    const sent = Array.from({ length: 20 }, (_, at) => JSON.stringify('x'.repeat(100) + at));
    sent.forEach((data, at) => void pubsub.publish(data, `${10 + at}-1`));
    // The subscription has ended before the client reads.
    expect((await response.events.closed).code).toBe(CloseCode.SLOW_CONSUMER);
    expect(pubsub.handlers.size).toBe(0);
    const { parser, done } = reading(response);
    await done;
    const got = parser.events.filter(({ type }) => type === 'news');
    expect(got.length).toBeGreaterThan(3);
    expect(got.length).toBeLessThan(12);
    expect(got.map(({ data }) => data)).toEqual(sent.slice(0, got.length));
    expect(parser.lastEventId).toBe(`${toChannelKey('channel:news')}.${9 + got.length}-1`);
    expect(parser.events.at(-1)).toMatchObject({ type: '$close' });
    expect(clock.timers).toBe(0);
  });

  test('a slow consumer receives history page by page, at its own speed', async () => {
    const channels = [{ channel: 'news', since: 'earliest' as const }];
    const { options, pubsub, clock } = fixture({ channels, maxBufferedBytes: 4 });
    let pages = 0;
    const history = async () => {
      const position = `${++pages}-1`;
      return { messages: [{ raw: `${pages}`, position }], position, more: pages < 5, complete: true };
    };
    Object.assign(pubsub, { history });
    const response = eventStream(request(), options);
    for (let second = 0; second < 20; second++) {
      await turn();
      clock.advance(1_000);
    }
    expect(pages).toBe(1);
    const { parser } = reading(response);
    await waitFor(() => {
      clock.advance(25);
      return parser.events.at(-1)?.type === '$ready';
    });
    expect(parser.events.slice(0, -1).map(({ data }) => data)).toEqual(['1', '2', '3', '4', '5']);
    await response.events.close();
  });

  test.each([
    ['since', { since: 'earliest' as const }],
    ['last', { last: 3 }],
  ])('a client that stops reading during a catch-up by %s is closed after 30 s', async (_, start) => {
    const channels = [{ channel: 'news', ...start }];
    const { options, pubsub, clock } = fixture({ channels, maxBufferedBytes: 100 });
    const history = async () => {
      const messages = ['1-1', '2-1', '3-1'].map((position) => ({ raw: 'x'.repeat(40), position }));
      return { messages, position: '3-1', more: false, complete: true };
    };
    Object.assign(pubsub, { history });
    const response = eventStream(request(), options);
    const reader = response.body?.getReader();
    // The body counts as read, and the client then stops.
    await reader?.read();
    for (let second = 0; second < 31; second++) {
      await turn();
      clock.advance(1_000);
    }
    expect((await response.events.closed).code).toBe(CloseCode.SLOW_CONSUMER);
    clock.advance(30_000);
    expect(clock.timers).toBe(0);
  });

  test('a response whose body is never read ends', async () => {
    const { options, pubsub, clock } = fixture({ keepAliveInterval: 86_400_000 });
    const unread = eventStream(request(), options);
    const { parser } = reading(eventStream(request(), options));
    await turn();
    expect(parser.events).toHaveLength(1);
    clock.advance(30_000);
    expect((await unread.events.closed).code).toBe(1006);
    expect(pubsub.handlers.size).toBe(1);
  });

  test('a client that never reads is disconnected', async () => {
    const { options, pubsub, clock } = fixture({ maxBufferedBytes: 1 });
    const response = eventStream(request(), options);
    await turn();
    pubsub.publish('1');
    await response.events.closed;
    expect(clock.timers).toBe(1);
    clock.advance(30_000);
    await expect(response.text()).rejects.toThrow('the client reads too slowly');
    expect(clock.timers).toBe(0);
  });
});

describe("Node's responses", () => {
  class FakeResponse extends EventEmitter {
    headersSent = false;
    destroyed: boolean | undefined = false;
    writableLength = 0;
    status = 0;
    writes = 0;
    ended = false;
    readonly headers = new Map<string, unknown>();
    readonly parser = new EventParser();
    setHeader(name: string, value: unknown) {
      this.headers.set(name, value);
    }
    writeHead(status: number) {
      this.status = status;
    }
    write(bytes: Uint8Array) {
      this.writes++;
      this.parser.feed(Buffer.from(bytes).toString());
      return true;
    }
    end() {
      this.ended = true;
    }
    destroy() {
      this.destroyed = true;
      this.emit('close');
    }
  }
  const get = { method: 'GET', url: '/', headers: {}, httpVersionMajor: 1 };

  test('an HTTP/1 response has connection: keep-alive, an HTTP/2 response does not', () => {
    for (const [httpVersionMajor, connection] of [
      [1, 'keep-alive'],
      [2, undefined],
    ] as const) {
      const response = new FakeResponse();
      void pipeEventStream({ ...get, httpVersionMajor }, response, fixture().options).close();
      expect([response.status, response.headers.get('connection')]).toEqual([200, connection]);
    }
  });

  test('the beginning of a stream and $ready are one write if no reply of Redis is waited for', async () => {
    const response = new FakeResponse();
    const stream = pipeEventStream(get, response, fixture().options);
    await turn();
    const { parser } = response;
    expect([response.writes, parser.retry, parser.comments]).toEqual([1, 2_000, 1]);
    expect(parser.events.map(({ type }) => type)).toEqual(['$ready']);
    await stream.close();
    expect(response.writes).toBe(2);
  });

  test('the beginning of a stream does not wait for Redis', async () => {
    const { options, pubsub } = fixture();
    const confirmed = deferred<void>();
    pubsub.confirmed = confirmed.promise;
    const response = new FakeResponse();
    const stream = pipeEventStream(get, response, options);
    await turn();
    expect([response.writes, response.parser.retry, response.parser.comments]).toEqual([1, 2_000, 1]);
    confirmed.resolve();
    await turn();
    expect(response.parser.events.map(({ type }) => type)).toEqual(['$ready']);
    await stream.close();
  });

  test('a stream that is closed in the turn of its request still begins with the fields of every stream', async () => {
    const response = new FakeResponse();
    await pipeEventStream(get, response, fixture().options).close(CloseCode.DISCONNECTED);
    await turn();
    expect([response.writes, response.parser.retry, response.parser.comments]).toEqual([1, 2_000, 1]);
    expect(response.parser.events.map(({ type }) => type)).toEqual(['$close']);
  });

  test('the connection of an ended response is destroyed after the flush timeout', async () => {
    const { options, clock } = fixture();
    const response = new FakeResponse();
    await pipeEventStream(get, response, options).close();
    expect([response.ended, response.destroyed, clock.timers]).toEqual([true, false, 1]);
    clock.advance(30_000);
    expect([response.destroyed, clock.timers]).toEqual([true, 0]);
  });

  test('a response that was destroyed before ends at once', async () => {
    const { options, pubsub, clock } = fixture();
    const response = new FakeResponse();
    response.destroyed = true;
    expect((await pipeEventStream(get, response, options).closed).code).toBe(1006);
    expect([response.status, pubsub.subscribed, clock.timers]).toEqual([0, 0, 0]);
  });

  test('a response of HTTP/2 whose stream was closed before ends at once', async () => {
    const { options, pubsub, clock } = fixture();
    const response = Object.assign(new FakeResponse(), { destroyed: undefined, stream: { destroyed: true } });
    expect((await pipeEventStream({ ...get, httpVersionMajor: 2 }, response, options).closed).code).toBe(
      1006,
    );
    expect([response.status, pubsub.subscribed, clock.timers]).toEqual([0, 0, 0]);
  });

  test('a queued response ends with its connection, and leaves no listener there', async () => {
    const { options, pubsub, clock } = fixture();
    const socket = Object.assign(new EventEmitter(), { destroyed: false });
    const queued = pipeEventStream(
      { ...get, socket },
      Object.assign(new FakeResponse(), { socket: null }),
      options,
    );
    const sent = pipeEventStream({ ...get, socket }, Object.assign(new FakeResponse(), { socket }), options);
    expect(socket.listenerCount('close')).toBe(1);
    socket.emit('close');
    expect((await queued.closed).code).toBe(1006);
    expect([socket.listenerCount('close'), pubsub.subscribed]).toEqual([0, 1]);
    await sent.close();
    socket.destroyed = true;
    expect((await pipeEventStream({ ...get, socket }, new FakeResponse(), options).closed).code).toBe(1006);
    expect(clock.timers).toBe(1);
  });

  test('HEAD is answered with headers; a response whose headers were sent is rejected', async () => {
    const { options, pubsub } = fixture();
    const response = new FakeResponse();
    await pipeEventStream({ ...get, method: 'HEAD' }, response, options).closed;
    expect([response.status, response.ended, pubsub.subscribed]).toEqual([200, true, 0]);
    response.headersSent = true;
    expect(() => pipeEventStream(get, response, options)).toThrow(/response: has sent/);
  });
});

describe('invalid options throw', () => {
  const pubsub = new FakePubSub() as unknown as PubSubService;
  const rooms = { attach() {} } as unknown as RoomService;
  const user = { userId: 'ann' };
  const room = defineChannel('room:{id}');
  const many = Array.from({ length: 101 }, (_, at) => `channel-${at}`);
  test.each<[string, unknown, string]>([
    ['nothing', undefined, 'options'],
    ['neither', {}, 'options'],
    ['both', { pubsub, channels: ['a'], rooms, user }, 'options'],
    ['no pub/sub service', { pubsub: {}, channels: ['a'] }, 'pubsub'],
    ['no channels', { pubsub }, 'channels'],
    ['an empty list', { pubsub, channels: [] }, 'channels'],
    ['more than an id can hold', { pubsub, channels: many }, 'channels'],
    ['a channel twice', { pubsub, channels: ['room:1', room({ id: '1' })] }, 'channels'],
    ['an empty name', { pubsub, channels: [''] }, 'channels[0]'],
    ['no channel', { pubsub, channels: [{ channel: { name: 'a' } }] }, 'channels[0]'],
    ['a name with a line end', { pubsub, channels: ['a\nb'] }, 'channels[0].event'],
    ['a name of the protocol', { pubsub, channels: ['$ready'] }, 'channels[0].event'],
    ['a name of EventSource', { pubsub, channels: [{ channel: 'a', event: 'error' }] }, 'channels[0].event'],
    ['a bad position', { pubsub, channels: [{ channel: 'a', since: 'x' }] }, 'channels[0].since'],
    ['too many of the last', { pubsub, channels: [{ channel: 'a', last: 1_001 }] }, 'channels[0].last'],
    ['two beginnings', { pubsub, channels: [{ channel: 'a', last: 1, since: '1-1' }] }, 'channels[0].last'],
    ['a bad retry', { pubsub, channels: ['a'], retry: 0 }, 'retry'],
    ['a bad keepAliveInterval', { pubsub, channels: ['a'], keepAliveInterval: 'x' }, 'keepAliveInterval'],
    ['a bad maxBufferedBytes', { pubsub, channels: ['a'], maxBufferedBytes: 0 }, 'maxBufferedBytes'],
    ['a bad signal', { pubsub, channels: ['a'], signal: {} }, 'signal'],
    ['a bad onError', { pubsub, channels: ['a'], onError: 1 }, 'onError'],
    ['no room service', { rooms: {}, user }, 'rooms'],
    ['no user', { rooms }, 'user'],
    ['a user without an id', { rooms, user: {} }, 'user.userId'],
    ['a limit that is not ours', { rooms, user, maxBufferedBytes: 1 }, 'maxBufferedBytes'],
    ['rooms that are no list', { rooms, user, join: 'lobby' }, 'join'],
    ['too many rooms', { rooms, user, join: many.slice(1) }, 'join'],
    ['a room twice', { rooms, user, join: ['a', { room: 'a' }] }, 'join'],
    ['a room without a name', { rooms, user, join: [{}] }, 'join[0].room'],
    ['a bad last', { rooms, user, join: [{ room: 'a', last: -1 }] }, 'join[0].last'],
    ['an empty user id to watch', { rooms, user, watch: [''] }, 'watch'],
  ])('%s', (_what, options, argument) => {
    const wrong = expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', argument });
    expect(() => eventStream(request(), options as EventStreamOptions)).toThrow(wrong);
  });

  test('an invalid request throws', () => {
    const { options } = fixture();
    expect(() => eventStream({} as never, options)).toThrow(/request: must be a Request/);
    expect(() => pipeEventStream({} as never, {} as never, options)).toThrow(/request/);
    expect(() => pipeEventStream({ headers: {} } as never, {} as never, options)).toThrow(/response/);
  });
});
