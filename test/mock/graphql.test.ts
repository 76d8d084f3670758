import { PubSub, type PubSubEngine, withFilter } from 'graphql-subscriptions';
import { createPubSub, filter, map, pipe, Repeater } from 'graphql-yoga';
import {
  type DecodeError,
  DiscontinuityError,
  defineChannel,
  type ErrorContext,
  type MessageContext,
  OverflowError,
  PubSubService,
  type RollcallError,
} from 'rollcall';
import {
  createYogaEventTarget,
  createYogaPubSub,
  GraphQLPubSub,
  type GraphQLPubSubOptions,
  type PayloadIterator,
} from 'rollcall/graphql';
import {
  type ChaosDriver,
  createChaosDriver,
  createEmbeddedRedis,
  type EmbeddedRedis,
} from 'rollcall/testing';
import { afterEach, beforeEach, describe, expect, expectTypeOf, test } from 'vitest';
import { waitFor } from '../support/wait.js';

// What users of graphql-subscriptions, graphql-redis-subscriptions and GraphQL Yoga expect of a pub/sub.

let redis: EmbeddedRedis;
let chaos: ChaosDriver;
let service: PubSubService;
let errors: [RollcallError, ErrorContext][];

const history = { size: 100, ttl: 60_000 };
const onError = (error: RollcallError, context: ErrorContext) => void errors.push([error, context]);
const open = (options: Partial<GraphQLPubSubOptions> = {}) =>
  new GraphQLPubSub({ pubsub: service, onError, ...options });

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  chaos = createChaosDriver(redis.client);
  errors = [];
  service = new PubSubService({ redis: chaos, onError });
});

afterEach(async () => {
  await service.close();
  await redis.close();
  const reported = errors.map(([error]) => error.message);
  expect(reported).toEqual([]);
});

/** The method of ioredis-mock that another program would call. */
interface RawPublisher {
  publish(channel: string, payload: string): Promise<number>;
}

/** The stages reported so far, which are then forgotten. */
function reported(): [string, string][] {
  return errors.splice(0).map(([error, { stage }]) => [error.name, stage]);
}

/** The next payloads. */
async function take<T>(iterator: AsyncIterator<T>, count: number): Promise<T[]> {
  const got: T[] = [];
  while (got.length < count) got.push((await iterator.next()).value);
  return got;
}

/** Breaks the connection, and waits until the service has subscribed again. */
async function breakConnection(): Promise<void> {
  await chaos.cut();
  chaos.restore();
  await service.connect();
}

/** Resolves when everything published before has been delivered. */
async function delivered(engine: GraphQLPubSub): Promise<void> {
  let seen = false;
  const id = await engine.subscribe('fence', () => {
    seen = true;
  });
  await engine.publish('fence', 1);
  await waitFor(() => seen);
  await engine.unsubscribe(id);
}

