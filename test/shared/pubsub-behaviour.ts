import {
  ClosedError,
  createRollcall,
  DecodeError,
  type Discontinuity,
  defineChannel,
  type ErrorContext,
  escapePattern,
  HandlerError,
  InvalidArgumentError,
  type MessageContext,
  type PubSubOptions,
  PubSubService,
  type RedisClient,
  type RollcallError,
  type Subscription,
  UnsupportedError,
} from 'rollcall';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { deferred, waitFor } from '../support/wait.js';

/** A raw client of another program: it sends commands and receives messages without changes. */
export interface RawClient {
  publish(channel: string, payload: string): Promise<void>;
  /** Resolves when Redis has confirmed. */
  subscribe(channel: string, got: (payload: string) => void): Promise<void>;
  psubscribe(pattern: string, got: (payload: string, channel: string) => void): Promise<void>;
  close(): Promise<void>;
}

/** One Redis, and clients of one library. */
export interface Backend {
  /** A new client, as another process would have. */
  client(): RedisClient;
  /** Ends a client that `client` made. */
  end(client: RedisClient): void | Promise<void>;
  raw(): Promise<RawClient>;
  /** The channels with subscribers; undefined if the server cannot list them. */
  channels(): Promise<string[] | undefined>;
  /** How many clients are connected; undefined where connections are not a thing. */
  connections(): Promise<number | undefined>;
  close(): Promise<void>;
}

export interface BackendRules {
  /** SSUBSCRIBE and SPUBLISH. */
  sharded: boolean;
  /** Channel names this backend cannot have, each with the reason. */
  gaps?: ReadonlyMap<string, string>;
}

const ODD_NAMES = [
  '__proto__',
  'constructor',
  'toString',
  'error',
  'message',
  'ready',
  'a{b}c',
  'a*b?[c]',
  '[^a-z]\\',
  'new\nline',
  'crlf\r\n',
  'nul\0',
  '😀 emoji',
  ' ',
  'quote"\'',
  'x'.repeat(512),
];

let serial = 0;
const fresh = (text = 'x') => `t${++serial}.${text}`;

