import {
  bufferCodec,
  type Discontinuity,
  defineChannel,
  type ErrorContext,
  HandlerError,
  type HistoryPage,
  InvalidArgumentError,
  type MessageContext,
  type Position,
  type PublishOptions,
  type PubSubOptions,
  PubSubService,
  type RedisClient,
  type RollcallError,
  SchemaError,
  type Subscription,
  type TextCodec,
  UnsupportedError,
} from 'rollcall';
import { msgpackCodec } from 'rollcall/msgpack';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { historyKeys } from '../../src/history/keys.js';
import { waitFor } from '../support/wait.js';

/** One Redis, and clients of one library. */
export interface HistoryBackend {
  /** A new client, as another process would have. */
  client(): RedisClient;
  /** Another program's subscription, as plain as can be. Resolves when Redis has confirmed. */
  listen(channel: string, got: (payload: string) => void): Promise<void>;
  /** Runs one command. */
  run(...args: string[]): Promise<unknown>;
  end(): Promise<void>;
}

const KEPT = { history: { size: 1_000, ttl: 60_000 } };
const POSITION = /^\d{1,16}-\d{1,10}$/;
const NEVER = '0-0';

const ODD_NAMES = [
  '__proto__',
  'constructor',
  'x',
  '{x}',
  'x}',
  'a{b}c',
  'a{b}',
  '}{',
  '{}x',
  '{}',
  '}',
  '%7D',
  '%',
  '100%25 {done}',
  'a*b?[c]',
  'new\nline',
  'crlf\r\n',
  'nul\0',
  '😀 emoji',
  '{😀}',
  ' ',
  'quote"\'',
  'x'.repeat(512),
  `{${'y'.repeat(510)}}`,
];

let serial = 0;
const fresh = (text = 'x') => `h${++serial}.${text}`;
const timeOf = (position: Position) => Number(position.split('-')[0]);
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => from + at);
/** Text without encoding, so that a test controls the payload. */
const textCodec: TextCodec = { encode: (message) => String(message), decode: (payload) => payload };