describe('GraphQLPubSub: subscribe, unsubscribe, publish', () => {
  test('a callback receives payloads until it unsubscribes', async () => {
    const engine = open();
    const got: unknown[] = [];
    const id = await engine.subscribe('Posts', (payload) => got.push(payload));
    expect(id).toBeTypeOf('number');
    await engine.publish('Posts', 'test');
    await engine.publish('Posts', { nested: [1, null] });
    await engine.publish('Other', 'not for it');
    await waitFor(() => got.length === 2);
    await engine.unsubscribe(id);
    await engine.publish('Posts', 'late');
    await delivered(engine);
    expect(got).toEqual(['test', { nested: [1, null] }]);
    expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
  });

  test('several callbacks of a trigger share one Redis subscription; one of them can leave', async () => {
    const engine = open();
    const got: string[] = [];
    const ids = await Promise.all(
      ['a', 'b', 'c'].map((name) => engine.subscribe('Posts', (payload) => got.push(`${name}${payload}`))),
    );
    expect(new Set(ids).size).toBe(3);
    expect(service.stats()).toMatchObject({ channels: 1, handlers: 3 });
    await engine.unsubscribe(ids[1] as number);
    await engine.publish('Posts', 1);
    await waitFor(() => got.length === 2);
    expect(got).toEqual(['a1', 'c1']);
    await Promise.all([engine.unsubscribe(ids[0] as number), engine.unsubscribe(ids[2] as number)]);
    expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
  });

  test('patterns receive the payloads of all channels that match', async () => {
    const engine = open();
    const got: unknown[] = [];
    const id = await engine.subscribe('comments.*', (payload) => got.push(payload), { pattern: true });
    for (const trigger of ['comments.a', 'posts.a', 'comments.b']) await engine.publish(trigger, trigger);
    await waitFor(() => got.length === 2);
    expect(got).toEqual(['comments.a', 'comments.b']);
    await engine.unsubscribe(id);
    expect(service.stats()).toMatchObject({ patterns: 0 });
  });

  test('an id that is not subscribed is refused at once', async () => {
    const engine = open();
    const id = await engine.subscribe('Posts', () => {});
    await engine.unsubscribe(id);
    for (const wrong of [id, 123, -1, 'x' as never]) {
      expect(() => engine.unsubscribe(wrong)).toThrow('id: is not of a subscription');
    }
  });

  test('a callback that throws or rejects is reported, and affects no other', async () => {
    const engine = open();
    const got: unknown[] = [];
    await engine.subscribe('Posts', () => {
      throw new Error('mine');
    });
    await engine.subscribe('Posts', async () => Promise.reject(new Error('mine')));
    await engine.subscribe('Posts', (payload) => got.push(payload));
    await engine.publish('Posts', 1);
    await waitFor(() => errors.length === 2);
    expect(reported()).toEqual([
      ['HandlerError', 'handler'],
      ['HandlerError', 'handler'],
    ]);
    expect(got).toEqual([1]);
  });

  test('a payload that cannot be decoded is reported, and the next one arrives', async () => {
    const engine = open();
    const iterator = engine.asyncIterableIterator('Posts');
    await iterator.ready;
    await (redis.connect() as unknown as RawPublisher).publish('Posts', '{ not JSON');
    await engine.publish('Posts', 1);
    expect(await take(iterator, 1)).toEqual([1]);
    expect(errors.map(([error, context]) => [(error as DecodeError).code, context])).toEqual([
      ['ERR_DECODE', { stage: 'decode', channel: 'Posts' }],
    ]);
    errors = [];
    await iterator.return();
  });

  test('a payload without a JSON form rejects publish', async () => {
    const engine = open();
    await expect(engine.publish('Posts', undefined)).rejects.toThrow('has no JSON form');
    await expect(engine.publish('Posts', 1n as never)).rejects.toThrow('cannot be encoded as JSON');
  });

  test('a codec replaces serializer, deserializer and reviver', async () => {
    const isDate = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
    const dates = new PubSubService({
      redis: redis.connect(),
      onError,
      codec: {
        encode: (payload) => JSON.stringify(payload),
        decode: (text) =>
          JSON.parse(text, (_, value) =>
            typeof value === 'string' && isDate.test(value) ? new Date(value) : value,
          ),
      },
    });
    const engine = open({ pubsub: dates });
    const iterator = engine.asyncIterableIterator<object>('Posts');
    await iterator.ready;
    const payload = { at: new Date(0), wrong: '2018-13-01T12:00:00Z' };
    await engine.publish('Posts', payload);
    expect(await take(iterator, 1)).toEqual([payload]);
    await dates.close();
  });

  test('mapMessage gets the channel, the pattern and the position', async () => {
    const mapMessage = (message: unknown, { channel, pattern, position }: MessageContext) => ({
      message,
      channel,
      pattern,
      position: typeof position,
    });
    const engine = open({ mapMessage, history });
    const got: unknown[] = [];
    await engine.subscribe('a*', (payload) => got.push(payload), { pattern: true });
    await engine.subscribe('ab', (payload) => got.push(payload));
    await engine.publish('ab', 1);
    await waitFor(() => got.length === 2);
    expect(got).toEqual(
      expect.arrayContaining([
        { message: 1, channel: 'ab', pattern: 'a*', position: 'string' },
        { message: 1, channel: 'ab', pattern: undefined, position: 'string' },
      ]),
    );
  });

  test('a gap that was not recovered is reported to onDiscontinuity, or else to onError', async () => {
    const engine = open();
    const reasons: string[] = [];
    await engine.subscribe('a', () => {}, { onDiscontinuity: ({ reason }) => reasons.push(reason) });
    await engine.subscribe('b', () => {});
    await breakConnection();
    await waitFor(() => reasons.length === 1 && errors.length === 1);
    expect(reasons).toEqual(['reconnected']);
    expect(
      errors.map(([error, context]) => [error.message.replace(/since \S+/, 'since T'), context]),
    ).toEqual([
      ['messages on "b" since T may be missing: reconnected', { stage: 'discontinuity', channel: 'b' }],
    ]);
    errors = [];
  });

  test('with history a callback receives what it missed', async () => {
    const engine = open({ history });
    const got: unknown[] = [];
    await engine.subscribe('Posts', (payload) => got.push(payload));
    await chaos.cut();
    const other = new PubSubService({ redis: redis.connect(), onError });
    await new GraphQLPubSub({ pubsub: other, history }).publish('Posts', 'missed');
    await other.close();
    chaos.restore();
    await waitFor(() => got.length === 1);
    expect(got).toEqual(['missed']);
  });

  test('the class has the type and the methods of PubSubEngine', async () => {
    const engine: PubSubEngine = open();
    const inMemory = new PubSub();
    for (const each of [engine, inMemory]) {
      const got: unknown[] = [];
      const id = await each.subscribe('x', (payload: unknown) => got.push(payload), {});
      await each.publish('x', 1);
      await waitFor(() => got.length === 1);
      await each.unsubscribe(id);
    }
    expectTypeOf(open().asyncIterableIterator<number>('x')).toEqualTypeOf<PayloadIterator<number>>();
  });

  test('invalid options and triggers are refused', async () => {
    const wrong = (options: object) => () => new GraphQLPubSub({ pubsub: service, ...options } as never);
    expect(() => new GraphQLPubSub({ pubsub: redis.client as never })).toThrow(
      'pubsub: must be a PubSubService',
    );
    expect(() => new GraphQLPubSub(undefined as never)).toThrow('pubsub: must be a PubSubService');
    expect(wrong({ histroy: history })).toThrow('did you mean "history"?');
    expect(wrong({ history: { size: 0, ttl: 1 } })).toThrow('size');
    expect(wrong({ discontinuities: 'throw' })).toThrow(
      "discontinuities: must be 'error', 'ignore' or a function",
    );
    expect(wrong({ capacity: 0 })).toThrow('capacity');
    expect(wrong({ mapMessage: 1 })).toThrow('mapMessage: must be a function');
    expect(wrong({ onError: 1 })).toThrow('onError: must be a function');
    const engine = open();
    expect(() => engine.asyncIterableIterator([])).toThrow('must not be an empty list');
    expect(() => engine.asyncIterableIterator('')).toThrow('must not be empty');
    expect(() => engine.asyncIterableIterator('a', { patern: true } as never)).toThrow(
      'did you mean "pattern"?',
    );
    await expect(engine.subscribe('a', 1 as never)).rejects.toThrow('onMessage: must be a function');
    await expect(engine.subscribe('a', () => {}, { signal: 1 } as never)).rejects.toThrow('unknown option');
    await expect(engine.publish('', 1)).rejects.toThrow('must not be empty');
  });
});

