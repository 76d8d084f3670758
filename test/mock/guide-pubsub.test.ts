import {
  bufferCodec,
  type Discontinuity,
  defineChannel,
  type ErrorContext,
  type Position,
  type PubSubOptions,
  PubSubService,
  type RollcallError,
} from 'rollcall';
import { createChaosDriver, createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/internal/clock.js';
import { deferred, waitFor } from '../support/wait.js';

// Sentences of docs/pubsub.md and docs/channels.md that no other test covers.

let redis: EmbeddedRedis;
let ends: (() => unknown)[];
let errors: [error: RollcallError, context: ErrorContext][];
beforeEach(async () => {
  redis = await createEmbeddedRedis();
  ends = [() => redis.close()];
  errors = [];
});
afterEach(async () => {
  for (const end of ends.reverse()) await end();
});

function open(options: Partial<PubSubOptions> = {}): PubSubService {
  const onError = (error: RollcallError, context: ErrorContext) => errors.push([error, context]);
  const pubsub = new PubSubService({ redis: redis.connect(), onError, ...options });
  ends.push(() => pubsub.close());
  return pubsub;
}

const failure = (call: Promise<unknown>): Promise<RollcallError> =>
  call.then(
    () => undefined as never,
    (error) => error,
  );

test('maxMessageBytes limits what is published, not what is received', async () => {
  const [large, small] = [open(), open({ maxMessageBytes: 20 })];
  const seen: unknown[] = [];
  await small.subscribe('x', (message) => seen.push(message));
  const text = 'x'.repeat(100);
  expect(await failure(small.publish('x', text))).toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    outcome: 'failed',
  });
  await large.publish('x', text);
  await waitFor(() => seen.length === 1);
  expect(seen).toEqual([text]);
});

test('all handlers of a channel receive the same object, and see the name without the prefix', async () => {
  const pubsub = open({ prefix: 'app1:' });
  const seen: [unknown, string, unknown][] = [];
  for (let n = 0; n < 2; n++) {
    await pubsub.subscribe('x', (message, { channel, raw }) => seen.push([message, channel, raw]));
  }
  await pubsub.publish('x', { a: 1 });
  await waitFor(() => seen.length === 2);
  expect(seen[0]).toEqual([{ a: 1 }, 'x', '{"a":1}']);
  expect(seen[1]?.[0]).toBe(seen[0]?.[0]);
});

test('the next message is not delayed by the promise of a handler', async () => {
  const pubsub = open();
  const seen: unknown[] = [];
  const hanging = deferred();
  await pubsub.subscribe('x', async (message) => {
    seen.push(message);
    await hanging.promise;
  });
  await pubsub.publish('x', 1);
  await pubsub.publish('x', 2);
  await waitFor(() => seen.length === 2);
  hanging.resolve();
});

test('what onDiscontinuity rejects with goes to onError', async () => {
  const chaos = createChaosDriver(redis.connect());
  const pubsub = open({ redis: chaos });
  const reasons: string[] = [];
  await pubsub.subscribe('x', () => {}, {
    onDiscontinuity: async ({ reason }) => {
      reasons.push(reason);
      throw new Error('no prices');
    },
  });
  await chaos.cut();
  chaos.restore();
  await waitFor(() => errors.length === 1);
  expect(reasons).toEqual(['reconnected']);
  expect(errors[0]?.[0]).toMatchObject({ code: 'ERR_HANDLER', cause: new Error('no prices') });
  expect(errors[0]?.[1]).toMatchObject({ stage: 'handler', channel: 'x' });
});

test('stats() counts each handler call, and each message once per subscription', async () => {
  const pubsub = open({ codec: { encode: String, decode: (text) => JSON.parse(text) } });
  const stream = pubsub.messages('x', { capacity: 1 });
  await stream.ready;
  await pubsub.subscribe('x', () => {});
  await pubsub.subscribe('x', () => {
    throw new Error('failed');
  });
  await pubsub.psubscribe('x*', () => {});
  for (const text of ['1', '2', 'no JSON']) await pubsub.publish('x', text);
  await waitFor(() => pubsub.stats().undecodable === 2);
  expect(pubsub.stats()).toMatchObject({
    published: 3,
    received: 6,
    delivered: 8,
    failed: 2,
    undecodable: 2,
    dropped: 1,
    handlers: 4,
    queued: 0,
    channels: 1,
    patterns: 1,
    sharded: 0,
  });
});

