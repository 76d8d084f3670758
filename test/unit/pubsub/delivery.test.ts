import { beforeEach, describe, expect, test, vi } from 'vitest';
import { type Codec, jsonCodec } from '../../../src/internal/codec.js';
import { type ErrorContext, ErrorReporter } from '../../../src/internal/diagnostics.js';
import { DecodeError, HandlerError, type RollcallError } from '../../../src/internal/errors.js';
import { Delivery, type MessageSource } from '../../../src/pubsub/delivery.js';
import { HandlerSubscription } from '../../../src/pubsub/handler-subscription.js';
import type { MessageContext } from '../../../src/pubsub/message-context.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import { turn } from '../../support/fake-clock.js';

const channel = (name: string): MessageSource => ({ kind: 'channel', name, binary: false });
const pattern = (name: string): MessageSource => ({ kind: 'pattern', name, binary: false });

/** Delivers to one handler, as the handler list does to all. */
function give(delivery: Delivery, member: HandlerSubscription): void {
  delivery.callAll(member.format, [member.callback]);
}

let reports: [RollcallError, ErrorContext][];
let decoded: string[];
let codec: Codec;

beforeEach(() => {
  reports = [];
  decoded = [];
  codec = {
    encode: jsonCodec.encode,
    decode: (payload) => {
      decoded.push(payload);
      return jsonCodec.decode(payload);
    },
  };
});

const reporter = () => new ErrorReporter((error, context) => reports.push([error, context]));
const serviceOf = (prefix = '') => new ServiceContext(reporter(), prefix);

function keeping(service: ServiceContext, raw = false, its = codec) {
  const got: [unknown, MessageContext][] = [];
  const member = new HandlerSubscription(service, (message, context) => got.push([message, context]), {
    codec: its,
    raw,
  });
  return { member, got };
}

describe('decoding', () => {
  test('a message is decoded once for all handlers, also of several services with one codec', () => {
    const members = [serviceOf(), serviceOf()].flatMap((service) => [
      keeping(service),
      keeping(service, true),
      keeping(service),
    ]);
    const delivery = new Delivery(channel('x'), 'x', '{"a":1}');
    for (const { member } of members) give(delivery, member);
    expect(decoded).toEqual(['{"a":1}']);
    expect(members.map(({ got }) => got[0]?.[0])).toEqual([
      { a: 1 },
      '{"a":1}',
      { a: 1 },
      { a: 1 },
      '{"a":1}',
      { a: 1 },
    ]);
  });

  test('a message is not decoded if every handler is raw', () => {
    const service = serviceOf();
    const delivery = new Delivery(channel('x'), 'x', 'not JSON at all');
    for (let at = 0; at < 3; at++) give(delivery, keeping(service, true).member);
    expect(decoded).toEqual([]);
    expect(reports).toEqual([]);
  });

  test('each codec decodes once', () => {
    const upper: Codec = { encode: String, decode: (payload) => payload.toUpperCase() };
    const one = keeping(serviceOf());
    const two = keeping(serviceOf(), false, upper);
    const delivery = new Delivery(channel('x'), 'x', '"a"');
    give(delivery, one.member);
    give(delivery, two.member);
    expect([one.got[0]?.[0], two.got[0]?.[0]]).toEqual(['a', '"A"']);
  });

  test('a payload that does not decode is reported once, with its channel; raw handlers get it', () => {
    const service = serviceOf();
    const plain = [keeping(service), keeping(service)];
    const raw = keeping(service, true);
    const delivery = new Delivery(channel('x'), 'x', '{oops');
    for (const { member } of [plain[0]!, raw, plain[1]!]) give(delivery, member);
    expect(decoded).toEqual(['{oops']);
    expect(reports).toHaveLength(1);
    const [error, context] = reports[0]!;
    expect(error).toBeInstanceOf(DecodeError);
    expect(error.cause).toBeInstanceOf(SyntaxError);
    expect(context).toEqual({ stage: 'decode', channel: 'x' });
    expect(plain.flatMap(({ got }) => got)).toEqual([]);
    expect(raw.got[0]?.[0]).toBe('{oops');
    expect(service).toMatchObject({ received: 1, delivered: 1, undecodable: 1, failed: 0 });
  });

  test('null, false and a decoded undefined are messages', () => {
    const odd: Codec = { encode: String, decode: () => undefined };
    for (const [its, payload, expected] of [
      [codec, 'null', null],
      [codec, 'false', false],
      [odd, '', undefined],
    ] as const) {
      const { member, got } = keeping(serviceOf(), false, its);
      give(new Delivery(channel('x'), 'x', payload), member);
      expect(got.map(([message]) => message)).toEqual([expected]);
    }
  });
});