describe('GraphQLPubSub: iterators', () => {
  test('payloads of several triggers arrive in one iterator', async () => {
    const engine = open();
    const iterator = engine.asyncIterableIterator<number>(['a', 'b']);
    await iterator.ready;
    expect(iterator[Symbol.asyncIterator]()).toBe(iterator);
    expect(service.stats()).toMatchObject({ channels: 2, handlers: 2 });
    await engine.publish('a', 1);
    await engine.publish('b', 2);
    expect((await take(iterator, 2)).sort()).toEqual([1, 2]);
    await iterator.return();
    expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  test('several iterators of a trigger share its Redis subscription, and leave one by one', async () => {
    const engine = open();
    const iterators = Array.from({ length: 3 }, () => engine.asyncIterableIterator('x'));
    await Promise.all(iterators.map(({ ready }) => ready));
    expect(service.stats()).toMatchObject({ channels: 1, handlers: 3 });
    await iterators[0]?.return();
    await engine.publish('x', 1);
    for (const iterator of iterators.slice(1)) expect(await take(iterator, 1)).toEqual([1]);
    await Promise.all(iterators.map((iterator) => iterator.return()));
    expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
  });

  test('what is published before the first `next` is received, and what came before the iterator is not', async () => {
    const engine = open();
    await engine.publish('x', 0);
    const iterator = engine.asyncIterableIterator('x');
    await iterator.ready;
    for (const number of [1, 2]) await engine.publish('x', number);
    expect(await take(iterator, 2)).toEqual([1, 2]);
    await iterator.return();
  });

  test('`next` before any payload waits, and several calls are served in order', async () => {
    const engine = open();
    const iterator = engine.asyncIterableIterator('x');
    const calls = [iterator.next(), iterator.next(), iterator.next()];
    await iterator.ready;
    for (const number of [1, 2, 3]) await engine.publish('x', number);
    expect((await Promise.all(calls)).map(({ value }) => value)).toEqual([1, 2, 3]);
    await iterator.return();
  });

  test('`return` before the first `next` unsubscribes; a pending `next` is done', async () => {
    const engine = open();
    const early = engine.asyncIterableIterator('x');
    expect(await early.return()).toEqual({ done: true, value: undefined });
    expect(await early.next()).toEqual({ done: true, value: undefined });
    const late = engine.asyncIterableIterator('x');
    const pending = late.next();
    await late.ready;
    await late.return();
    expect(await pending).toEqual({ done: true, value: undefined });
    expect(await late.return()).toEqual({ done: true, value: undefined });
    expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
  });

  test('`throw` before the first `next` unsubscribes and rejects with the error', async () => {
    const engine = open();
    const iterator = engine.asyncIterableIterator('x');
    const error = new Error('thrown');
    await expect(iterator.throw(error)).rejects.toBe(error);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
  });

  test('leaving a loop unsubscribes', async () => {
    const engine = open();
    const iterator = engine.asyncIterator<number>('x');
    await iterator.ready;
    for (const number of [1, 2, 3]) await engine.publish('x', number);
    for await (const payload of iterator) if (payload === 2) break;
    expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
  });

  test('withFilter of graphql-subscriptions filters payloads', async () => {
    const engine = open();
    const subscribe = withFilter(
      () => engine.asyncIterableIterator('x'),
      (payload, { least }) => payload.value >= least,
    );
    const iterator = await subscribe(undefined, { least: 2 });
    const first = iterator.next();
    for (const value of [0, 1, 2, 3]) await engine.publish('x', { value });
    expect(await first).toEqual({ done: false, value: { value: 2 } });
    expect(await take(iterator, 1)).toEqual([{ value: 3 }]);
    await iterator.return?.();
    expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
  });

  test('patterns, payloads of null, and defined channels', async () => {
    const engine = open();
    const room = defineChannel<{ text: string } | null>()('room:{id}');
    const pattern = engine.asyncIterableIterator('room:*', { pattern: true });
    const defined = engine.asyncIterableIterator(room({ id: 'a' }));
    expectTypeOf(defined).toEqualTypeOf<PayloadIterator<{ text: string } | null>>();
    await Promise.all([pattern.ready, defined.ready]);
    await engine.publish(room({ id: 'a' }), { text: 'hello' });
    await engine.publish(room({ id: 'a' }), null);
    for (const iterator of [pattern, defined]) {
      expect(await take<unknown>(iterator, 2)).toEqual([{ text: 'hello' }, null]);
      await iterator.return();
    }
  });

  test('an aborted signal ends the iterator with its reason', async () => {
    const engine = open();
    const controller = new AbortController();
    const iterator = engine.asyncIterableIterator('x', { signal: controller.signal });
    const pending = iterator.next();
    await iterator.ready;
    const reason = new Error('left');
    controller.abort(reason);
    await expect(pending).rejects.toBe(reason);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    await waitFor(() => service.stats().channels === 0);
    expect(() => engine.asyncIterableIterator('x', { signal: controller.signal })).toThrow(reason);
  });

  test('closing the service ends iterators after the payloads that wait', async () => {
    const engine = open();
    const iterator = engine.asyncIterableIterator('x');
    await iterator.ready;
    await engine.publish('x', 1);
    await delivered(engine);
    await service.close();
    expect(await take(iterator, 1)).toEqual([1]);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  test('a failure to subscribe rejects the first `next`', async () => {
    const engine = open();
    await service.connect();
    chaos.failNext('request-lost', 1, 'subscribe');
    const iterator = engine.asyncIterableIterator('x');
    // The port repeats a subscription whose connection broke.
    await iterator.ready;
    await iterator.return();
    await service.close();
    expect(() => engine.asyncIterableIterator('x')).toThrow('closed');
    await expect(engine.publish('x', 1)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });

  test('a full queue ends the iterator with an OverflowError after its payloads, whatever discontinuities say', async () => {
    for (const discontinuities of ['error', 'ignore', () => 'gap'] as const) {
      const engine = open({ capacity: 2, discontinuities });
      const iterator = engine.asyncIterableIterator('x');
      await iterator.ready;
      for (const number of [1, 2, 3, 4]) await engine.publish('x', number);
      await delivered(engine);
      expect(await take(iterator, 2)).toEqual([1, 2]);
      const error = await iterator.next().catch((error: unknown) => error);
      expect(error).toBeInstanceOf(OverflowError);
      expect(error).toMatchObject({ extensions: { code: 'ERR_OVERFLOW' } });
      expect(await iterator.next()).toEqual({ done: true, value: undefined });
      expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
    }
  });

  test('with history a full queue loses nothing', async () => {
    const engine = open({ capacity: 2, history });
    const iterator = engine.asyncIterableIterator('x');
    await iterator.ready;
    const numbers = Array.from({ length: 20 }, (_, at) => at);
    for (const number of numbers) await engine.publish('x', number);
    expect(await take(iterator, 20)).toEqual(numbers);
    await iterator.return();
  });

  test('an error of mapMessage ends the iterator', async () => {
    const error = new Error('mine');
    const engine = open();
    const iterator = engine.asyncIterableIterator('x', {
      mapMessage: () => {
        throw error;
      },
    });
    await iterator.ready;
    await engine.publish('x', 1);
    await expect(iterator.next()).rejects.toBe(error);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    await waitFor(() => service.stats().handlers === 0);
  });
});

describe('GraphQLPubSub: a connection lost in mid-stream', () => {
  test('ends the iterator with a DiscontinuityError after the payloads before it', async () => {
    const engine = open();
    const iterator = engine.asyncIterableIterator(['a', 'b']);
    await iterator.ready;
    await engine.publish('a', 1);
    await delivered(engine);
    await breakConnection();
    expect(await take(iterator, 1)).toEqual([1]);
    const error = await iterator.next().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(DiscontinuityError);
    expect(error).toMatchObject({ reason: 'reconnected', extensions: { code: 'ERR_DISCONTINUITY' } });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    await waitFor(() => service.stats().handlers === 0);
  });

  test("continues with 'ignore'", async () => {
    const engine = open({ discontinuities: 'ignore' });
    const iterator = engine.asyncIterableIterator('x');
    await iterator.ready;
    await breakConnection();
    await delivered(engine);
    await engine.publish('x', 1);
    expect(await take(iterator, 1)).toEqual([1]);
    await iterator.return();
  });

  test('several calls of `next` are served in order around a gap that is ignored', async () => {
    const engine = open({ discontinuities: 'ignore' });
    const iterator = engine.asyncIterableIterator('x');
    await iterator.ready;
    const calls = [iterator.next(), iterator.next(), iterator.next()];
    await breakConnection();
    await delivered(engine);
    for (const number of [1, 2, 3]) await engine.publish('x', number);
    expect((await Promise.all(calls)).map(({ value }) => value)).toEqual([1, 2, 3]);
    await iterator.return();
  });

  test('a function yields a payload in the place of the gap, nothing, or throws', async () => {
    const engine = open();
    const seen: [string, readonly string[]][] = [];
    const yielding = engine.asyncIterableIterator('x', {
      discontinuities: ({ reason }, triggers) => {
        seen.push([reason, triggers]);
        return { gap: true };
      },
    });
    const nothing = engine.asyncIterableIterator('x', { discontinuities: () => undefined });
    const throwing = engine.asyncIterableIterator('x', {
      discontinuities: () => {
        throw new Error('read again');
      },
    });
    await Promise.all([yielding.ready, nothing.ready, throwing.ready]);
    await engine.publish('x', 1);
    await delivered(engine);
    await breakConnection();
    await delivered(engine);
    await engine.publish('x', 2);
    expect(await take<unknown>(yielding, 3)).toEqual([1, { gap: true }, 2]);
    expect(seen).toEqual([['reconnected', ['x']]]);
    expect(await take(nothing, 2)).toEqual([1, 2]);
    expect(await take(throwing, 1)).toEqual([1]);
    await expect(throwing.next()).rejects.toThrow('read again');
    await Promise.all([yielding.return(), nothing.return()]);
  });

  test('loses nothing and ends nothing with history', async () => {
    const engine = open({ history });
    const iterator = engine.asyncIterableIterator(['a', 'b']);
    await iterator.ready;
    await engine.publish('a', 1);
    expect(await take(iterator, 1)).toEqual([1]);
    await chaos.cut();
    const other = new PubSubService({ redis: redis.connect(), onError });
    const publisher = new GraphQLPubSub({ pubsub: other, history });
    for (const number of [2, 3]) await publisher.publish('a', number);
    await publisher.publish('b', 4);
    chaos.restore();
    expect((await take<unknown>(iterator, 3)).sort()).toEqual([2, 3, 4]);
    await publisher.publish('a', 5);
    expect(await take(iterator, 1)).toEqual([5]);
    await other.close();
    await iterator.return();
  });

  test('a client continues after a position with `since`', async () => {
    const engine = open({ history, mapMessage: (message, { position }) => ({ message, position }) });
    const first = engine.asyncIterableIterator<{ message: number; position: string }>('x');
    await first.ready;
    for (const number of [1, 2, 3]) await engine.publish('x', number);
    const [one] = await take(first, 1);
    await first.return();
    const second = engine.asyncIterableIterator<{ message: number }>('x', { since: one?.position as never });
    expect((await take(second, 2)).map(({ message }) => message)).toEqual([2, 3]);
    await second.return();
  });
});

type Topics = {
  ping: [];
  posted: [payload: { text: string }];
  liked: [id: string | number, payload: { likes: number }];
};

describe('createYogaPubSub', () => {
  const openYoga = (options: Partial<GraphQLPubSubOptions> = {}) =>
    createYogaPubSub<Topics>({ pubsub: service, onError, ...options });

  test('topics with no payload, a payload, and an id', async () => {
    const pubsub = openYoga();
    const [ping, posted, liked] = [
      pubsub.subscribe('ping'),
      pubsub.subscribe('posted'),
      pubsub.subscribe('liked', 7),
    ];
    expectTypeOf(ping).toEqualTypeOf<PayloadIterator<null>>();
    expectTypeOf(posted).toEqualTypeOf<PayloadIterator<{ text: string }>>();
    expectTypeOf(liked).toEqualTypeOf<PayloadIterator<{ likes: number }>>();
    await Promise.all([ping.ready, posted.ready, liked.ready]);
    pubsub.publish('ping');
    pubsub.publish('posted', { text: 'hello' });
    pubsub.publish('liked', 8, { likes: 1 });
    pubsub.publish('liked', 7, { likes: 2 });
    expect(await take<unknown>(ping, 1)).toEqual([null]);
    expect(await take(posted, 1)).toEqual([{ text: 'hello' }]);
    expect(await take(liked, 1)).toEqual([{ likes: 2 }]);
    await Promise.all([ping.return(), posted.return(), liked.return()]);
  });

  test("works with Yoga's operators and Repeater.merge", async () => {
    const pubsub = openYoga();
    const source = pubsub.subscribe('liked', 'a');
    const many = pipe(
      source,
      filter(({ likes }: { likes: number }) => likes > 1),
      map(({ likes }: { likes: number }) => likes),
    );
    const other = pubsub.subscribe('posted');
    const merged = Repeater.merge([other]);
    const [first, second] = [many.next(), merged.next()];
    await Promise.all([source.ready, other.ready]);
    for (const likes of [1, 2]) pubsub.publish('liked', 'a', { likes });
    pubsub.publish('posted', { text: 'x' });
    expect((await first).value).toBe(2);
    expect((await second).value).toEqual({ text: 'x' });
    await Promise.all([many.return(), merged.return()]);
    await waitFor(() => service.stats().handlers === 0);
  });

  test('a failure to publish is reported', async () => {
    const pubsub = createYogaPubSub<{ any: [unknown] }>({ pubsub: service, onError });
    pubsub.publish('any', 1n);
    await waitFor(() => errors.length === 1);
    expect(reported()).toEqual([['InvalidArgumentError', 'publish']]);
  });
});

describe('createYogaEventTarget', () => {
  const openTarget = (options = {}) => createYogaEventTarget({ pubsub: service, onError, ...options });

  test("serves Yoga's createPubSub", async () => {
    const pubsub = createPubSub<Topics>({ eventTarget: openTarget() });
    const iterator = pubsub.subscribe('posted');
    const pending = iterator.next();
    await waitFor(() => service.stats().channels === 1);
    const fence = open();
    await delivered(fence);
    pubsub.publish('posted', { text: 'hello' });
    expect((await pending).value).toEqual({ text: 'hello' });
    await iterator.return();
    await waitFor(() => service.stats().handlers === 0);
  });

  test('is an EventTarget: listeners once, objects, options once and signal', async () => {
    const target = openTarget();
    const got: string[] = [];
    const twice = ({ type, detail }: { type: string; detail: unknown }) => got.push(`${type} ${detail}`);
    const object = { handleEvent: ({ detail }: { detail: unknown }) => got.push(`object ${detail}`) };
    const controller = new AbortController();
    target.addEventListener('x', twice);
    target.addEventListener('x', twice);
    target.addEventListener('x', object);
    target.addEventListener('x', null);
    target.addEventListener('x', ({ detail }) => got.push(`once ${detail}`), { once: true });
    target.addEventListener('x', ({ detail }) => got.push(`signal ${detail}`), { signal: controller.signal });
    await delivered(open());
    expect(target.dispatchEvent(new CustomEvent('x', { detail: 1 }))).toBe(true);
    await waitFor(() => got.length === 4);
    controller.abort();
    target.removeEventListener('x', object);
    target.removeEventListener('x', () => {});
    target.dispatchEvent({ type: 'x' });
    await waitFor(() => got.length === 5);
    await delivered(open());
    expect(got).toEqual(['x 1', 'object 1', 'once 1', 'signal 1', 'x null']);
    target.removeEventListener('x', twice);
    await waitFor(() => service.stats().handlers === 0);
  });

  test('a gap reaches onDiscontinuity; failures are reported', async () => {
    const gaps: string[] = [];
    const target = openTarget({
      onDiscontinuity: ({ reason }: { reason: string }, topic: string) => gaps.push(`${topic} ${reason}`),
    });
    target.addEventListener('x', () => {});
    await delivered(open());
    await breakConnection();
    await waitFor(() => gaps.length === 1);
    expect(gaps).toEqual(['x reconnected']);
    target.dispatchEvent({ type: 'x', detail: 1n });
    target.addEventListener('', () => {});
    await waitFor(() => errors.length === 2);
    expect(reported().sort()).toEqual([
      ['InvalidArgumentError', 'publish'],
      ['InvalidArgumentError', 'subscribe'],
    ]);
    expect(() => createYogaEventTarget({ pubsub: service, capacity: 1 } as never)).toThrow('unknown option');
  });
});