/** Tests of histories, for any client and server. */
export function historyBehaviour(
  name: string,
  start: () => Promise<HistoryBackend>,
  {
    embedded,
    lateDelivery = false,
  }: {
    embedded: boolean;
    /** Messages may reach a handler that subscribed after they were published: on a Cluster's bus. */
    lateDelivery?: boolean;
  },
): void {
  describe(name, () => {
    let fixture: HistoryBackend;
    let opened: PubSubService[] = [];
    let errors: [RollcallError, ErrorContext][] = [];

    beforeAll(async () => {
      fixture = await start();
    });
    afterAll(() => fixture.end());
    afterEach(async () => {
      await Promise.all(opened.map((service) => service.close()));
      opened = [];
      errors = [];
    });

    function open(options: Partial<PubSubOptions> = {}): PubSubService {
      const service = new PubSubService({
        redis: fixture.client(),
        onError: (error, context) => errors.push([error, context]),
        ...options,
      });
      opened.push(service);
      return service;
    }
    /** A handler that records its messages and gaps. */
    function keeping<T = unknown>() {
      const got: T[] = [];
      const contexts: MessageContext[] = [];
      const gaps: Discontinuity[] = [];
      return {
        got,
        contexts,
        gaps,
        handler: (message: T, context: MessageContext) => {
          got.push(message);
          contexts.push(context);
        },
        options: { onDiscontinuity: (gap: Discontinuity) => void gaps.push(gap) },
      };
    }
    const until = (what: string, done: () => boolean) =>
      waitFor(done, {
        message: () => `${what}; errors: ${errors.map(([error]) => error.message).join('; ')}`,
      });
    async function publish(
      service: PubSubService,
      channel: string,
      messages: Iterable<unknown>,
      options: PublishOptions = KEPT,
    ): Promise<Position[]> {
      const published = [...messages].map((message) => service.publish(channel, message, options));
      return (await Promise.all(published)).map(({ position }) => position as Position);
    }
    /** Everything published to `channel` before has been delivered: messages keep their order. */
    async function fenced(service: PubSubService, channel: string): Promise<void> {
      const one = keeping();
      const { unsubscribe } = await service.subscribe(channel, one.handler, { raw: true });
      await service.publish(channel, 'fence', KEPT);
      await until('the fence', () => one.got.some((payload) => String(payload).includes('fence')));
      await unsubscribe();
    }
    const messagesOf = ({ messages }: HistoryPage<unknown>) => messages.map(({ message }) => message);

    /** Appends a message to the history without publishing it, as if pub/sub had lost it. */
    async function loseOne(channel: string, payload: string): Promise<Position> {
      const keys = historyKeys(channel);
      const [last = ''] = String(await fixture.run('GET', keys.lastPosition)).split(':');
      const position = `${timeOf(last) + 1}-7`;
      await fixture.run('RPUSH', keys.messages, `rc1:${position}:${last}\n${payload}`);
      await fixture.run('SET', keys.lastPosition, position);
      return position;
    }

    describe('publishing', () => {
      test('returns positions that grow, one by one and in one tick', async () => {
        const service = open();
        const channel = fresh();
        const first = await service.publish(channel, 'first', KEPT);
        expect(first).toEqual({
          receivers: 0,
          position: expect.stringMatching(POSITION),
          duplicate: false,
        });
        const positions = [first.position as Position];
        for (const number of numbers(0, 3)) positions.push(...(await publish(service, channel, [number])));
        positions.push(...(await publish(service, channel, numbers(0, 250))));
        for (let at = 1; at < positions.length; at++) {
          expect(timeOf(positions[at]!)).toBeGreaterThan(timeOf(positions[at - 1]!));
        }
        for (const position of positions) expect(encodeURIComponent(position)).toBe(position);
      });

      test('returns the number of receivers', async () => {
        const service = open();
        const channel = fresh();
        await service.subscribe(channel, () => {});
        expect((await service.publish(channel, 1, KEPT)).receivers).toBe(1);
      });

      test('other programs see the position, the one before, and the payload', async () => {
        const service = open();
        const channel = fresh();
        const seen: string[] = [];
        await fixture.listen(channel, (payload) => seen.push(payload));
        const [one, two] = await publish(service, channel, [{ text: 'héllo 😀\n' }, 'two']);
        await until('both', () => seen.length === 2);
        expect(seen).toEqual([
          `rc1:${one}:0-0\n${JSON.stringify({ text: 'héllo 😀\n' })}`,
          `rc1:${two}:${one}\n"two"`,
        ]);
      });

      test('handlers get the position, and the payload without its envelope', async () => {
        const service = open();
        const channel = fresh();
        const [one, raw] = [keeping(), keeping()];
        await service.subscribe(channel, one.handler);
        await service.subscribe(channel, raw.handler, { raw: true });
        const [position] = await publish(service, channel, [{ a: 1 }]);
        await until('it', () => one.got.length === 1 && raw.got.length === 1);
        expect([one.got, raw.got]).toEqual([[{ a: 1 }], ['{"a":1}']]);
        expect(one.contexts).toEqual([{ channel, position, raw: '{"a":1}' }]);
      });
    });

    describe('an idempotency key', () => {
      const keyed = (idempotencyKey: string) => ({ ...KEPT, idempotencyKey });

      test('makes repetitions one message, also from other services and in one tick', async () => {
        const [service, other] = [open(), open()];
        const channel = fresh();
        const one = keeping();
        await other.subscribe(channel, one.handler);
        const first = await service.publish(channel, 'a', keyed('k'));
        const again = await service.publish(channel, 'a', keyed('k'));
        const elsewhere = await other.publish(channel, 'a', keyed('k'));
        expect(first.duplicate).toBe(false);
        for (const repeated of [again, elsewhere]) {
          expect(repeated).toEqual({ receivers: 0, position: first.position, duplicate: true });
        }
        const [left, right] = await publish(service, channel, ['b', 'b'], keyed('l'));
        expect(left).toBe(right);
        await fenced(other, channel);
        expect(one.got.filter((message) => message !== 'fence')).toEqual(['a', 'b']);
        expect(messagesOf(await service.history(channel))).toEqual(['a', 'b', 'fence']);
      });

      test('belongs to its channel, whatever both are called', async () => {
        const service = open();
        const base = fresh();
        const pairs: [channel: string, key: string][] = [
          [base, 'k'],
          [`${base}2`, 'k'],
          [base, '}k{'],
          [`${base}{t}`, 'a:b'],
          [`${base}{t}:a`, 'b'],
          [`${base}{t}`, '__proto__'],
          [`${base}}`, '%7D'],
          [`${base}`, 'k'.repeat(512)],
        ];
        for (const [channel, key] of pairs) {
          expect([channel, key, (await service.publish(channel, 1, keyed(key))).duplicate]).toEqual([
            channel,
            key,
            false,
          ]);
        }
        for (const [channel, key] of pairs) {
          expect((await service.publish(channel, 1, keyed(key))).duplicate).toBe(true);
        }
      });

      test('needs history, and to be a name', async () => {
        const service = open();
        const channel = fresh();
        const refused = (options: object) =>
          expect(service.publish(channel, 1, options)).rejects.toBeInstanceOf(InvalidArgumentError);
        await refused({ idempotencyKey: 'k' });
        for (const key of ['', 'k'.repeat(513), 1, null, '\ud800']) {
          await refused({ ...KEPT, idempotencyKey: key });
        }
        expect(messagesOf(await service.history(channel))).toEqual([]);
      });
    });

    describe('history()', () => {
      test('of a channel without one is empty and complete', async () => {
        expect(await open().history(fresh())).toEqual({
          messages: [],
          position: NEVER,
          more: false,
          complete: true,
        });
      });

      test('pages forward', async () => {
        const service = open();
        const channel = fresh();
        const before = Date.now();
        const positions = await publish(service, channel, numbers(0, 5));
        const pages: HistoryPage<unknown>[] = [];
        for (let page: HistoryPage<unknown> | undefined; page === undefined || page.more; pages.push(page)) {
          page = await service.history(channel, { limit: 2, ...(page && { since: page.position }) });
        }
        expect(pages.map(messagesOf)).toEqual([[0, 1], [2, 3], [4]]);
        expect(pages.map(({ position, more, complete }) => [position, more, complete])).toEqual([
          [positions[1], true, true],
          [positions[3], true, true],
          [positions[4], false, true],
        ]);
        expect(await service.history(channel, { since: positions[4]! })).toEqual({
          messages: [],
          position: positions[4],
          more: false,
          complete: true,
        });
        const whole = await service.history(channel);
        expect(whole.messages.map(({ position }) => position)).toEqual(positions);
        expect(whole.messages[0]).toMatchObject({ message: 0, raw: '0' });
        for (const { publishedAt } of whole.messages) {
          expect(Math.abs(publishedAt.getTime() - before)).toBeLessThan(10_000);
        }
        // Exactly full is not more.
        expect((await service.history(channel, { limit: 5 })).more).toBe(false);
      });

      test('pages backward, and between two positions', async () => {
        const service = open();
        const channel = fresh();
        const positions = await publish(service, channel, numbers(0, 5));
        const pages: HistoryPage<unknown>[] = [];
        for (let page: HistoryPage<unknown> | undefined; page === undefined || page.more; pages.push(page)) {
          page = await service.history(channel, {
            limit: 2,
            reverse: true,
            ...(page && { before: page.position }),
          });
        }
        expect(pages.map(messagesOf)).toEqual([[4, 3], [2, 1], [0]]);
        expect(pages.map(({ position }) => position)).toEqual([positions[3], positions[1], positions[0]]);
        const between = { since: positions[0]!, before: positions[4]! };
        expect(messagesOf(await service.history(channel, between))).toEqual([1, 2, 3]);
        expect(messagesOf(await service.history(channel, { ...between, reverse: true }))).toEqual([3, 2, 1]);
        expect(messagesOf(await service.history(channel, { before: positions[2]! }))).toEqual([0, 1]);
        expect(messagesOf(await service.history(channel, { since: positions[2]!, reverse: true }))).toEqual([
          4, 3,
        ]);
      });

      test('of more messages than one read returns', async () => {
        const service = open();
        const channel = fresh();
        await publish(service, channel, numbers(0, 150));
        expect(messagesOf(await service.history(channel))).toEqual(numbers(0, 100));
        expect(messagesOf(await service.history(channel, { limit: 1_000 }))).toEqual(numbers(0, 150));
        expect(messagesOf(await service.history(channel, { limit: 1, reverse: true }))).toEqual([149]);
      });

      test('keeps `size` messages, and reports trimmed ones', async () => {
        const service = open();
        const channel = fresh();
        const history = { size: 3, ttl: 60_000 };
        const positions = await publish(service, channel, numbers(0, 6), { history });
        expect(await service.history(channel)).toMatchObject({ complete: true });
        const since = async (position: Position) => {
          const page = await service.history(channel, { since: position });
          return [messagesOf(page), page.complete, page.reason];
        };
        expect(await since(positions[0]!)).toEqual([[3, 4, 5], false, 'trimmed']);
        expect(await since(positions[1]!)).toEqual([[3, 4, 5], false, 'trimmed']);
        // What follows it is the first that is kept.
        expect(await since(positions[2]!)).toEqual([[3, 4, 5], true, undefined]);
        expect(await since(positions[4]!)).toEqual([[5], true, undefined]);
      });

      test('keeps messages for `ttl`, and the last position for longer', async () => {
        const service = open();
        const channel = fresh();
        const history = { size: 100, ttl: 200 };
        const [one, two] = await publish(service, channel, [1, 2], { history });
        await waitFor(async () => (await service.history(channel)).messages.length === 0, {
          message: 'the end of the messages',
        });
        expect(await service.history(channel)).toEqual({
          messages: [],
          position: two,
          more: false,
          complete: true,
        });
        expect(await service.history(channel, { since: two! })).toMatchObject({ complete: true });
        expect(await service.history(channel, { since: one! })).toMatchObject({
          complete: false,
          reason: 'trimmed',
        });
        await publish(service, channel, [3]);
        const page = await service.history(channel, { since: two! });
        expect([messagesOf(page), page.complete]).toEqual([[3], true]);
      });

      test('drops messages older than `ttl` while newer ones arrive', async () => {
        const service = open();
        const channel = fresh();
        await publish(service, channel, ['old']);
        const published = Date.now();
        await waitFor(() => Date.now() > published + 1_100, { message: 'it to grow old' });
        await publish(service, channel, ['new'], { history: { size: 100, ttl: 1_000 } });
        expect(messagesOf(await service.history(channel))).toEqual(['new']);
      });

      test('reports wiped and forked histories', async () => {
        const service = open();
        const [channel, other] = [fresh(), fresh()];
        const [one, two] = (await publish(service, channel, [1, 2])) as [Position, Position];
        const [foreign] = (await publish(service, other, [1])) as [Position];
        const of = async (name: string, since: Position) => {
          const page = await service.history(name, { since });
          return [messagesOf(page), page.complete, page.reason];
        };
        expect(await of(fresh(), one)).toEqual([[], false, 'wiped']);
        // Another server gave the same time to another message.
        const twin = two.replace(/-.*/, two.endsWith('-1') ? '-2' : '-1');
        expect(await of(channel, twin)).toEqual([[], false, 'forked']);
        expect(await of(channel, foreign)).toEqual([[], false, 'forked']);
        expect(await of(channel, one.replace(/-.*/, one.endsWith('-1') ? '-2' : '-1'))).toEqual([
          [2],
          false,
          'forked',
        ]);
        await fixture.run('DEL', historyKeys(channel).messages, historyKeys(channel).lastPosition);
        expect(await of(channel, two)).toEqual([[], false, 'wiped']);
        await publish(service, channel, [3]);
        expect(await of(channel, two)).toEqual([[3], false, 'wiped']);
      });

      test('leaves out messages that cannot be decoded, and reports them', async () => {
        const [service, plain] = [open(), open({ codec: textCodec })];
        const channel = fresh();
        await publish(plain, channel, ['1', '{oops', '2']);
        expect(messagesOf(await service.history(channel))).toEqual([1, 2]);
        expect(errors.map(([, context]) => context)).toEqual([{ stage: 'decode', channel }]);
      });
    });

    describe('names', () => {
      test('of any kind have a history each', async () => {
        const service = open();
        for (const odd of ODD_NAMES) {
          await publish(service, odd, [`${odd}/1`]);
          const one = keeping();
          const { unsubscribe } = await service.subscribe(odd, one.handler, {
            since: 'earliest',
            ...one.options,
          });
          await publish(service, odd, [`${odd}/2`]);
          await until(JSON.stringify(odd), () => one.got.length === 2);
          expect(one.got).toEqual([`${odd}/1`, `${odd}/2`]);
          expect(one.contexts.map(({ channel }) => channel)).toEqual([odd, odd]);
          expect(one.gaps).toEqual([]);
          await unsubscribe();
        }
        const since = ODD_NAMES.map((odd) => [odd, `1-1`] as const);
        const { channels } = await service.recover({ channels: since });
        expect([...channels.keys()]).toEqual(ODD_NAMES);
        for (const odd of ODD_NAMES) {
          const expected = [`${odd}/1`, `${odd}/2`];
          expect(messagesOf(await service.history(odd))).toEqual(expected);
          expect(channels.get(odd)?.messages.map(({ message }) => message)).toEqual(expected);
        }
      });

      test('a prefix keeps two services apart, and is nothing their handlers see', async () => {
        const [one, two] = [open({ prefix: 'one:' }), open({ prefix: 'two.' })];
        const channel = fresh();
        const [a, b, pattern] = [keeping(), keeping(), keeping()];
        const [first] = (await publish(one, channel, ['one/1'])) as [Position];
        await publish(two, channel, ['two/1']);
        await one.subscribe(channel, a.handler, { since: 'earliest' });
        await two.subscribe(channel, b.handler, { since: 'earliest' });
        await one.psubscribe('*', pattern.handler);
        await publish(one, channel, ['one/2']);
        await publish(two, channel, ['two/2']);
        await until('all', () => a.got.length === 2 && b.got.length === 2 && pattern.got.includes('one/2'));
        expect([a.got, b.got]).toEqual([
          ['one/1', 'one/2'],
          ['two/1', 'two/2'],
        ]);
        // On a Cluster the message before may reach the pattern late.
        expect(pattern.got.filter((each) => each !== 'one/1')).toEqual(['one/2']);
        expect(a.contexts.map((context) => context.channel)).toEqual([channel, channel]);
        expect(pattern.contexts.at(-1)).toMatchObject({
          channel,
          pattern: '*',
          position: a.contexts[1]?.position,
        });
        expect(messagesOf(await one.history(channel))).toEqual(['one/1', 'one/2']);
        const { channels } = await two.recover({ channels: { [channel]: '1-1' } });
        expect([...channels.keys()]).toEqual([channel]);
        expect(channels.get(channel)?.messages.map(({ message }) => message)).toEqual(['two/1', 'two/2']);
        await expect(one.recover({ channels: { [channel]: 'bad' } })).rejects.toThrow(
          `channels["${channel}"]`,
        );
        await publish(one, channel, numbers(0, 2), { history: { size: 1, ttl: 60_000 } });
        await one.subscribe(channel, () => {}, {
          since: first,
          onDiscontinuity: () => {
            throw new Error('mine');
          },
        });
        await until('the report', () => errors.length === 1);
        expect(errors[0]?.[0]).toBeInstanceOf(HandlerError);
        expect(errors[0]?.[1]).toEqual({ stage: 'handler', channel });
      });
    });

    describe('subscribing', () => {
      test('since a position, earliest or latest, delivers the messages after it, then new ones', async () => {
        const service = open();
        const channel = fresh();
        const positions = await publish(service, channel, numbers(0, 5));
        const [after, all, next, plain] = [keeping(), keeping(), keeping(), keeping()];
        await Promise.all([
          service.subscribe(channel, after.handler, { since: positions[2]!, ...after.options }),
          service.subscribe(channel, all.handler, { since: 'earliest', ...all.options }),
          service.subscribe(channel, next.handler, { since: 'latest', ...next.options }),
          service.subscribe(channel, plain.handler, plain.options),
        ]);
        positions.push(...(await publish(service, channel, numbers(5, 8))));
        await until('all', () => [after, all, next, plain].every(({ got }) => got.includes(7)));
        expect(after.got).toEqual(numbers(3, 8));
        expect(all.got).toEqual(numbers(0, 8));
        expect(next.got).toEqual(numbers(5, 8));
        // On a Cluster its messages may come from another node, which delivers those from just before.
        expect(plain.got.slice(-3)).toEqual(numbers(5, 8));
        for (const one of [after, all, next, plain]) {
          expect(one.contexts.map(({ position }) => position)).toEqual(
            positions.slice(positions.length - one.got.length),
          );
          expect(one.gaps).toEqual([]);
        }
      });

      test('since a position that the server has not reached reports a gap, then delivers new messages', async () => {
        const service = open();
        for (const stored of [0, 1]) {
          const channel = fresh();
          const [position] = await publish(service, fresh(), numbers(0, 1));
          await publish(service, channel, numbers(0, stored));
          const future = String(position).replace(/^\d+/, (micros) => `${BigInt(micros) + 3_600_000_000n}`);
          const ahead = keeping();
          await service.subscribe(channel, ahead.handler, { since: future, ...ahead.options });
          await publish(service, channel, numbers(1, 4));
          await until('the last', () => ahead.got.includes(3));
          expect(ahead.got).toEqual([1, 2, 3]);
          expect(ahead.gaps).toMatchObject([{ reason: stored === 0 ? 'wiped' : 'forked', recovered: false }]);
        }
      });

      test('a subscription with since is returned after its first read, and before its first message', async () => {
        const service = open();
        const channel = fresh();
        const [first] = await publish(service, channel, numbers(0, 3));
        for (const since of [first as string, 'earliest' as const]) {
          let subscription: Subscription | undefined;
          let known = true;
          const got: unknown[] = [];
          const handler = (message: unknown) => {
            known &&= subscription !== undefined;
            got.push(message);
          };
          subscription = await service.subscribe(channel, handler, { since });
          await until('the last', () => got.includes(2));
          expect(known).toBe(true);
          await subscription.unsubscribe();
        }
      });

      test('to a channel without history yet', async () => {
        const service = open();
        for (const since of ['earliest', 'latest', NEVER]) {
          const channel = fresh();
          const one = keeping();
          await service.subscribe(channel, one.handler, { since, ...one.options });
          await publish(service, channel, [1, 2]);
          await until(since, () => one.got.length === 2);
          expect([one.got, one.gaps]).toEqual([[1, 2], []]);
        }
      });

      test('since a trimmed, wiped or forked position reports a discontinuity, then delivers what is stored', async () => {
        const service = open();
        const channel = fresh();
        const heard: unknown[] = [];
        await service.subscribe(channel, (message) => heard.push(message));
        const positions = await publish(service, channel, numbers(0, 6), {
          history: { size: 2, ttl: 60_000 },
        });
        // On a Cluster messages may reach the subscriber's node after the reply to their sender. Then nothing is missing. The
        // subscription stays, because the next one may be at another node.
        await until('all messages', () => heard.length === 6);
        const reported = async (name: string, since: Position, count: number) => {
          const order: unknown[] = [];
          const { unsubscribe } = await service.subscribe(name, (message) => order.push(message), {
            since,
            onDiscontinuity: ({ reason, recovered }) => order.push([reason, recovered]),
          });
          await until(`${count} things`, () => order.length >= count);
          await fenced(service, name);
          await unsubscribe();
          return order;
        };
        expect(await reported(channel, positions[1]!, 3)).toEqual([['trimmed', false], 4, 5, 'fence']);
        expect(await reported(fresh(), positions[1]!, 1)).toEqual([['wiped', false], 'fence']);
        const other = fresh();
        const [only] = (await publish(service, other, ['a'])) as [Position];
        const ahead = `${timeOf(only) + 60_000_000}-1`;
        expect(await reported(other, ahead, 1)).toEqual([['forked', false], 'fence']);
      });

      test('during publications at full speed delivers every message once and in order', async () => {
        const [sender, receiver] = [open(), open()];
        const channel = fresh();
        const total = embedded ? 600 : 3_000;
        const starts: Promise<unknown>[] = [];
        const kept: { from: number; to: number; one: ReturnType<typeof keeping<number>> }[] = [];
        const positions: Position[] = [];
        let sent = 0;
        const begin = (since: Position | 'earliest' | 'latest', from: number) => {
          const one = keeping<number>();
          const begun = { from, to: from, one };
          kept.push(begun);
          starts.push(
            receiver.subscribe<number>(channel, one.handler, { since, ...one.options }).then(() => {
              // 'latest' begins somewhere between the call and its answer.
              if (since === 'latest') begun.to = sent;
            }),
          );
        };
        while (sent < total) {
          const batch = Math.min(1 + (sent % 17), total - sent);
          const published = publish(sender, channel, numbers(sent, sent + batch), {
            history: { size: total, ttl: 60_000 },
          });
          sent += batch;
          if (kept.length < 20 && sent > (kept.length * total) / 20) {
            const known = positions.length;
            begin('earliest', 0);
            begin('latest', known);
            if (known > 0) begin(positions[Math.floor(known / 2)]!, Math.floor(known / 2) + 1);
          }
          positions.push(...(await published));
          // The embedded Redis answers within the turn, at whose end reads of the history are sent.
          if (embedded) await new Promise((resolve) => setImmediate(resolve));
        }
        await Promise.all(starts);
        await until('the last one', () => kept.every(({ one }) => one.got.at(-1) === total - 1));
        for (const { from, to, one } of kept) {
          const first = one.got[0]!;
          expect(first).toBeGreaterThanOrEqual(from);
          expect(first).toBeLessThanOrEqual(Math.max(from, to));
          expect(one.got).toEqual(numbers(first, total));
          expect(one.gaps).toEqual([]);
        }
        expect(receiver.stats()).toMatchObject({ channels: 1, handlers: kept.length });
      });

      test('a message lost in transit is read before the next, and reported', async () => {
        const service = open();
        const channel = fresh();
        const [since, plain, stream] = [keeping(), keeping(), service.messages(channel, { since: 'latest' })];
        await service.subscribe(channel, since.handler, { since: 'latest', ...since.options });
        await service.subscribe(channel, plain.handler, plain.options);
        await stream.ready;
        const [first] = (await publish(service, channel, [1])) as [Position];
        await until('the first', () => plain.got.length === 1);
        await loseOne(channel, '2');
        await publish(service, channel, [3, 4]);
        await until('all', () => since.got.length >= 4 && plain.got.length >= 4);
        await until('the gaps', () => since.gaps.length > 0 && plain.gaps.length > 0);
        for (const one of [since, plain]) {
          expect(one.got).toEqual([1, 2, 3, 4]);
          expect(one.gaps).toEqual([{ reason: 'missed', since: expect.any(Date), recovered: true }]);
          // Up to then all was well: to the last message before the hole.
          expect(one.gaps[0]!.since.getTime()).toBe(Math.floor(timeOf(first) / 1_000));
        }
        for (const message of [1, 2, 3, 4]) expect((await stream.next()).value.message).toBe(message);
        await stream.return();
      });

      test('a late copy of a message that was read from history is no gap', async () => {
        const service = open();
        const channel = fresh();
        const one = keeping();
        await service.subscribe(channel, one.handler, { since: 'latest', ...one.options });
        const [first, second] = (await publish(service, channel, [1, 2])) as [Position, Position];
        await until('both', () => one.got.length === 2);
        // The history has more than was delivered: the read that a late copy causes finds more.
        const third = await loseOne(channel, '3');
        await fixture.run('PUBLISH', channel, `rc1:${first}:${NEVER}\n1`);
        await until('the third', () => one.got.length === 3);
        await fixture.run('PUBLISH', channel, `rc1:${second}:${first}\n2`);
        await fixture.run('PUBLISH', channel, `rc1:${third}:${second}\n3`);
        await publish(service, channel, [4]);
        await fenced(service, channel);
        await until('the fence', () => one.got.includes('fence'));
        expect(one.got).toEqual([1, 2, 3, 4, 'fence']);
        expect(one.gaps).toEqual([]);
      });

      test('a history that is lost during a subscription is reported, and later messages are delivered', async () => {
        const service = open();
        const channel = fresh();
        const order: unknown[] = [];
        await service.subscribe(channel, (message) => order.push(message), {
          since: 'latest',
          onDiscontinuity: ({ reason, recovered }) => order.push([reason, recovered]),
        });
        await publish(service, channel, [1, 2]);
        await until('both', () => order.length === 2);
        const keys = historyKeys(channel);
        await fixture.run('DEL', keys.messages, keys.lastPosition);
        await publish(service, channel, [3]);
        await publish(service, channel, [4]);
        await until('all', () => order.length === 5);
        expect(order).toEqual([1, 2, ['wiped', false], 3, 4]);
        // Only the messages: none was missed live, so no gap is reported.
        await fixture.run('DEL', keys.messages);
        await publish(service, channel, [5]);
        // The last position alone: the newest message knows it.
        await fixture.run('DEL', keys.lastPosition);
        await publish(service, channel, [6]);
        await until('all', () => order.includes(6));
        expect(order.slice(5)).toEqual([5, 6]);
      });

      test('handlers subscribe and unsubscribe while others catch up', async () => {
        const service = open();
        const channel = fresh();
        await publish(service, channel, numbers(0, 250));
        const [leaves, early, late, plain] = [
          keeping<number>(),
          keeping<number>(),
          keeping<number>(),
          keeping<number>(),
        ];
        const joined: Promise<unknown>[] = [];
        let left: Promise<unknown> | undefined;
        const controller = new AbortController();
        joined.push(
          service.subscribe<number>(channel, early.handler, { since: 'earliest' }),
          service.subscribe<number>(
            channel,
            (message, context) => {
              leaves.handler(message, context);
              if (message === 50) {
                joined.push(service.subscribe<number>(channel, late.handler, { since: 'earliest' }));
                joined.push(service.subscribe<number>(channel, plain.handler));
              }
              if (message === 120) {
                controller.abort();
                left = fenced(service, channel);
              }
            },
            { since: 'earliest', signal: controller.signal },
          ),
        );
        await until('the leaving', () => left !== undefined);
        await left;
        await publish(service, channel, [1_000]);
        await until('the last', () => [early, late, plain].every(({ got }) => got.includes(1_000)));
        // After it unsubscribed the handler receives nothing, not even messages that were read already.
        expect(leaves.got).toEqual(numbers(0, 121));
        for (const one of [early, late]) expect(one.got).toEqual([...numbers(0, 250), 'fence', 1_000]);
        expect(plain.got.slice(-2)).toEqual(['fence', 1_000]);
        const before = plain.got.slice(0, -2);
        if (lateDelivery) expect(before).toEqual(numbers(250 - before.length, 250));
        else expect(before).toEqual([]);
        await Promise.allSettled(joined);
      });

      test('unsubscribing while history is read is final at once', async () => {
        const service = open();
        const channel = fresh();
        await publish(service, channel, numbers(0, 120));
        const [one, two] = [keeping(), keeping()];
        const controller = new AbortController();
        // The answer to SUBSCRIBE may be there already, the one to the reading not.
        await service.subscribe(channel, () => {});
        const subscribed = service.subscribe(channel, one.handler, { since: NEVER });
        const aborted = service.subscribe(channel, two.handler, {
          since: 'earliest',
          signal: controller.signal,
        });
        controller.abort(new Error('no need'));
        await expect(aborted).rejects.toThrow('no need');
        const { unsubscribe } = await subscribed;
        const seen = one.got.length;
        const left = unsubscribe();
        await fenced(service, channel);
        await left;
        expect(one.got).toHaveLength(seen);
        expect(two.got).toEqual([]);
      });

      test('a handler can unsubscribe another during the dispatch of a message', async () => {
        const service = open();
        const channel = fresh();
        const controller = new AbortController();
        const [one, two] = [keeping(), keeping()];
        const first = (message: unknown, context: MessageContext) => {
          one.handler(message, context);
          if (message === 2) controller.abort();
        };
        await service.subscribe(channel, first, { since: 'latest' });
        await service.subscribe(channel, two.handler, { since: 'latest', signal: controller.signal });
        // Live, and out of the history.
        const third = keeping();
        await publish(service, channel, [1, 2, 3]);
        await service.subscribe(channel, third.handler, { since: 'earliest' });
        await until('all', () => one.got.length === 3 && third.got.length === 3);
        await fenced(service, channel);
        expect([one.got, two.got]).toEqual([[1, 2, 3, 'fence'], [1]]);
      });

      test('a subscription outlives its last handler for a while, and a handler added then misses nothing', async () => {
        const service = open({ unsubscribeDelay: 60_000 });
        const channel = fresh();
        const [before, after] = [keeping(), keeping()];
        const { unsubscribe } = await service.subscribe(channel, before.handler, { since: 'latest' });
        const [one] = (await publish(service, channel, [1])) as [Position];
        await until('the first', () => before.got.length === 1);
        await unsubscribe();
        await publish(service, channel, [2, 3]);
        expect((await service.publish(channel, 4, KEPT)).receivers).toBe(1);
        await service.subscribe(channel, after.handler, { since: one, ...after.options });
        await publish(service, channel, [5]);
        await until('all', () => after.got.length === 4);
        expect([before.got, after.got, after.gaps]).toEqual([[1], [2, 3, 4, 5], []]);
      });

      test('patterns receive messages with history decoded, and their position', async () => {
        const service = open();
        const base = fresh();
        const one = keeping();
        await service.psubscribe(`${base}:*`, one.handler, one.options);
        const [a1] = await publish(service, `${base}:a`, ['a1']);
        const [b1] = await publish(service, `${base}:b`, ['b1']);
        await service.publish(`${base}:b`, 'plain');
        const [a2] = await publish(service, `${base}:a`, ['a2']);
        await until('all', () => one.got.length === 4);
        expect(one.got).toEqual(['a1', 'b1', 'plain', 'a2']);
        expect(one.contexts.map(({ position }) => position)).toEqual([a1, b1, undefined, a2]);
        expect(one.gaps).toEqual([]);
        await expect(service.psubscribe(`${base}:*`, () => {}, { since: 'latest' })).rejects.toBeInstanceOf(
          InvalidArgumentError,
        );
      });
    });

    describe('payloads', () => {
      test('that look like envelopes come back as they were', async () => {
        const service = open({ codec: textCodec });
        const channel = fresh();
        const one = keeping();
        const odd = [
          'rc1:',
          'rc1::\n',
          'rc1:1-1:0-0\nx',
          'rc1::\nrc1::\nx',
          'rc1:junk',
          '',
          '\n',
          'rc',
          'rc1',
        ];
        await service.subscribe(channel, one.handler, { since: 'latest', ...one.options });
        for (const payload of odd) await service.publish(channel, payload);
        await publish(service, channel, odd);
        await until('all', () => one.got.length === 2 * odd.length);
        expect(one.got).toEqual([...odd, ...odd]);
        expect(one.contexts.map(({ position }) => position !== undefined)).toEqual([
          ...odd.map(() => false),
          ...odd.map(() => true),
        ]);
        expect(messagesOf(await service.history(channel))).toEqual(odd);
        expect(one.gaps).toEqual([]);
      });

      test('with and without history, mixed on one channel, keep their order', async () => {
        const service = open();
        const channel = fresh();
        const [one, plain, late] = [keeping(), keeping(), keeping()];
        await service.subscribe(channel, one.handler, { since: 'latest', ...one.options });
        await service.subscribe(channel, plain.handler, plain.options);
        await Promise.all([
          service.publish(channel, 'h1', KEPT),
          service.publish(channel, 'p1'),
          service.publish(channel, 'h2', KEPT),
          service.publish(channel, 'h3', KEPT),
          service.publish(channel, 'p2'),
        ]);
        await until('all', () => one.got.length === 5 && plain.got.length === 5);
        for (const { got, gaps } of [one, plain]) {
          expect([got, gaps]).toEqual([['h1', 'p1', 'h2', 'h3', 'p2'], []]);
        }
        await service.subscribe(channel, late.handler, { since: 'earliest' });
        await until('the kept ones', () => late.got.length === 3);
        expect(late.got).toEqual(['h1', 'h2', 'h3']);
      });

      const bytes = Buffer.from([...numbers(0, 256), 0xf0, 0x9f, 0xff, 0x0d, 0x0a]);
      const packed = { bytes, map: { a: [1, null, 'ä'] }, date: new Date(1_700_000_000_123) };
      for (const [codecName, codec, messages] of [
        ['bufferCodec', bufferCodec, [bytes, Buffer.from('rc1::\n'), Buffer.alloc(0), bytes.subarray(128)]],
        ['MessagePack', msgpackCodec, [packed, 1, 'text', [bytes]]],
      ] as const) {
        test(`of ${codecName} ${embedded ? 'are refused' : 'come back byte for byte'}`, async () => {
          const service = open({ codec });
          const channel = fresh();
          if (embedded) {
            await expect(service.publish(channel, messages[0], KEPT)).rejects.toBeInstanceOf(
              UnsupportedError,
            );
            return;
          }
          const [stored, live, text] = [keeping(), keeping(), keeping()];
          await publish(service, channel, messages);
          // Another process that reads the channel as text must not change the payload of this one.
          await open({ codec: textCodec }).subscribe(channel, text.handler, { since: 'earliest' });
          await service.subscribe(channel, stored.handler, { since: 'earliest', ...stored.options });
          await service.psubscribe(`${channel}*`, live.handler);
          await publish(service, channel, messages);
          // On a Cluster the pattern may also receive messages that were published on another node just before it.
          await until('all', () => stored.got.length === 8 && live.got.length >= 4 && text.got.length === 8);
          expect([stored.got, live.got.slice(-4)]).toEqual([[...messages, ...messages], messages]);
          expect(messagesOf(await service.history(channel))).toEqual([...messages, ...messages]);
          const { channels } = await service.recover({ channels: { [channel]: '1-1' } });
          expect(channels.get(channel)?.messages.map(({ message }) => message)).toEqual([
            ...messages,
            ...messages,
          ]);
          for (const { raw } of stored.contexts) expect(Buffer.isBuffer(raw)).toBe(true);
          expect(errors).toEqual([]);
        });
      }

      test.skipIf(embedded)('as bytes and as text, for two handlers of one channel', async () => {
        const redis = fixture.client();
        const [binary, text] = [open({ redis, codec: bufferCodec }), open({ redis })];
        const channel = fresh();
        await publish(text, channel, [{ n: 1 }]);
        const [a, b] = [keeping(), keeping()];
        await Promise.all([
          text.subscribe(channel, a.handler, { since: 'earliest' }),
          binary.subscribe(channel, b.handler, { since: 'earliest' }),
        ]);
        await publish(text, channel, [{ n: 2 }]);
        await until('both', () => a.got.length === 2 && b.got.length === 2);
        expect(a.got).toEqual([{ n: 1 }, { n: 2 }]);
        expect(b.got).toEqual([Buffer.from('{"n":1}'), Buffer.from('{"n":2}')]);
      });
    });

    describe('messages()', () => {
      test('since a position with a small queue lose nothing: the rest waits in the history', async () => {
        const service = open();
        const channel = fresh();
        const gaps: Discontinuity[] = [];
        // The scripts of the embedded Redis run in JavaScript.
        const [stored, live] = embedded ? [60, 30] : [230, 150];
        await publish(service, channel, numbers(0, stored));
        for (const overflow of ['drop-oldest', 'drop-newest', 'close'] as const) {
          const stream = service.messages<number>(channel, {
            since: 'earliest',
            capacity: 3,
            overflow,
            onDiscontinuity: (gap) => gaps.push(gap),
          });
          await stream.ready;
          const got: number[] = [];
          for await (const { message } of stream) {
            got.push(message);
            if (message % 50 === 49 && message < 300) {
              await publish(service, channel, numbers(message + 1_000, message + 1_020));
            }
            if (message === stored - 1) break;
          }
          expect(got).toEqual(numbers(0, stored));
          expect(stream.dropped).toBe(0);
        }
        const stream = service.messages<number>(channel, {
          since: 'latest',
          capacity: 2,
          onDiscontinuity: (gap) => gaps.push(gap),
        });
        await stream.ready;
        // Nobody reads yet: live messages find the queue full.
        await publish(service, channel, numbers(5_000, 5_000 + live));
        await fenced(service, channel);
        const got: number[] = [];
        for await (const { message } of stream) {
          if (typeof message !== 'number') break;
          got.push(message);
        }
        expect(got).toEqual(numbers(5_000, 5_000 + live));
        expect([stream.dropped, service.stats().dropped]).toEqual([0, 0]);
        // Waiting loses nothing, so no gap is reported.
        expect(gaps).toEqual([]);
      });

      test('of several channels wait in their histories while the one queue is full', async () => {
        const service = open();
        const channels = [fresh(), fresh(), fresh()];
        const count = embedded ? 20 : 60;
        const gaps: Discontinuity[] = [];
        const stream = service.messages<number>(channels, {
          since: 'latest',
          capacity: 3,
          onDiscontinuity: (gap) => gaps.push(gap),
        });
        await stream.ready;
        for (const channel of channels) await publish(service, channel, numbers(0, count));
        for (const channel of channels) await fenced(service, channel);
        const got = new Map<string, number[]>(channels.map((channel) => [channel, []]));
        let left = channels.length;
        for await (const { message, channel } of stream) {
          if (typeof message === 'number') got.get(channel)?.push(message);
          else if (--left === 0) break;
        }
        expect([...got.values()]).toEqual(channels.map(() => numbers(0, count)));
        expect([stream.dropped, gaps]).toEqual([0, []]);
        const [position] = (await publish(service, channels[0] as string, [1])) as [Position];
        expect(() => service.messages(channels, { since: position })).toThrow(
          'since: must not be a position, which belongs to one channel of several',
        );
      });

      test('yield discontinuities in their place', async () => {
        const service = open();
        const channel = fresh();
        const [first] = (await publish(service, channel, numbers(0, 5), {
          history: { size: 2, ttl: 60_000 },
        })) as [Position];
        const reported: Discontinuity[] = [];
        const stream = service.messages<number>(channel, {
          since: first,
          discontinuities: true,
          capacity: 2,
          onDiscontinuity: (gap) => reported.push(gap),
        });
        const items: unknown[] = [];
        const take = async (count: number) => {
          while (items.length < count) {
            const { value } = await stream.next();
            items.push('message' in value ? value.message : value.discontinuity.reason);
          }
        };
        await take(3);
        expect(items).toEqual(['trimmed', 3, 4]);
        const keys = historyKeys(channel);
        await fixture.run('DEL', keys.messages, keys.lastPosition);
        await publish(service, channel, [5]);
        await publish(service, channel, [6]);
        await take(6);
        expect(items.slice(3)).toEqual(['wiped', 5, 6]);
        expect(reported.map(({ reason, recovered }) => [reason, recovered])).toEqual([
          ['trimmed', false],
          ['wiped', false],
        ]);
        await stream.return();
      });
    });

    describe('recover()', () => {
      test('returns missed messages of many channels, and reports those it cannot recover', async () => {
        const service = open();
        const base = fresh();
        const name = (text: string) => `${base}:${text}`;
        const some = (await publish(service, name('some'), numbers(0, 5))) as Position[];
        const none = (await publish(service, name('none'), numbers(0, 2))) as Position[];
        const long = (await publish(service, name('long'), numbers(0, 12))) as Position[];
        const exact = (await publish(service, name('exact'), numbers(0, 11))) as Position[];
        const trimmed = (await publish(service, name('trimmed'), numbers(0, 9), {
          history: { size: 2, ttl: 60_000 },
        })) as Position[];
        const lost = (await publish(service, name('lost'), numbers(0, 3))) as Position[];
        const back = (await publish(service, name('back'), numbers(0, 3))) as Position[];
        const streamless = (await publish(service, name('streamless'), numbers(0, 3))) as Position[];
        const keys = (text: string) => historyKeys(name(text));
        await fixture.run('DEL', keys('lost').messages, keys('lost').lastPosition);
        await fixture.run('DEL', keys('streamless').messages);
        const fork = `${timeOf(back[2]!) + 60_000_000}-3`;
        const { channels, unrecovered } = await service.recover({
          limit: 10,
          channels: {
            [name('some')]: some[1]!,
            [name('none')]: none[1]!,
            [name('long')]: long[0]!,
            [name('exact')]: exact[0]!,
            [name('trimmed')]: trimmed[0]!,
            [name('lost')]: lost[0]!,
            [name('back')]: fork,
            [name('streamless')]: streamless[0]!,
            [name('streamless at the end')]: NEVER,
          },
        });
        const found = [...channels].map(([channel, { messages, position, recovered, reason }]) => [
          channel.slice(base.length + 1),
          messages.map(({ message }) => message),
          position,
          recovered,
          reason,
        ]);
        expect(found).toEqual([
          ['some', [2, 3, 4], some[4], true, undefined],
          ['none', [], none[1], true, undefined],
          ['long', numbers(1, 11), long[10], false, 'limit'],
          ['exact', numbers(1, 11), exact[10], true, undefined],
          ['trimmed', [7, 8], trimmed[8], false, 'trimmed'],
          ['lost', [], NEVER, false, 'wiped'],
          ['back', [], back[2], false, 'forked'],
          ['streamless', [], streamless[2], false, 'trimmed'],
          ['streamless at the end', [], NEVER, true, undefined],
        ]);
        expect(unrecovered).toEqual(['long', 'trimmed', 'lost', 'back', 'streamless'].map(name));
        expect(channels.get(name('some'))?.messages[0]).toEqual({
          message: 2,
          position: some[2],
          publishedAt: new Date(timeOf(some[2]!) / 1_000),
          raw: '2',
        });
      });

      test('takes pairs, also of defined channels, and nothing at all', async () => {
        const room = defineChannel('room:{id}', { history: KEPT.history });
        const service = open();
        const id = fresh();
        const { position } = await service.publish(room({ id }), 1);
        await service.publish(room({ id }), 2);
        const { channels, unrecovered } = await service.recover({
          channels: new Map([[room({ id }), position as Position]]),
        });
        expect([...channels.keys()]).toEqual([room({ id }).name]);
        expect(channels.get(room({ id }).name)?.messages.map(({ message }) => message)).toEqual([2]);
        expect(unrecovered).toEqual([]);
        const nothing = await service.recover({ channels: {} });
        expect([nothing.channels.size, nothing.unrecovered]).toEqual([0, []]);
      });
    });

    describe('invalid calls', () => {
      test('bad positions, limits and histories are refused before anything reaches Redis', async () => {
        const service = open();
        const channel = fresh();
        const refused = async (call: () => Promise<unknown>) =>
          expect(call()).rejects.toBeInstanceOf(InvalidArgumentError);
        const positions = [
          '',
          '1',
          '-',
          '+',
          '1-',
          '-1',
          '1-1 ',
          ' 1-1',
          '1-1\n',
          'x-1',
          '１-1',
          1,
          null,
          {},
        ];
        for (const position of [...positions, `${'1'.repeat(17)}-1`, '1-12345678901', 'newest']) {
          const bad = position as Position;
          await refused(() => service.subscribe(channel, () => {}, { since: bad }));
          await refused(() => service.history(channel, { since: bad }));
          await refused(() => service.history(channel, { before: bad }));
          await refused(() => service.recover({ channels: { [channel]: bad } }));
          await expect(
            (async () => service.messages(channel, { since: bad }).ready)(),
          ).rejects.toBeInstanceOf(InvalidArgumentError);
        }
        await refused(() => service.recover({ channels: { [channel]: undefined as never } }));
        for (const limit of [0, -1, 1.5, 1_001, Number.NaN, '5', null]) {
          const bad = limit as number;
          await refused(() => service.history(channel, { limit: bad }));
          await refused(() => service.recover({ channels: {}, limit: bad }));
        }
        for (const request of [
          undefined,
          null,
          1,
          {},
          { channels: null },
          { channels: 'x' },
          { channels: [1] },
        ]) {
          await refused(() => service.recover(request as never));
        }
        await refused(() => service.recover({ channels: [['', '1-1']] }));
        for (const history of [
          null,
          1,
          {},
          { size: 1 },
          { ttl: 1 },
          { size: 0, ttl: 1 },
          { size: 1, ttl: 0 },
          { size: 1.5, ttl: 1 },
          { size: 1, ttl: '1' },
          { size: 1, ttl: Number.POSITIVE_INFINITY },
          { size: 1, ttl: 100, positionTtl: 99 },
        ]) {
          await refused(() => service.publish(channel, 1, { history: history as never }));
        }
        await refused(() => service.history('' as string));
        await refused(() => service.history(channel, null as never));
        expect(service.stats()).toMatchObject({ handlers: 0, channels: 0, published: 0 });
        expect((await service.history(channel)).position).toBe(NEVER);
      });

      test('sharded channels have histories, or are rejected with the reason', async () => {
        const service = open();
        const channel = fresh('{tag}');
        const one = keeping();
        const sharded = { ...KEPT, sharded: true };
        if (embedded) {
          await expect(service.publish(channel, 1, sharded)).rejects.toBeInstanceOf(UnsupportedError);
          return;
        }
        for (const name of [channel, fresh('plain'), fresh('odd}')]) {
          await publish(service, name, [1, 2], sharded);
          const two = keeping();
          await service.subscribe(name, two.handler, { since: 'earliest', sharded: true, ...two.options });
          await publish(service, name, [3], sharded);
          await until('all', () => two.got.length === 3);
          expect([two.got, two.gaps]).toEqual([[1, 2, 3], []]);
          expect(messagesOf(await service.history(name))).toEqual([1, 2, 3]);
        }
        expect(one.got).toEqual([]);
      });
    });

    describe('defined channels', () => {
      const transforming = z.object({ at: z.string().transform((text) => text.length) });

      test('keep what they are defined to keep, and begin with the next message', async () => {
        const chat = defineChannel('chat:{room}', {
          schema: z.object({ text: z.string() }),
          history: { size: 2, ttl: 60_000 },
        });
        const service = open();
        const room = chat({ room: fresh('a:b{c}') });
        const [latest, all, loop] = [keeping(), keeping(), service.messages(room)];
        const before = await service.publish(room, { text: '1' });
        expect(before.position).toMatch(POSITION);
        await service.subscribe(room, latest.handler);
        await service.subscribe(room, all.handler, { since: 'earliest' });
        await loop.ready;
        for (const text of ['2', '3', '4']) await service.publish(room, { text });
        await until('all', () => latest.got.length === 3 && all.got.length === 4);
        expect(latest.got).toEqual([{ text: '2' }, { text: '3' }, { text: '4' }]);
        expect(latest.contexts[0]?.channel).toBe(room.name);
        expect(chat.parse(room.name)).toEqual({ room: expect.stringContaining('a:b{c}') });
        expect(messagesOf(await service.history(room))).toEqual([{ text: '3' }, { text: '4' }]);
        await expect(service.publish(room, { text: 5 } as never)).rejects.toBeInstanceOf(SchemaError);
        await expect(service.publish(room, { text: '5' }, KEPT)).rejects.toBeInstanceOf(InvalidArgumentError);
        expect((await service.history(room)).messages).toHaveLength(2);
        await loop.return();
      });

      test.skipIf(embedded)('are followed through a reconnect, also before the first message', async () => {
        const news = defineChannel('news:{id}', { history: KEPT.history });
        const service = open();
        const channel = news({ id: fresh() });
        const [defined, named] = [keeping(), keeping()];
        await service.publish(channel, 'before');
        await service.subscribe(channel, defined.handler, defined.options);
        await open().subscribe(channel.name, named.handler, named.options);
        await fixture.run('CLIENT', 'KILL', 'TYPE', 'pubsub');
        await until('both gaps', () => defined.gaps.length > 0 && named.gaps.length > 0);
        const recovered = ({ gaps }: { gaps: Discontinuity[] }) => gaps.map((gap) => gap.recovered);
        expect([defined.got, recovered(defined)]).toEqual([[], [true]]);
        // A handler without a place in the history, as in another process, cannot know. On a Cluster the message before may
        // have reached it, and given it a place.
        if (!lateDelivery) expect([named.got, recovered(named)]).toEqual([[], [false]]);
      });

      test('apply their schema once: where it is published, or at both ends', async () => {
        const service = open();
        const id = fresh();
        const atPublish = defineChannel('p:{id}', { schema: transforming, history: KEPT.history });
        const atBoth = defineChannel('b:{id}', {
          schema: transforming,
          validate: 'both',
          history: KEPT.history,
        });
        for (const [channel, kept] of [
          [atPublish({ id }), { at: 5 }],
          [atBoth({ id }), { at: 'three' }],
        ] as const) {
          const [live, stored, raw] = [keeping(), keeping(), keeping()];
          await service.subscribe(channel, live.handler);
          await service.subscribe(channel, raw.handler, { raw: true });
          await service.publish(channel, { at: 'three' });
          await service.subscribe(channel, stored.handler, { since: 'earliest' });
          await until('both', () => live.got.length === 1 && stored.got.length === 1);
          expect([live.got, stored.got]).toEqual([[{ at: 5 }], [{ at: 5 }]]);
          expect(raw.got).toEqual([JSON.stringify(kept)]);
          expect(messagesOf(await service.history(channel))).toEqual([{ at: 5 }]);
        }
        // What another program appends is checked, too.
        await service.publish(atBoth({ id }).name, { at: 1 }, KEPT);
        expect(messagesOf(await service.history(atBoth({ id })))).toEqual([{ at: 5 }]);
        // The two live handlers, and history; the raw one looks at nothing.
        await until('the reports', () => errors.length === 2);
        for (const [, context] of errors) {
          expect(context).toEqual({ stage: 'decode', channel: atBoth({ id }).name });
        }
      });

      test.skipIf(embedded)('have a codec of their own', async () => {
        const files = defineChannel<Uint8Array>()('files:{id}', {
          codec: bufferCodec,
          history: KEPT.history,
        });
        const service = open();
        const channel = files({ id: fresh() });
        const one = keeping();
        await service.publish(channel, Buffer.from([0, 255]));
        await service.subscribe(channel, one.handler, { since: 'earliest' });
        await service.publish(channel, Buffer.from([254]));
        await until('both', () => one.got.length === 2);
        expect(one.got).toEqual([Buffer.from([0, 255]), Buffer.from([254])]);
      });

      test.skipIf(!embedded)('of bytes with history are refused', async () => {
        const files = defineChannel<Uint8Array>()('files:{id}', {
          codec: bufferCodec,
          history: KEPT.history,
        });
        const service = open();
        const channel = files({ id: fresh() });
        for (const call of [
          () => service.publish(channel, Buffer.from([0])),
          () => service.subscribe(channel, () => {}),
          () => service.history(channel),
        ]) {
          await expect(call()).rejects.toBeInstanceOf(UnsupportedError);
        }
      });
    });

    test('subscriptions are released in every state', async () => {
      const service = open();
      const channel = fresh();
      await publish(service, channel, numbers(0, 120));
      const subscribed: Promise<Subscription>[] = [];
      for (const since of ['earliest', 'latest', NEVER] as const) {
        subscribed.push(service.subscribe(channel, () => {}, { since }));
      }
      const [first] = await Promise.all(subscribed);
      await first?.unsubscribe();
      await service.close();
      expect(service.stats()).toMatchObject({ handlers: 0, channels: 0 });
      const later = open();
      expect((await later.publish(channel, 1, KEPT)).receivers).toBe(0);
    });
  });
}