describe('context', () => {
  test('the context of a channel has the channel only', () => {
    const { member, got } = keeping(serviceOf());
    give(new Delivery(channel('x'), 'x', '1'), member);
    expect(got[0]?.[1]).toEqual({ channel: 'x', raw: '1' });
  });

  test('the context of a pattern has the pattern too', () => {
    const { member, got } = keeping(serviceOf());
    give(new Delivery(pattern('x*'), 'xy', '1'), member);
    expect(got[0]?.[1]).toEqual({ channel: 'xy', pattern: 'x*', raw: '1' });
  });

  test('the context of a message with history has its position', () => {
    const { member, got } = keeping(serviceOf());
    give(new Delivery(channel('x'), 'x', '1', '5-1'), member);
    expect(got[0]?.[1]).toEqual({ channel: 'x', position: '5-1', raw: '1' });
  });

  test('the context has bytes for a binary codec and text for a text codec, for either form from Redis', () => {
    const bytes: Codec = { binary: true, encode: () => Buffer.of(), decode: (payload) => payload.length };
    for (const payload of ['"é"', Buffer.from('"é"')]) {
      const service = serviceOf();
      const delivery = new Delivery(channel('x'), 'x', payload);
      const all = [false, true].flatMap((raw) => [keeping(service, raw), keeping(service, raw, bytes)]);
      for (const { member } of all) give(delivery, member);
      const [text, length, rawText, rawBytes] = all.map(({ got }) => got[0]!);
      expect([text![0], length![0], rawText![0], rawBytes![0]]).toEqual(['é', 4, '"é"', Buffer.from('"é"')]);
      expect([text![1].raw, length![1].raw]).toEqual(['"é"', Buffer.from('"é"')]);
      expect(service).toMatchObject({ received: 1, delivered: 4 });
    }
  });

  test('the context has no prefix, also where it is escaped in a pattern', () => {
    const { member, got } = keeping(serviceOf('app-1.'));
    give(new Delivery(channel('app-1.x'), 'app-1.x', '1'), member);
    give(new Delivery(pattern('app\\-1.x*'), 'app-1.xy', '1'), member);
    expect(got.map(([, context]) => context)).toEqual([
      { channel: 'x', raw: '1' },
      { channel: 'xy', pattern: 'x*', raw: '1' },
    ]);
  });

  test('services with different prefixes on one name each see their own', () => {
    const one = keeping(serviceOf());
    const two = keeping(serviceOf('a:'));
    const delivery = new Delivery(channel('a:b'), 'a:b', '1');
    for (const { member } of [one, two, one]) give(delivery, member);
    expect(one.got.map(([, { channel }]) => channel)).toEqual(['a:b', 'a:b']);
    expect(two.got.map(([, { channel }]) => channel)).toEqual(['b']);
  });
});

describe('isolation', () => {
  const failing = (service: ServiceContext, fail: () => unknown) =>
    new HandlerSubscription(service, fail, { codec });

  test('an error of a handler is reported and does not affect other handlers', () => {
    const service = serviceOf();
    const cause = new Error('mine');
    const other = keeping(service);
    const delivery = new Delivery(pattern('*'), 'x', '1');
    give(
      delivery,
      failing(service, () => {
        throw cause;
      }),
    );
    give(delivery, other.member);
    expect(other.got).toHaveLength(1);
    expect(reports).toHaveLength(1);
    expect(reports[0]![0]).toBeInstanceOf(HandlerError);
    expect(reports[0]![0].cause).toBe(cause);
    expect(reports[0]![1]).toEqual({ stage: 'handler', channel: 'x', pattern: '*' });
    expect(service).toMatchObject({ delivered: 2, failed: 1 });
  });

  test.each([[undefined], [null], ['text'], [Symbol('s')], [{ message: 1 }]])(
    'a handler may throw any value (%#)',
    (thrown) => {
      const service = serviceOf();
      const delivery = new Delivery(channel('x'), 'x', '1');
      give(
        delivery,
        failing(service, () => {
          throw thrown;
        }),
      );
      expect(reports[0]![0].cause).toBe(thrown);
    },
  );

  test('a rejection is reported, and running counts while it is open', async () => {
    const service = serviceOf();
    let reject!: (error: Error) => void;
    const delivery = new Delivery(channel('x'), 'x', '1');
    give(
      delivery,
      failing(
        service,
        () =>
          new Promise((_, no) => {
            reject = no;
          }),
      ),
    );
    expect(service.running).toBe(1);
    reject(new Error('later'));
    await turn();
    expect(service).toMatchObject({ running: 0, failed: 1 });
    expect(reports[0]![1]).toEqual({ stage: 'handler', channel: 'x' });
  });

  test('a promise that resolves is not reported', async () => {
    const service = serviceOf();
    give(
      new Delivery(channel('x'), 'x', '1'),
      failing(service, async () => 'fine'),
    );
    await turn();
    expect(service).toMatchObject({ running: 0, failed: 0, delivered: 1 });
    expect(reports).toEqual([]);
  });

  test('an object whose `then` throws is reported', () => {
    const service = serviceOf();
    const hostile = {
      // biome-ignore lint/suspicious/noThenProperty: the test needs a `then` that throws
      get then() {
        throw new Error('hostile');
      },
    };
    give(
      new Delivery(channel('x'), 'x', '1'),
      failing(service, () => hostile),
    );
    expect(reports).toHaveLength(1);
  });

  test('onError may throw or reject', async () => {
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    try {
      for (const listener of [
        () => {
          throw new Error('in onError');
        },
        () => Promise.reject(new Error('in onError')),
      ]) {
        const service = new ServiceContext(new ErrorReporter(listener as () => void));
        give(new Delivery(channel('x'), 'x', '{oops'), keeping(service).member);
        give(
          new Delivery(channel('x'), 'x', '1'),
          failing(service, () => Promise.reject(new Error('a'))),
        );
      }
      await turn();
      await turn();
      expect(unhandled).not.toHaveBeenCalled();
    } finally {
      process.off('unhandledRejection', unhandled);
    }
  });

  test('an error of onDiscontinuity is reported', async () => {
    const gap = { reason: 'reconnected', since: new Date(0), recovered: false } as const;
    const service = serviceOf();
    const onDiscontinuity = vi.fn(() => {
      throw new Error('mine');
    });
    service.callDiscontinuityListener(onDiscontinuity, gap, 'x');
    service.callDiscontinuityListener(undefined, gap, 'x');
    service.callDiscontinuityListener(() => Promise.reject(new Error('mine')), gap, 'y');
    await turn();
    expect(onDiscontinuity).toHaveBeenCalledWith(gap);
    expect(reports.map(([, context]) => context)).toEqual([
      { stage: 'handler', channel: 'x' },
      { stage: 'handler', channel: 'y' },
    ]);
  });
});