describe('while the connection is broken', () => {
  test('every call settles within its deadline, with the outcome of the guide', async () => {
    const chaos = createChaosDriver(redis.connect());
    const pubsub = open({ redis: chaos, timeout: 100 });
    await pubsub.connect();
    const seen: unknown[] = [];
    const gaps: Discontinuity[] = [];
    const removed = await pubsub.subscribe('removed', (message) => seen.push(message));
    await pubsub.subscribe('kept', (message) => seen.push(message), {
      onDiscontinuity: (gap) => gaps.push(gap),
    });
    await chaos.cut();
    await pubsub.connect();
    const stream = pubsub.messages('streamed');
    const results = await Promise.all([
      failure(pubsub.publish('kept', 1)),
      failure(pubsub.subscribe('new', () => {})),
      failure(pubsub.psubscribe('new*', () => {})),
      failure(stream.ready),
      failure(stream.next()),
      failure(pubsub.history('kept')),
      failure(pubsub.recover({ channels: { kept: '0-0' } })),
    ]);
    expect(results.map(({ name }) => name)).toEqual(Array(7).fill('TimeoutError'));
    expect(results.slice(0, 3).map(({ outcome }) => outcome)).toEqual(['failed', 'unknown', 'unknown']);
    await removed.unsubscribe();
    expect(pubsub.stats().handlers).toBe(1);
    expect(gaps).toEqual([]);
    chaos.restore();
    await waitFor(() => gaps.length === 1);
    await open().publish('removed', 2);
    await open().publish('kept', 3);
    await waitFor(() => seen.length === 1);
    expect(seen).toEqual([3]);
  });
});

describe('messages()', () => {
  test('close() ends the loop after the queued messages, return() discards them', async () => {
    const pubsub = open();
    const [ended, discarded] = [pubsub.messages<number>('x'), pubsub.messages<number>('x')];
    await Promise.all([ended.ready, discarded.ready]);
    for (const n of [1, 2]) await pubsub.publish('x', n);
    await waitFor(() => pubsub.stats().delivered === 4);
    await discarded.return();
    await pubsub.close();
    const left: number[] = [];
    for await (const { message } of ended) left.push(message);
    for await (const { message } of discarded) left.push(message);
    expect(left).toEqual([1, 2]);
  });
});

describe('history', () => {
  const history = { size: 1_000, ttl: 60_000 };

  test('the line in front of a message has at most 52 bytes', async () => {
    const clock = { ...systemClock, random: () => 1 - Number.EPSILON };
    const [publisher, other] = [open({ clock }), open()];
    const payloads: string[] = [];
    const raw = redis.connect() as unknown as {
      on(event: 'message', listener: (channel: string, payload: string) => void): void;
      subscribe(channel: string): Promise<void>;
    };
    raw.on('message', (_, payload) => payloads.push(payload));
    await raw.subscribe('x');
    await publisher.publish('x', 1, { history });
    await publisher.publish('x', 2, { history });
    await waitFor(() => payloads.length === 2);
    expect(payloads[1]).toMatch(/^rc1:\d{16}-999999:\d{16}-999999\n2$/);
    expect(payloads[1]).toHaveLength(52 + 1);
    expect((await other.history('x')).messages).toHaveLength(2);
  });

  test('a page has 100 messages by default, as has each channel of recover', async () => {
    const pubsub = open();
    await Promise.all(Array.from({ length: 101 }, (_, n) => pubsub.publish('x', n, { history })));
    const page = await pubsub.history('x');
    expect([page.messages.length, page.more]).toEqual([100, true]);
    const { channels, unrecovered } = await pubsub.recover({ channels: { x: '0-0' } });
    expect(channels.get('x')).toMatchObject({ recovered: false, reason: 'limit', position: page.position });
    expect(channels.get('x')?.messages).toHaveLength(100);
    expect(unrecovered).toEqual(['x']);
  });

  test('an empty page has the position of the last message ever, or one before the first', async () => {
    const pubsub = open();
    const empty = await pubsub.history('x');
    const first = await pubsub.publish('x', 1, { history });
    expect((await pubsub.history('x', { since: empty.position })).messages).toHaveLength(1);
    const after = await pubsub.history('x', { since: first.position });
    expect(after).toMatchObject({ messages: [], position: first.position, more: false, complete: true });
    const last = await pubsub.publish('y', 1, { history: { size: 10, ttl: 1 } });
    await waitFor(async () => (await pubsub.history('y')).messages.length === 0);
    expect((await pubsub.history('y')).position).toBe(last.position);
  });

  test('reverse and before make a page complete, whatever is missing', async () => {
    const pubsub = open();
    const [first] = await Promise.all(
      [1, 2, 3].map((n) => pubsub.publish('x', n, { history: { size: 1, ttl: 60_000 } })),
    );
    const since = first?.position as Position;
    expect(await pubsub.history('x', { since })).toMatchObject({ complete: false, reason: 'trimmed' });
    expect(await pubsub.history('x', { since, reverse: true })).toMatchObject({ complete: true });
    const { position } = await pubsub.history('x');
    expect(await pubsub.history('x', { since, before: position })).toMatchObject({ complete: true });
  });

  test('positions are digits and a hyphen, and increase', async () => {
    const pubsub = open();
    const sent = await Promise.all([1, 2, 3].map((n) => pubsub.publish('x', n, { history })));
    const positions = sent.map(({ position }) => position);
    for (const position of positions) expect(position).toMatch(/^\d+-\d+$/);
    expect(positions.map(parseFloat)).toEqual(positions.map(parseFloat).sort((a, b) => a - b));
  });
});