/** Tests of a pub/sub service, for any client and server. */
export function pubsubBehaviour(name: string, start: () => Promise<Backend>, rules: BackendRules): void {
  describe(name, () => {
    let backend: Backend;
    let cleanUps: (() => unknown)[] = [];
    let errors: [RollcallError, ErrorContext][] = [];

    beforeAll(async () => {
      backend = await start();
    });
    afterAll(() => backend.close());
    afterEach(async () => {
      for (const cleanUp of cleanUps.reverse()) await cleanUp();
      cleanUps = [];
      errors = [];
    });

    function client(): RedisClient {
      const one = backend.client();
      cleanUps.push(() => backend.end(one));
      return one;
    }
    function open(options: Partial<PubSubOptions> = {}): PubSubService {
      const service = new PubSubService({
        redis: options.redis ?? client(),
        onError: (error, context) => errors.push([error, context]),
        ...options,
      });
      cleanUps.push(() => service.close());
      return service;
    }
    /** Which channels that begin with `base` Redis knows to be subscribed. */
    async function known(base: string): Promise<string[] | undefined> {
      const channels = await backend.channels();
      return channels?.filter((channel) => channel.startsWith(base)).sort();
    }
    async function nothingKnown(base: string): Promise<void> {
      expect((await known(base)) ?? []).toEqual([]);
    }
    async function rawClient(): Promise<RawClient> {
      const raw = await backend.raw();
      cleanUps.push(() => raw.close());
      return raw;
    }
    /** A handler that records its messages. */
    function keeping<T = unknown>() {
      const got: T[] = [];
      const contexts: MessageContext[] = [];
      const handler = (message: T, context: MessageContext) => {
        got.push(message);
        contexts.push(context);
      };
      return { got, contexts, handler };
    }
    const until = (what: string, done: () => boolean) =>
      waitFor(done, {
        message: () => `${what}; errors: ${errors.map(([error]) => error.message).join('; ')}`,
      });
    /** Everything published before is with `service` now: messages keep their order. */
    async function settled(service: PubSubService, publisher: PubSubService): Promise<void> {
      const name = fresh('settled');
      const one = keeping();
      const { unsubscribe } = await service.subscribe(name, one.handler);
      await publisher.publish(name, 1);
      await until('the marker', () => one.got.length > 0);
      await unsubscribe();
    }

    describe('messages', () => {
      test('go from process to process unchanged', async () => {
        const [sender, receiver] = [open(), open()];
        const name = fresh();
        const one = keeping();
        await receiver.subscribe(name, one.handler);
        const messages = [{ a: [1, 'two', null, { b: true }] }, 'text', 0, null, false, '', [], '😀\n\0"'];
        for (const message of messages) {
          expect(await sender.publish(name, message)).toEqual({ receivers: 1 });
        }
        await until('all messages', () => one.got.length === messages.length);
        expect(one.got).toEqual(messages);
        expect(one.contexts[0]).toEqual({ channel: name, raw: JSON.stringify(messages[0]) });
      });

      test('keep the order of a burst', async () => {
        const service = open();
        const name = fresh();
        const one = keeping<number>();
        await service.subscribe(name, one.handler);
        const numbers = Array.from({ length: 500 }, (_, at) => at);
        await Promise.all(numbers.map((number) => service.publish(name, number)));
        await until('all messages', () => one.got.length === 500);
        expect(one.got).toEqual(numbers);
      });

      test('without subscribers there are no receivers', async () => {
        expect(await open().publish(fresh(), 1)).toEqual({ receivers: 0 });
      });

      test('of a pattern say which channel and which pattern', async () => {
        const service = open();
        const base = fresh();
        const [pattern, channel] = [keeping(), keeping()];
        await service.psubscribe(`${base}:*`, pattern.handler);
        await service.subscribe(`${base}:a`, channel.handler);
        await service.publish(`${base}:a`, 1);
        await service.publish(`${base}`, 2);
        await service.publish(`${base}:b`, 3);
        await until('both', () => pattern.got.length === 2);
        expect(pattern.contexts).toEqual([
          { channel: `${base}:a`, pattern: `${base}:*`, raw: '1' },
          { channel: `${base}:b`, pattern: `${base}:*`, raw: '3' },
        ]);
        await settled(service, service);
        expect(channel.got).toEqual([1]);
      });

      test('of overlapping patterns reach each handler once per subscription', async () => {
        const service = open();
        const base = fresh();
        const [one, two] = [keeping(), keeping()];
        await Promise.all([
          service.psubscribe(`${base}*`, one.handler),
          service.psubscribe(`${base}:?`, two.handler),
        ]);
        await service.publish(`${base}:a`, 1);
        await until('both', () => one.got.length > 0 && two.got.length > 0);
        await settled(service, service);
        expect([one.got, two.got]).toEqual([[1], [1]]);
      });

      test('a channel and a pattern of one spelling are two things', async () => {
        const service = open();
        const name = fresh('*');
        const [channel, pattern] = [keeping(), keeping()];
        const one = await service.subscribe(name, channel.handler);
        await service.psubscribe(name, pattern.handler);
        await one.unsubscribe();
        await service.publish(name, 1);
        await until('the pattern', () => pattern.got.length > 0);
        expect([channel.got, pattern.got]).toEqual([[], [1]]);
      });

      test('the same function twice is two handlers', async () => {
        const service = open();
        const name = fresh();
        const one = keeping();
        const [first] = await Promise.all([
          service.subscribe(name, one.handler),
          service.subscribe(name, one.handler),
        ]);
        await service.publish(name, 1);
        await until('twice', () => one.got.length === 2);
        await first.unsubscribe();
        await service.publish(name, 2);
        await until('once', () => one.got.length === 3);
        await settled(service, service);
        expect(one.got).toEqual([1, 1, 2]);
      });

      test('services on one client are independent', async () => {
        const redis = client();
        const [one, two] = [open({ redis }), open({ redis })];
        const name = fresh();
        const [a, b] = [keeping(), keeping()];
        await one.subscribe(name, a.handler);
        await two.subscribe(name, b.handler);
        await two.publish(name, 1);
        await until('both', () => a.got.length === 1 && b.got.length === 1);
        await one.close();
        await two.publish(name, 2);
        await until('the second', () => b.got.length === 2);
        expect(a.got).toEqual([1]);
      });

      test('raw handlers get the payload undecoded', async () => {
        const service = open();
        const raw = await rawClient();
        const name = fresh();
        const one = keeping();
        await service.subscribe(name, one.handler, { raw: true });
        await raw.publish(name, 'not JSON');
        await until('it', () => one.got.length === 1);
        expect(one.got).toEqual(['not JSON']);
        expect(errors).toEqual([]);
      });
    });

    describe('names', () => {
      for (const odd of ODD_NAMES) {
        const gap = rules.gaps?.get(odd);
        const label = JSON.stringify(odd.length > 20 ? `${odd.slice(0, 5)}…` : odd);
        test.skipIf(gap !== undefined)(
          `${label} is a channel, and escaped a pattern${gap ? ` (${gap})` : ''}`,
          async () => {
            const service = open();
            const [channel, pattern] = [keeping(), keeping()];
            const subscriptions = [
              await service.subscribe(odd, channel.handler),
              // Doubled by its escapes, the longest of the names is too long a pattern.
              ...(escapePattern(odd).length > 512
                ? []
                : [await service.psubscribe(escapePattern(odd), pattern.handler)]),
            ];
            await service.publish(odd, 1);
            await service.publish(`${odd.slice(0, 511)}y`, 2);
            await until('both', () => channel.got.length > 0 && pattern.got.length > 0);
            await settled(service, service);
            expect([channel.got, pattern.got]).toEqual([[1], [1]]);
            expect([channel.contexts[0]?.channel, pattern.contexts[0]?.channel]).toEqual([odd, odd]);
            for (const { unsubscribe } of subscriptions) await unsubscribe();
            await service.publish(odd, 3);
            await settled(service, service);
            expect([channel.got, pattern.got]).toEqual([[1], [1]]);
          },
        );
      }

      test('a prefix is put before names and taken off again', async () => {
        const service = open({ prefix: 'app-1:' });
        const plain = open();
        const base = fresh();
        const [channel, pattern, outside] = [keeping(), keeping(), keeping()];
        await service.subscribe(`${base}:a`, channel.handler);
        await service.psubscribe(`${base}:?`, pattern.handler);
        await plain.subscribe(`app-1:${base}:a`, outside.handler);
        await service.publish(`${base}:a`, 1);
        await until('all', () => [channel, pattern, outside].every(({ got }) => got.length === 1));
        expect(channel.contexts).toEqual([{ channel: `${base}:a`, raw: '1' }]);
        expect(pattern.contexts).toEqual([{ channel: `${base}:a`, pattern: `${base}:?`, raw: '1' }]);
        expect(outside.contexts).toEqual([{ channel: `app-1:${base}:a`, raw: '1' }]);
      });
    });

    describe('other programs', () => {
      test('see plain JSON on the channel as written', async () => {
        const service = open();
        const raw = await rawClient();
        const base = fresh();
        const seen: string[] = [];
        await raw.subscribe(`${base}:a`, (payload) => seen.push(payload));
        await raw.psubscribe(`${base}:*`, (payload, channel) => seen.push(`${channel} ${payload}`));
        expect(await service.publish(`${base}:a`, { text: 'héllo 😀' })).toEqual({ receivers: 2 });
        await until('both', () => seen.length === 2);
        expect(seen.sort()).toEqual([`${base}:a {"text":"héllo 😀"}`, '{"text":"héllo 😀"}']);
      });

      test('are received', async () => {
        const service = open();
        const raw = await rawClient();
        const base = fresh();
        const [channel, pattern] = [keeping(), keeping()];
        await service.subscribe(`${base}:a`, channel.handler);
        await service.psubscribe(`${base}:*`, pattern.handler);
        await raw.publish(`${base}:a`, '{"n": 1}');
        await until('both', () => channel.got.length === 1 && pattern.got.length === 1);
        expect([channel.got, pattern.got]).toEqual([[{ n: 1 }], [{ n: 1 }]]);
      });

      test('that publish invalid JSON are reported with the channel, and later messages arrive', async () => {
        const service = open();
        const raw = await rawClient();
        const name = fresh();
        const [one, two, untouched] = [keeping(), keeping(), keeping()];
        await service.subscribe(name, one.handler);
        await service.subscribe(name, two.handler);
        await service.subscribe(name, untouched.handler, { raw: true });
        for (const payload of ['{oops', '', 'undefined']) await raw.publish(name, payload);
        await raw.publish(name, '1');
        await until('the good one', () => one.got.length === 1 && two.got.length === 1);
        expect(untouched.got).toEqual(['{oops', '', 'undefined', '1']);
        expect(errors.map(([, context]) => context)).toEqual(
          Array.from({ length: 3 }, () => ({ stage: 'decode', channel: name })),
        );
        for (const [error] of errors) expect(error).toBeInstanceOf(DecodeError);
        expect(service.stats()).toMatchObject({ undecodable: 3, received: 4 });
      });
    });

    describe('invalid calls', () => {
      const cycle: Record<string, unknown> = {};
      cycle['self'] = cycle;
      test.each([
        ['undefined', undefined],
        ['a BigInt', 1n],
        ['a cycle', cycle],
        ['a function', () => {}],
      ])('%s is no message', async (_, message) => {
        await expect(open().publish(fresh(), message)).rejects.toBeInstanceOf(InvalidArgumentError);
      });

      test('messages and names over the limits are rejected', async () => {
        const service = open({ maxMessageBytes: 100 });
        const name = fresh();
        await service.publish(name, 'a'.repeat(98));
        await service.publish(name, '€'.repeat(32));
        await expect(service.publish(name, 'a'.repeat(99))).rejects.toThrow('maxMessageBytes is 100');
        await expect(service.publish(name, '€'.repeat(33))).rejects.toBeInstanceOf(InvalidArgumentError);
        const long = 'a'.repeat(513);
        await expect(service.publish(long, 1)).rejects.toBeInstanceOf(InvalidArgumentError);
        await expect(service.subscribe(long, () => {})).rejects.toBeInstanceOf(InvalidArgumentError);
        await expect(service.psubscribe(long, () => {})).rejects.toBeInstanceOf(InvalidArgumentError);
        expect(() => service.messages(long)).toThrow(InvalidArgumentError);
      });

      test('bad arguments are refused before anything reaches Redis', async () => {
        const service = open();
        const bad = (call: (...args: never[]) => Promise<unknown>, ...args: unknown[]) =>
          expect(call.apply(service, args as never[])).rejects.toBeInstanceOf(InvalidArgumentError);
        for (const name of ['', '\ud800', undefined, null, 1, {}]) {
          await bad(service.publish, name, 1);
          await bad(service.subscribe, name, () => {});
          await bad(service.psubscribe, name, () => {});
        }
        for (const handler of [undefined, null, 'text', {}]) await bad(service.subscribe, 'x', handler);
        for (const options of [null, 'text', 1]) {
          await bad(service.subscribe, 'x', () => {}, options);
          await bad(service.publish, 'x', 1, options);
        }
        await bad(service.subscribe, 'x', () => {}, { signal: {} });
        await bad(service.subscribe, 'x', () => {}, { onDiscontinuity: 1 });
        await bad(service.psubscribe, 'x', () => {}, { sharded: true });
        for (const options of [{ capacity: 0 }, { capacity: 1.5 }, { overflow: 'none' }, { signal: 1 }]) {
          expect(() => service.messages('x', options as never)).toThrow(InvalidArgumentError);
        }
        expect(service.stats()).toMatchObject({ channels: 0, patterns: 0, handlers: 0 });
      });

      test('sharded channels work, or are refused with the reason', async () => {
        const service = open();
        const name = fresh('{tag}');
        const [sharded, plain] = [keeping(), keeping()];
        if (!rules.sharded) {
          for (const call of [
            service.subscribe(name, sharded.handler, { sharded: true }),
            service.publish(name, 1, { sharded: true }),
          ]) {
            await expect(call).rejects.toBeInstanceOf(UnsupportedError);
          }
          await expect(service.messages(name, { sharded: true }).ready).rejects.toBeInstanceOf(
            UnsupportedError,
          );
          return;
        }
        const one = await service.subscribe(name, sharded.handler, { sharded: true });
        await service.subscribe(name, plain.handler);
        expect(service.stats()).toMatchObject({ sharded: 1, channels: 1 });
        expect(await service.publish(name, 1, { sharded: true })).toEqual({ receivers: 1 });
        await service.publish(name, 2);
        await until('both', () => sharded.got.length === 1 && plain.got.length === 1);
        expect([sharded.got, plain.got]).toEqual([[1], [2]]);
        await one.unsubscribe();
        expect(await service.publish(name, 3, { sharded: true })).toEqual({ receivers: 0 });
        expect(sharded.got).toEqual([1]);
      });
    });

    describe('handlers', () => {
      test('that throw or reject are reported, and other handlers are not affected', async () => {
        const service = open();
        const name = fresh();
        const cause = new Error('mine');
        const one = keeping();
        await service.subscribe(name, () => {
          throw cause;
        });
        await service.subscribe(name, async () => {
          throw cause;
        });
        await service.subscribe(name, one.handler);
        await service.publish(name, 1);
        await service.publish(name, 2);
        await until('all', () => one.got.length === 2 && errors.length === 4);
        for (const [error, context] of errors) {
          expect(error).toBeInstanceOf(HandlerError);
          expect(error.cause).toBe(cause);
          expect(context).toEqual({ stage: 'handler', channel: name });
        }
        expect(service.stats()).toMatchObject({ received: 2, delivered: 6, failed: 4 });
      });

      test('may publish, subscribe and unsubscribe', async () => {
        const service = open();
        const [name, next] = [fresh(), fresh()];
        const one = keeping();
        const { unsubscribe } = await service.subscribe(name, async () => {
          await unsubscribe();
          await service.subscribe(next, one.handler);
          await service.publish(next, 'nested');
        });
        await service.publish(name, 1);
        await until('the nested one', () => one.got.length === 1);
        await service.publish(name, 2);
        await settled(service, service);
        expect(one.got).toEqual(['nested']);
      });
    });

    describe('unsubscribing', () => {
      test('works detached, twice, and by await using', async () => {
        const service = open();
        const name = fresh();
        const one = keeping();
        const { unsubscribe } = await service.subscribe(name, one.handler);
        {
          await using subscription: Subscription = await service.subscribe(name, one.handler);
          expect(subscription).toBeDefined();
          expect(service.stats()).toMatchObject({ handlers: 2, channels: 1 });
        }
        expect(service.stats()).toMatchObject({ handlers: 1, channels: 1 });
        const both = [unsubscribe(), unsubscribe()];
        await Promise.all(both);
        await unsubscribe();
        expect(service.stats()).toMatchObject({ handlers: 0, channels: 0 });
        await nothingKnown(name);
        await service.publish(name, 1);
        await settled(service, service);
        expect(one.got).toEqual([]);
      });

      test('no message is delivered after the call, not even one in flight', async () => {
        const service = open();
        const name = fresh();
        const one = keeping();
        const { unsubscribe } = await service.subscribe(name, one.handler);
        const [published] = [service.publish(name, 1), unsubscribe()];
        await published;
        await settled(service, service);
        expect(one.got).toEqual([]);
      });

      test('after many concurrent calls for one name the subscription in Redis is right', async () => {
        const service = open();
        const name = fresh();
        const one = keeping();
        await Promise.all(
          Array.from({ length: 100 }, async (_, at) => {
            for (let round = 0; round < 3; round++) {
              const { unsubscribe } = await service.subscribe(name, () => {});
              if (at % 2 === 0) await Promise.resolve();
              await unsubscribe();
            }
          }),
        );
        await nothingKnown(name);
        await service.subscribe(name, one.handler);
        await service.publish(name, 1);
        await until('it', () => one.got.length === 1);
        expect(service.stats()).toMatchObject({ channels: 1, handlers: 1 });
      });
    });

    describe('a signal', () => {
      test('aborted before: rejects with its reason, and nothing is left', async () => {
        const service = open();
        const reason = new Error('no need');
        const signal = AbortSignal.abort(reason);
        await expect(service.subscribe(fresh(), () => {}, { signal })).rejects.toBe(reason);
        await expect(service.psubscribe(fresh(), () => {}, { signal })).rejects.toBe(reason);
        expect(service.stats()).toMatchObject({ handlers: 0, channels: 0, patterns: 0 });
      });

      test('aborted during the call: rejects with its reason, and nothing is left', async () => {
        const service = open();
        await service.connect();
        const name = fresh();
        const controller = new AbortController();
        const reason = new Error('changed my mind');
        const one = keeping();
        const subscribed = service.subscribe(name, one.handler, { signal: controller.signal });
        controller.abort(reason);
        await expect(subscribed).rejects.toBe(reason);
        expect(service.stats().handlers).toBe(0);
        await waitFor(() => service.stats().channels === 0, { message: 'no channel' });
        await nothingKnown(name);
      });

      test('aborted afterwards: no message is delivered from then on', async () => {
        const service = open();
        const name = fresh();
        const controller = new AbortController();
        const [one, other] = [keeping(), keeping()];
        const { unsubscribe } = await service.subscribe(name, one.handler, { signal: controller.signal });
        await service.subscribe(name, other.handler);
        const published = service.publish(name, 1);
        controller.abort();
        await published;
        await until('the other', () => other.got.length === 1);
        expect(one.got).toEqual([]);
        await unsubscribe();
        expect(service.stats()).toMatchObject({ handlers: 1, channels: 1 });
      });
    });

    describe('messages()', () => {
      test('is a loop over messages, and leaving it unsubscribes', async () => {
        const service = open();
        const name = fresh();
        const stream = service.messages<number>(name);
        await stream.ready;
        for (const number of [1, 2, 3]) await service.publish(name, number);
        const got: [number, string][] = [];
        for await (const { message, channel } of stream) {
          got.push([message, channel]);
          if (message === 3) break;
        }
        expect(got).toEqual([1, 2, 3].map((number) => [number, name]));
        expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
        await nothingKnown(name);
      });

      test('takes patterns and raw', async () => {
        const service = open();
        const base = fresh();
        const stream = service.messages<string>(`${base}:*`, { pattern: true, raw: true });
        await stream.ready;
        await service.publish(`${base}:a`, { a: 1 });
        const { value } = await stream.next();
        expect(value).toEqual({
          message: '{"a":1}',
          channel: `${base}:a`,
          pattern: `${base}:*`,
          raw: '{"a":1}',
        });
        await stream.return();
      });

      test('takes several channels in one queue, each once, and keeps the order of a publisher', async () => {
        const service = open();
        const base = fresh();
        const [one, two] = [`${base}:1`, `${base}:2`];
        const channel = defineChannel<number>()(`${base}:{n}`);
        const stream = service.messages<number>([one, channel({ n: '2' }), one], { capacity: 10 });
        await stream.ready;
        expect(service.stats()).toMatchObject({ channels: 2, handlers: 2 });
        for (const number of [1, 2, 3]) {
          await service.publish(one, number);
          await service.publish(two, -number);
        }
        const got: [number, string][] = [];
        for await (const { message, channel } of stream) {
          got.push([message, channel]);
          if (message === -3) break;
        }
        expect(got.filter(([, name]) => name === one)).toEqual([1, 2, 3].map((number) => [number, one]));
        expect(got.filter(([, name]) => name === two)).toEqual([-1, -2, -3].map((number) => [number, two]));
        expect(service.stats()).toMatchObject({ channels: 0, handlers: 0 });
        await nothingKnown(base);
      });

      test('takes several patterns, and says which channel or pattern lost a message', async () => {
        const service = open();
        const base = fresh();
        const reported: [string, string][] = [];
        const stream = service.messages<number>([`${base}:a*`, `${base}:b*`], {
          pattern: true,
          capacity: 1,
          discontinuities: true,
          onDiscontinuity: ({ reason }, channel) => reported.push([reason, channel]),
        });
        await stream.ready;
        await service.publish(`${base}:a1`, 1);
        await service.publish(`${base}:b1`, 2);
        await until('the report', () => reported.length === 1);
        expect(reported[0]?.[0]).toBe('overflow');
        const { value } = await stream.next();
        expect(value).toMatchObject({
          discontinuity: { reason: 'overflow' },
          channels: [reported[0]?.[1]],
        });
        await stream.return();
      });

      test('a list of channels must name some, without contradictions', async () => {
        const service = open();
        const room = defineChannel<number>()('room:{id}', { history: { size: 1, ttl: 1_000 } });
        expect(() => service.messages([])).toThrow('channel: must not be an empty list');
        expect(() => service.messages([], { pattern: true })).toThrow('pattern: must not be an empty list');
        expect(() => service.messages(['a', 1 as never])).toThrow('channel: must be a string, not 1');
        expect(() => service.messages([room({ id: 'a' }), 'room:a'])).toThrow('with different definitions');
        expect(service.stats().handlers).toBe(0);
      });

      test('a full queue drops messages by its policy, counts them and reports a discontinuity', async () => {
        const service = open();
        const name = fresh();
        const gaps: Discontinuity[] = [];
        const stream = service.messages<number>(name, {
          capacity: 2,
          onDiscontinuity: (gap) => gaps.push(gap),
        });
        await stream.ready;
        for (const number of [1, 2, 3, 4]) await service.publish(name, number);
        await settled(service, service);
        expect(stream.dropped).toBe(2);
        expect(gaps.map(({ reason, recovered }) => [reason, recovered])).toEqual([
          ['overflow', false],
          ['overflow', false],
        ]);
        expect(service.stats().dropped).toBe(2);
        expect((await stream.next()).value.message).toBe(3);
        expect((await stream.next()).value.message).toBe(4);
        await stream.return();
      });

      test('what onDiscontinuity throws or rejects with goes to onError', async () => {
        const service = open();
        const name = fresh();
        const stream = service.messages<number>(name, {
          capacity: 1,
          onDiscontinuity: (async () => {
            throw new Error('mine');
          }) as () => void,
        });
        await stream.ready;
        for (const number of [1, 2]) await service.publish(name, number);
        await until('the report', () => errors.length === 1);
        expect(errors[0]?.[1]).toEqual({ stage: 'handler', channel: name });
        await stream.return();
      });

      test('ends with its signal, and with the service', async () => {
        const service = open();
        const controller = new AbortController();
        const reason = new Error('enough');
        const one = service.messages(fresh(), { signal: controller.signal });
        const two = service.messages(fresh());
        await Promise.all([one.ready, two.ready]);
        const waiting = one.next();
        controller.abort(reason);
        await expect(waiting).rejects.toBe(reason);
        expect(await one.next()).toMatchObject({ done: true });
        expect(() => service.messages(fresh(), { signal: controller.signal })).toThrow(reason);
        const last = two.next();
        await service.close();
        expect(await last).toMatchObject({ done: true });
        expect(await two.return()).toMatchObject({ done: true });
      });
    });

    describe('close', () => {
      test('leaves nothing behind, calls no handler afterwards, and is idempotent', async () => {
        const redis = client();
        const before = await backend.connections();
        const sender = open();
        await sender.connect();
        const service = open({ redis });
        const base = fresh();
        const one = keeping();
        await service.subscribe(`${base}:a`, one.handler);
        await service.psubscribe(`${base}:*`, one.handler);
        await service.messages(`${base}:b`).ready;
        expect((await known(base)) ?? [`${base}:a`, `${base}:b`]).toEqual([`${base}:a`, `${base}:b`]);
        await Promise.all([service.close(), service.close()]);
        await service.close();
        await service[Symbol.asyncDispose]();
        await nothingKnown(base);
        expect(service.stats()).toMatchObject({ channels: 0, patterns: 0, handlers: 0 });
        await sender.publish(`${base}:a`, 1);
        await settled(sender, sender);
        expect(one.got).toEqual([]);
        await sender.close();
        // What remains are the clients that are ours, the tests'.
        if (before !== undefined) {
          await waitFor(async () => Number(await backend.connections()) <= before + 2, {
            message: 'only the clients',
          });
        }
      });

      test('fails every call from then on with ClosedError', async () => {
        const service = open();
        await service.connect();
        const closing = service.close();
        const calls = () => [
          service.subscribe(fresh(), () => {}),
          service.psubscribe(fresh(), () => {}),
          service.publish(fresh(), 1),
          (async () => service.messages(fresh()).ready)(),
        ];
        const reasons = async (all: Promise<unknown>[]) =>
          (await Promise.allSettled(all)).map((result) =>
            result.status === 'rejected' ? result.reason : result,
          );
        for (const reason of await reasons(calls())) expect(reason).toBeInstanceOf(ClosedError);
        await closing;
        for (const reason of await reasons([...calls(), service.connect()])) {
          expect(reason).toBeInstanceOf(ClosedError);
        }
      });

      test('sends what was published before, and completes or closes subscriptions in progress', async () => {
        const [service, receiver] = [open(), open()];
        await service.connect();
        const name = fresh();
        const one = keeping();
        await receiver.subscribe(name, one.handler);
        const [published, subscribed] = await Promise.allSettled([
          service.publish(name, 1),
          service.subscribe(name, () => {}),
          service.close(),
        ]);
        if (published.status === 'rejected') expect(published.reason).toBeInstanceOf(ClosedError);
        if (subscribed.status === 'rejected') expect(subscribed.reason).toBeInstanceOf(ClosedError);
        await settled(receiver, receiver);
        expect(one.got).toEqual(published.status === 'fulfilled' ? [1] : []);
      });

      test('waits for handlers that are still running', async () => {
        const service = open();
        const name = fresh();
        const [started, finish] = [deferred(), deferred()];
        let finished = false;
        await service.subscribe(name, async () => {
          started.resolve();
          await finish.promise;
          finished = true;
        });
        await service.publish(name, 1);
        await started.promise;
        const closing = service.close().then(() => finished);
        finish.resolve();
        expect(await closing).toBe(true);
      });

      test('leaves the client to its owner, who can create another service on it', async () => {
        const redis = client();
        const first = open({ redis });
        const name = fresh();
        await first.subscribe(name, () => {});
        await first.close();
        const second = open({ redis });
        const one = keeping();
        await second.subscribe(name, one.handler);
        await second.publish(name, 1);
        await until('it', () => one.got.length === 1);
      });
    });

    test('both services on one client, through createRollcall', async () => {
      const rollcall = createRollcall({ redis: client() });
      cleanUps.push(() => rollcall.close());
      const name = fresh();
      const one = keeping();
      await rollcall.pubsub.subscribe(name, one.handler);
      await rollcall.pubsub.publish(name, 1);
      await until('it', () => one.got.length === 1);
      await rollcall.close();
      await expect(rollcall.pubsub.publish(name, 2)).rejects.toBeInstanceOf(ClosedError);
    });
  });
}