describe('a defined channel', () => {
  test('applies no schema to messages of a pattern', async () => {
    const pubsub = open();
    const schema = z.object({ n: z.number() });
    const channel = defineChannel('room:{id}', { schema, validate: 'both' });
    const seen: unknown[] = [];
    await pubsub.psubscribe(channel.pattern(), (message) => seen.push(message));
    await pubsub.publish('room:1', { n: 'no number' });
    await waitFor(() => seen.length === 1);
    expect(seen).toEqual([{ n: 'no number' }]);
  });

  test('decides about history and sharding: a call that passes other ones is refused', async () => {
    const pubsub = open();
    const plain = defineChannel<number>()('plain');
    const kept = defineChannel<number>()('kept', { history: { size: 10, ttl: 1_000 } });
    const history = { size: 1, ttl: 1 };
    for (const call of [
      pubsub.publish(plain(), 1, { history } as never),
      pubsub.publish(kept(), 1, { history } as never),
      pubsub.publish(plain(), 1, { sharded: true } as never),
      pubsub.subscribe(plain(), () => {}, { sharded: true } as never),
    ]) {
      expect(await failure(call)).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    }
  });

  test('with a codec of bytes shares its channel with handlers of text', async () => {
    const pubsub = open();
    const frames = defineChannel<Uint8Array>()('frames', { codec: bufferCodec });
    const seen: unknown[] = [];
    await pubsub.subscribe('frames', (message) => seen.push(message));
    await pubsub.subscribe(frames(), (bytes) => seen.push(Buffer.isBuffer(bytes) && bytes.toString()));
    await pubsub.publish('frames', { a: 1 });
    await waitFor(() => seen.length === 2);
    expect(seen).toEqual([{ a: 1 }, '{"a":1}']);
  });

  test('with an asynchronous schema cannot validate received messages: each is undecodable', async () => {
    const pubsub = open();
    const schema = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: async (value: unknown) => ({ value: value as number }),
      },
    } as const;
    const both = defineChannel('both', { schema, validate: 'both' });
    const seen: unknown[] = [];
    await pubsub.subscribe(both(), (message) => seen.push(message));
    await pubsub.subscribe(both(), (raw) => seen.push(raw), { raw: true });
    await pubsub.publish(both(), 1);
    await waitFor(() => errors.length === 1);
    expect(seen).toEqual(['1']);
    expect(errors[0]).toMatchObject([
      { name: 'DecodeError', cause: expect.objectContaining({ name: 'UnsupportedError' }) },
      { stage: 'decode' },
    ]);
    expect(pubsub.stats().undecodable).toBe(1);
  });

  test('with an asynchronous schema sends messages in the order in which their validation finished', async () => {
    const pubsub = open();
    const slow = deferred();
    const schema = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: async (value: unknown) => {
          if (value === 'slow') await slow.promise;
          return { value: value as string };
        },
      },
    } as const;
    const channel = defineChannel('x', { schema });
    const seen: unknown[] = [];
    await pubsub.subscribe(channel(), (message) => seen.push(message));
    const first = pubsub.publish(channel(), 'slow');
    await pubsub.publish(channel(), 'quick');
    slow.resolve();
    await first;
    await waitFor(() => seen.length === 2);
    expect(seen).toEqual(['quick', 'slow']);
  });
});
