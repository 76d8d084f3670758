import { beforeEach, describe, expect, test } from 'vitest';
import { type BinaryCodec, jsonCodec } from '../../../src/internal/codec.js';
import { type ErrorContext, ErrorReporter } from '../../../src/internal/diagnostics.js';
import { CommandError, ConnectionError, type RollcallError } from '../../../src/internal/errors.js';
import type { Discontinuity } from '../../../src/pubsub/discontinuity.js';
import { HandlerSubscription } from '../../../src/pubsub/handler-subscription.js';
import type { RawHandler } from '../../../src/pubsub/message-context.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import { SubscriptionManager } from '../../../src/pubsub/subscription-manager.js';
import { SharedClient } from '../../../src/redis/client-handle.js';
import type { SubscriptionKind } from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';
import { type Arbitrary, fc } from '../../support/property.js';

let driver: FakeDriver;
let clock: FakeClock;
let client: SharedClient;
let hub: SubscriptionManager;
let service: ServiceContext;
let reports: [RollcallError, ErrorContext][];

beforeEach(() => {
  driver = new FakeDriver();
  clock = new FakeClock();
  client = new SharedClient(driver, () => {});
  hub = new SubscriptionManager(client, clock);
  reports = [];
  service = new ServiceContext(new ErrorReporter((error, context) => reports.push([error, context])));
});

/** JSON, encoded as bytes. */
const bytesCodec: BinaryCodec = {
  binary: true,
  encode: (message) => Buffer.from(jsonCodec.encode(message) as string),
  decode: (payload) => JSON.parse(payload.toString()),
};

function memberFor(handler: RawHandler, onDiscontinuity?: (gap: Discontinuity) => void): HandlerSubscription {
  return new HandlerSubscription(service, handler, { codec: jsonCodec, onDiscontinuity });
}

/** A handler that records its messages and gaps. */
function listener({ binary = false, its = service } = {}) {
  const got: unknown[] = [];
  const gaps: Discontinuity[] = [];
  const member = new HandlerSubscription(its, (message) => got.push(message), {
    codec: binary ? bytesCodec : jsonCodec,
    onDiscontinuity: (gap) => gaps.push(gap),
  });
  return { member, got, gaps };
}

/** The current state of `promise`. */
function watch(promise: Promise<unknown>): { state: 'pending' | 'done' | 'failed'; error?: unknown } {
  const watched: { state: 'pending' | 'done' | 'failed'; error?: unknown } = { state: 'pending' };
  promise.then(
    () => {
      watched.state = 'done';
    },
    (error) => {
      watched.state = 'failed';
      watched.error = error;
    },
  );
  return watched;
}

async function joined(kind: SubscriptionKind, name: string, options?: Parameters<typeof listener>[0]) {
  const one = listener(options);
  const done = hub.subscribe(kind, name, one.member);
  await turn();
  for (const call of driver.pending) call.ack();
  await done;
  return one;
}

const empty = { channel: 0, pattern: 0, sharded: 0 };

describe('subscribing and unsubscribing', () => {
  test('subscribe resolves only when Redis has confirmed', async () => {
    const { member } = listener();
    const done = watch(hub.subscribe('channel', 'news', member));
    await turn();
    expect(driver.only).toMatchObject({ method: 'subscribe', kind: 'channel', names: ['news'] });
    expect(done.state).toBe('pending');
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
  });

  test('1,000 handlers share one SUBSCRIBE, and the last to unsubscribe sends one UNSUBSCRIBE', async () => {
    const members = Array.from({ length: 1_000 }, () => listener().member);
    const all = Promise.all(members.map((member) => hub.subscribe('channel', 'news', member)));
    await turn();
    driver.only.ack();
    await all;
    const last = members.pop()!;
    await Promise.all(members.map((member) => hub.unsubscribe('channel', 'news', member)));
    expect(driver.calls).toHaveLength(1);
    const unsubscribed = watch(hub.unsubscribe('channel', 'news', last));
    await turn();
    expect(driver.only).toMatchObject({ method: 'unsubscribe', names: ['news'] });
    expect(unsubscribed.state).toBe('pending');
    driver.only.ack();
    await turn();
    expect(unsubscribed.state).toBe('done');
    expect(driver.calls).toHaveLength(2);
    expect(hub.sizes).toEqual(empty);
  });

  test('names of one turn of the event loop are sent in one command per kind', async () => {
    for (const name of ['a', 'b', 'c']) {
      void hub.subscribe('channel', name, listener().member);
      void hub.subscribe('pattern', name, listener().member);
      // As between the data of two connections.
      await new Promise<void>((resolve) => process.nextTick(resolve));
    }
    await turn();
    expect(driver.calls.map(({ kind, names }) => [kind, names])).toEqual([
      ['channel', ['a', 'b', 'c']],
      ['pattern', ['a', 'b', 'c']],
    ]);
  });

  test('names are sent before the next command of the client, also within the turn', async () => {
    void hub.subscribe('channel', 'a', listener().member);
    void client.execute([['PUBLISH', 'a', '"first"']]);
    void hub.subscribe('channel', 'b', listener().member);
    await turn();
    expect(driver.calls.map(({ method, names }) => [method, names])).toEqual([
      ['subscribe', ['a']],
      ['execute', []],
      ['subscribe', ['b']],
    ]);
  });

  test('a channel, a pattern and a sharded channel of one name are separate subscriptions', async () => {
    const channel = await joined('channel', 'x');
    const pattern = await joined('pattern', 'x');
    const sharded = await joined('sharded', 'x');
    expect(hub.sizes).toEqual({ channel: 1, pattern: 1, sharded: 1 });
    driver.message('pattern', 'x', '1');
    driver.message('channel', 'x', '2');
    driver.message('sharded', 'x', '3');
    expect([channel.got, pattern.got, sharded.got]).toEqual([[2], [1], [3]]);
    void hub.unsubscribe('pattern', 'x', pattern.member);
    await turn();
    driver.only.ack();
    driver.message('pattern', 'x', '4');
    driver.message('channel', 'x', '5');
    expect([channel.got, pattern.got]).toEqual([[2, 5], [1]]);
  });

  test.each(['__proto__', 'constructor', 'toString', ''])('%j is a valid name', async (name) => {
    const one = await joined('channel', name);
    driver.message('channel', name, '1');
    expect(one.got).toEqual([1]);
  });

  test('the same function subscribed twice is two handlers', async () => {
    const got: unknown[] = [];
    const handler = (message: unknown) => got.push(message);
    const first = memberFor(handler);
    const second = memberFor(handler);
    const done = Promise.all([hub.subscribe('channel', 'x', first), hub.subscribe('channel', 'x', second)]);
    await turn();
    driver.only.ack();
    await done;
    driver.message('channel', 'x', '1');
    expect(got).toEqual([1, 1]);
    await hub.unsubscribe('channel', 'x', first);
    driver.message('channel', 'x', '2');
    expect(got).toEqual([1, 1, 2]);
  });

  test('subscribing while UNSUBSCRIBE is in flight waits for it, then subscribes again', async () => {
    const first = await joined('channel', 'x');
    const unsubscribed = watch(hub.unsubscribe('channel', 'x', first.member));
    await turn();
    const unsubscribe = driver.only;
    const second = listener();
    const done = watch(hub.subscribe('channel', 'x', second.member));
    await turn();
    expect(driver.pending).toEqual([unsubscribe]);
    unsubscribe.ack();
    await turn();
    expect(unsubscribed.state).toBe('done');
    expect(done.state).toBe('pending');
    expect(driver.only.method).toBe('subscribe');
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
    driver.message('channel', 'x', '1');
    expect([first.got, second.got]).toEqual([[], [1]]);
  });

  test('unsubscribing while SUBSCRIBE is in flight sends UNSUBSCRIBE after it', async () => {
    const { member } = listener();
    void hub.subscribe('channel', 'x', member);
    await turn();
    const unsubscribed = watch(hub.unsubscribe('channel', 'x', member));
    expect(driver.only.method).toBe('subscribe');
    driver.only.ack();
    await turn();
    expect(unsubscribed.state).toBe('pending');
    expect(driver.only.method).toBe('unsubscribe');
    driver.only.ack();
    await turn();
    expect(unsubscribed.state).toBe('done');
    expect(hub.sizes).toEqual(empty);
  });

  test('unsubscribing twice, or without a subscription, does nothing', async () => {
    const { member } = await joined('channel', 'x');
    const other = await joined('channel', 'x');
    await hub.unsubscribe('channel', 'x', member);
    await hub.unsubscribe('channel', 'x', member);
    await hub.unsubscribe('channel', 'y', listener().member);
    driver.message('channel', 'x', '1');
    expect(other.got).toEqual([1]);
    expect(driver.pending).toEqual([]);
  });
});

describe('refusals', () => {
  test('a refused SUBSCRIBE rejects all waiting handlers and leaves no state', async () => {
    const one = listener();
    const two = listener();
    const first = watch(hub.subscribe('channel', 'x', one.member));
    const second = watch(hub.subscribe('channel', 'x', two.member));
    await turn();
    driver.only.refuse();
    await turn();
    expect(first.error).toBeInstanceOf(CommandError);
    expect(second.error).toBeInstanceOf(CommandError);
    expect(hub.sizes).toEqual(empty);
    driver.message('channel', 'x', '1');
    expect([one.got, two.got]).toEqual([[], []]);
    // The next subscription starts without earlier state.
    const third = await joined('channel', 'x');
    driver.message('channel', 'x', '2');
    expect(third.got).toEqual([2]);
  });

  test('unsubscribing after a refusal does not affect later handlers', async () => {
    const refused = listener();
    const first = watch(hub.subscribe('channel', 'x', refused.member));
    await turn();
    driver.only.refuse();
    await turn();
    expect(first.state).toBe('failed');
    const second = await joined('channel', 'x');
    await hub.unsubscribe('channel', 'x', refused.member);
    await turn();
    expect(driver.pending).toEqual([]);
    driver.message('channel', 'x', '1');
    expect([refused.got, second.got]).toEqual([[], [1]]);
  });

  test('one refused name does not affect the others of its batch', async () => {
    const states = ['a', 'b', 'c'].map((name) => watch(hub.subscribe('channel', name, listener().member)));
    await turn();
    driver.only.refuse();
    await turn();
    expect(driver.pending.map(({ names }) => names)).toEqual([['a'], ['b'], ['c']]);
    for (const call of driver.pending) {
      if (call.names[0] === 'b') call.refuse();
      else call.ack();
    }
    await turn();
    expect(states.map(({ state }) => state)).toEqual(['done', 'failed', 'done']);
    expect(hub.sizes).toEqual({ ...empty, channel: 2 });
    expect(driver.breaches).toEqual([]);
  });

  test('a refused UNSUBSCRIBE rejects `unsubscribe`, and the handler is not called', async () => {
    const one = await joined('channel', 'x');
    const unsubscribed = watch(hub.unsubscribe('channel', 'x', one.member));
    await turn();
    driver.only.refuse();
    await turn();
    expect(unsubscribed.error).toBeInstanceOf(CommandError);
    driver.message('channel', 'x', '1');
    expect(one.got).toEqual([]);
    expect(hub.sizes).toEqual(empty);
  });
});

describe('connections', () => {
  /** Fails the SUBSCRIBE in flight `times` in a row, and waits for the next one each time. */
  async function waits(times: number): Promise<number[]> {
    const waited: number[] = [];
    for (let time = 0; time < times; time++) {
      driver.only.interrupt();
      await turn();
      let ms = 0;
      for (; driver.pending.length === 0; ms++) {
        clock.advance(1);
        await turn();
      }
      waited.push(ms);
    }
    return waited;
  }

  test('SUBSCRIBE is retried after a delay without a connection', async () => {
    const done = watch(hub.subscribe('channel', 'x', listener().member));
    await turn();
    expect(await waits(1)).toEqual([25]);
    expect(done.state).toBe('pending');
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
    expect(clock.timers).toBe(0);
  });

  test('the delay between retries grows to a limit, and is reset by a success', async () => {
    await joined('channel', 'x');
    driver.drop();
    clock.advance(25);
    await turn();
    expect(await waits(9)).toEqual([50, 100, 200, 400, 800, 1_600, 2_500, 2_500, 2_500]);
    driver.only.ack();
    await turn();
    driver.drop();
    clock.advance(25);
    await turn();
    expect(driver.only.names).toEqual(['x']);
  });

  test('the delay between retries has jitter', async () => {
    clock.chance = 0;
    void hub.subscribe('channel', 'x', listener().member);
    await turn();
    driver.only.interrupt();
    await turn();
    clock.advance(0);
    await turn();
    expect(driver.only.method).toBe('subscribe');
    clock.chance = 0.99;
    driver.only.interrupt();
    await turn();
    clock.advance(98);
    await turn();
    expect(driver.pending).toEqual([]);
    clock.advance(2);
    await turn();
    expect(driver.only.method).toBe('subscribe');
  });

  test('SUBSCRIBE is retried at once when the command connection is ready', async () => {
    const done = watch(hub.subscribe('channel', 'x', listener().member));
    await turn();
    driver.only.interrupt('failed');
    await turn();
    driver.connection('ready');
    await turn();
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
    expect(clock.timers).toBe(0);
  });

  test('all subscriptions of a lost connection are restored together', async () => {
    for (const name of ['a', 'b', 'c']) await joined('channel', name);
    await joined('pattern', 'a*');
    driver.drop();
    await turn();
    expect(driver.pending).toEqual([]);
    clock.advance(25);
    await turn();
    expect(driver.pending.map(({ method, kind, names }) => [method, kind, names])).toEqual([
      ['subscribe', 'channel', ['a', 'b', 'c']],
      ['subscribe', 'pattern', ['a*']],
    ]);
  });

  test('a handler that unsubscribes without a connection leaves nothing to subscribe', async () => {
    const { member } = listener();
    void hub.subscribe('channel', 'x', member);
    await turn();
    driver.only.interrupt();
    await turn();
    const unsubscribed = watch(hub.unsubscribe('channel', 'x', member));
    await turn();
    expect(unsubscribed.state).toBe('done');
    expect(hub.sizes).toEqual(empty);
    driver.connection('ready');
    clock.advance(10_000);
    await turn();
    expect(driver.pending).toEqual([]);
    expect(clock.timers).toBe(0);
  });

  test('a handler that unsubscribes just before the retry leaves nothing to subscribe', async () => {
    const { member } = await joined('channel', 'x');
    driver.drop();
    clock.advance(25);
    const unsubscribed = watch(hub.unsubscribe('channel', 'x', member));
    for (let round = 0; round < 3; round++) {
      await turn();
      for (const call of driver.pending) call.ack();
    }
    expect(unsubscribed.state).toBe('done');
    expect(driver.known.size).toBe(0);
    expect(hub.sizes).toEqual(empty);
  });

  test('a lost connection is announced once to every handler when it is over', async () => {
    const channel = await joined('channel', 'x');
    const pattern = await joined('pattern', 'x*');
    const since = new Date(clock.now());
    driver.drop();
    clock.advance(3_000);
    await turn();
    expect(channel.gaps).toEqual([]);
    for (const call of driver.pending) call.ack();
    await turn();
    const gap = { reason: 'reconnected', since, recovered: false };
    expect(channel.gaps).toEqual([gap]);
    expect(pattern.gaps).toEqual([gap]);
    driver.message('channel', 'x', '1');
    expect(channel.got).toEqual([1]);
  });

  test('a gap begins at the last message on the connection, of any channel', async () => {
    const [x] = [await joined('channel', 'x'), await joined('pattern', 'y*')];
    await joined('sharded', 'z');
    clock.advance(1_000);
    driver.message('pattern', 'y*', '1', 'yes');
    const since = new Date(clock.now());
    clock.advance(1_000);
    driver.message('sharded', 'z', '1');
    clock.advance(1_000);
    driver.drop();
    clock.advance(25);
    await turn();
    for (const call of driver.pending) call.ack();
    await turn();
    expect(x.gaps).toEqual([{ reason: 'reconnected', since, recovered: false }]);
  });

  test('connections lost before the confirmation are one gap with the first', async () => {
    const { gaps } = await joined('channel', 'x');
    const since = new Date(clock.now());
    driver.drop();
    for (let round = 0; round < 3; round++) {
      clock.advance(1_000);
      await turn();
      driver.drop();
      await turn();
    }
    clock.advance(1_000);
    await turn();
    driver.only.ack();
    await turn();
    expect(gaps).toEqual([{ reason: 'reconnected', since, recovered: false }]);
    clock.advance(1_000);
    driver.drop();
    clock.advance(25);
    await turn();
    driver.only.ack();
    await turn();
    expect(gaps.map(({ since: when }) => when.getTime() - since.getTime())).toEqual([0, 4_000]);
  });

  test('a subscription ended by Redis is a gap with the reason `withdrawn`', async () => {
    const { gaps } = await joined('sharded', 'x');
    driver.drop(new CommandError('the slot has moved'));
    clock.advance(25);
    await turn();
    driver.only.ack();
    await turn();
    expect(gaps).toMatchObject([{ reason: 'withdrawn', recovered: false }]);
  });

  test('the command connection and the first connection cause no gap', async () => {
    driver.connection('ready');
    const one = await joined('channel', 'x');
    driver.connection('lost');
    driver.connection('ready');
    await turn();
    expect(one.gaps).toEqual([]);
    expect(driver.calls).toHaveLength(1);
  });

  test('losing the connection for sharded channels concerns only those', async () => {
    const channel = await joined('channel', 'x');
    const sharded = await joined('sharded', 'x');
    driver.drop(new ConnectionError('gone'), 'sharded');
    clock.advance(25);
    await turn();
    expect(driver.only.kind).toBe('sharded');
    driver.only.ack();
    await turn();
    expect([channel.gaps.length, sharded.gaps.length]).toEqual([0, 1]);
  });

  test('a handler can unsubscribe when notified of a gap without affecting others', async () => {
    const second = listener();
    const first = memberFor(
      () => {},
      () => {
        void hub.unsubscribe('channel', 'x', second.member);
        throw new Error('mine');
      },
    );
    const third = listener();
    const done = Promise.all(
      [first, second.member, third.member].map((m) => hub.subscribe('channel', 'x', m)),
    );
    await turn();
    driver.only.ack();
    await done;
    driver.drop();
    clock.advance(25);
    await turn();
    driver.only.ack();
    await turn();
    expect([second.gaps.length, third.gaps.length]).toEqual([0, 1]);
    expect(reports.map(([, context]) => context)).toEqual([{ stage: 'handler', channel: 'x' }]);
  });

  test('a connection lost while UNSUBSCRIBE is in flight ends the subscription', async () => {
    const one = await joined('channel', 'x');
    const unsubscribed = watch(hub.unsubscribe('channel', 'x', one.member));
    await turn();
    driver.drop();
    await turn();
    expect(unsubscribed.state).toBe('done');
    expect(hub.sizes).toEqual(empty);
    clock.advance(10_000);
    await turn();
    expect(driver.pending).toEqual([]);
  });

  test('a handler that subscribed before the connection was lost under UNSUBSCRIBE is subscribed, without a gap', async () => {
    const one = await joined('channel', 'x');
    void hub.unsubscribe('channel', 'x', one.member);
    await turn();
    const two = listener();
    const done = watch(hub.subscribe('channel', 'x', two.member));
    driver.drop();
    await turn();
    clock.advance(25);
    await turn();
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
    expect(two.gaps).toEqual([]);
  });

  test('a connection lost together with the confirmation is noticed', async () => {
    const one = listener();
    const done = watch(hub.subscribe('channel', 'x', one.member));
    await turn();
    driver.only.ack();
    driver.drop();
    await turn();
    clock.advance(25);
    await turn();
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
    expect(driver.known).toContain('channel x');
  });

  test('a handler that subscribes after all others have left is not notified of an earlier gap', async () => {
    const one = await joined('channel', 'x');
    driver.drop();
    clock.advance(25);
    await turn();
    void hub.unsubscribe('channel', 'x', one.member);
    const two = listener();
    void hub.subscribe('channel', 'x', two.member);
    driver.only.ack();
    await turn();
    expect(driver.known).toContain('channel x');
    expect(two.gaps).toEqual([]);
  });
});

describe('a refusal after a gap', () => {
  /** Refuses all pending calls. */
  async function refused(): Promise<void> {
    await turn();
    for (const call of driver.pending) call.refuse();
    await turn();
  }

  test('a refusal after a gap is reported to every service with a handler, and SUBSCRIBE is retried until it succeeds', async () => {
    const others: ErrorContext[] = [];
    const its = new ServiceContext(new ErrorReporter((_, context) => others.push(context)), 'p');
    const one = await joined('pattern', 'px*');
    const two = listener({ its });
    await hub.subscribe('pattern', 'px*', two.member);
    await hub.subscribe('pattern', 'px*', listener({ its }).member);
    driver.drop();
    clock.advance(25);
    for (const wait of [50, 100, 200, 400]) {
      await refused();
      clock.advance(wait - 1);
      await turn();
      expect(driver.pending).toEqual([]);
      clock.advance(1);
      await turn();
      expect(driver.only).toMatchObject({ method: 'subscribe', names: ['px*'] });
    }
    expect(reports).toHaveLength(4);
    expect(reports[0]![0]).toBeInstanceOf(CommandError);
    expect(reports[0]![1]).toEqual({ stage: 'subscribe', channel: 'px*', pattern: 'px*' });
    expect(others).toHaveLength(4);
    expect(others[0]).toEqual({ stage: 'subscribe', channel: 'x*', pattern: 'x*' });
    driver.only.ack();
    await turn();
    expect([one, two].map(({ gaps }) => gaps.length)).toEqual([1, 1]);
    driver.message('pattern', 'px*', '1', 'pxy');
    expect([one.got, two.got]).toEqual([[1], [1]]);
    expect(clock.timers).toBe(0);
  });

  test('a refusal after a gap does not affect other names', async () => {
    const all = new Map<string, Awaited<ReturnType<typeof joined>>>();
    for (const name of ['a', 'b', 'c']) all.set(name, await joined('channel', name));
    driver.drop();
    clock.advance(25);
    await refused();
    for (const call of driver.pending) {
      if (call.names[0] === 'b') call.refuse();
      else call.ack();
    }
    await turn();
    expect([...all.values()].map(({ gaps }) => gaps.length)).toEqual([1, 0, 1]);
    expect(reports.map(([, { channel }]) => channel)).toEqual(['b']);
    clock.advance(5_000);
    await turn();
    driver.only.ack();
    await turn();
    expect(all.get('b')!.gaps).toHaveLength(1);
    expect(hub.sizes).toEqual({ ...empty, channel: 3 });
  });

  test('a refusal after a gap rejects handlers that subscribe in the meantime', async () => {
    await joined('channel', 'x');
    driver.drop();
    clock.advance(25);
    await turn();
    const late = listener();
    const done = watch(hub.subscribe('channel', 'x', late.member));
    await refused();
    expect(done.error).toBeInstanceOf(CommandError);
    await hub.unsubscribe('channel', 'x', late.member);
    clock.advance(5_000);
    await turn();
    driver.only.ack();
    await turn();
    driver.message('channel', 'x', '1');
    expect(late.got).toEqual([]);
    expect(hub.sizes).toEqual({ ...empty, channel: 1 });
  });

  test('a refused SUBSCRIBE is not retried after the last handler has unsubscribed', async () => {
    const one = await joined('channel', 'x');
    driver.drop();
    clock.advance(25);
    await refused();
    await hub.unsubscribe('channel', 'x', one.member);
    expect(hub.sizes).toEqual(empty);
    clock.advance(10_000);
    await turn();
    expect(driver.pending).toEqual([]);
    expect(clock.timers).toBe(0);
  });

  test('a success after a refusal resets the retry delay', async () => {
    await joined('channel', 'x');
    for (let round = 0; round < 2; round++) {
      driver.drop();
      clock.advance(25);
      await refused();
      clock.advance(50);
      await turn();
      driver.only.ack();
      await turn();
    }
    expect(reports).toHaveLength(2);
  });

  test('a handler that leaves during the next attempt has it undone', async () => {
    const one = await joined('channel', 'x');
    driver.drop();
    clock.advance(25);
    await refused();
    clock.advance(50);
    await turn();
    expect(driver.only.method).toBe('subscribe');
    const unsubscribed = watch(hub.unsubscribe('channel', 'x', one.member));
    driver.only.ack();
    await turn();
    expect(driver.only.method).toBe('unsubscribe');
    driver.only.ack();
    await turn();
    expect(unsubscribed.state).toBe('done');
    expect(driver.known.size).toBe(0);
    expect(driver.breaches).toEqual([]);
  });
});

describe('payloads as bytes', () => {
  test('bytes are requested for the first binary handler, in a separate command', async () => {
    void hub.subscribe('channel', 'text', listener().member);
    void hub.subscribe('channel', 'bytes', listener({ binary: true }).member);
    void hub.subscribe('channel', 'both', listener().member);
    void hub.subscribe('channel', 'both', listener({ binary: true }).member);
    await turn();
    expect(driver.pending.map(({ names, binary }) => [names, binary])).toEqual([
      [['text'], false],
      [['bytes', 'both'], true],
    ]);
  });

  test('a subscription switches to bytes without interruption', async () => {
    const one = await joined('channel', 'x');
    const two = listener({ binary: true });
    const done = watch(hub.subscribe('channel', 'x', two.member));
    await turn();
    expect(driver.only).toMatchObject({ method: 'subscribe', names: ['x'], binary: true });
    expect(done.state).toBe('pending');
    driver.message('channel', 'x', '1');
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
    driver.message('channel', 'x', Buffer.from('2'));
    expect([one.got, two.got]).toEqual([
      [1, 2],
      [1, 2],
    ]);
    expect([one.gaps, two.gaps]).toEqual([[], []]);
    // The payloads stay bytes, so no further command is sent.
    await hub.subscribe('channel', 'x', listener({ binary: true }).member);
    await hub.subscribe('channel', 'x', listener().member);
    expect(driver.calls).toHaveLength(2);
  });

  test('a switch during SUBSCRIBE is sent after it', async () => {
    const first = watch(hub.subscribe('channel', 'x', listener().member));
    await turn();
    const second = watch(hub.subscribe('channel', 'x', listener({ binary: true }).member));
    await turn();
    expect(driver.only.binary).toBe(false);
    driver.only.ack();
    await turn();
    expect(driver.only).toMatchObject({ method: 'subscribe', binary: true });
    driver.only.ack();
    await turn();
    expect([first.state, second.state]).toEqual(['done', 'done']);
    expect(driver.breaches).toEqual([]);
  });

  test('a switch during SUBSCRIBE is not sent if all handlers have left', async () => {
    const { member } = await joined('channel', 'x');
    const other = listener({ binary: true });
    void hub.subscribe('channel', 'x', other.member);
    await turn();
    for (const each of [member, other.member]) void hub.unsubscribe('channel', 'x', each);
    driver.only.ack();
    await turn();
    expect(driver.only.method).toBe('unsubscribe');
    driver.only.ack();
    await turn();
    expect(hub.sizes).toEqual(empty);
  });

  test('bytes are requested again on a new connection', async () => {
    await joined('channel', 'x', { binary: true });
    driver.drop();
    clock.advance(25);
    await turn();
    expect(driver.only.binary).toBe(true);
  });

  test('a connection lost during the switch is a gap', async () => {
    const one = await joined('channel', 'x');
    void hub.subscribe('channel', 'x', listener({ binary: true }).member);
    await turn();
    driver.drop();
    await turn();
    clock.advance(25);
    await turn();
    driver.only.ack();
    await turn();
    expect(one.gaps).toMatchObject([{ reason: 'reconnected', recovered: false }]);
  });

  test('a connection lost during the switch is a gap, also if only the rejection shows it', async () => {
    const one = await joined('channel', 'x');
    void hub.subscribe('channel', 'x', listener({ binary: true }).member);
    await turn();
    driver.known.clear();
    driver.only.interrupt();
    await turn();
    clock.advance(25);
    await turn();
    driver.only.ack();
    await turn();
    expect(one.gaps).toMatchObject([{ reason: 'reconnected', recovered: false }]);
  });

  test('a connection lost after a refused switch is a gap', async () => {
    const one = await joined('channel', 'x');
    const late = listener({ binary: true });
    const done = watch(hub.subscribe('channel', 'x', late.member));
    await turn();
    driver.only.refuse();
    await turn();
    expect(done.error).toBeInstanceOf(CommandError);
    await hub.unsubscribe('channel', 'x', late.member);
    driver.drop();
    for (let round = 0; round < 4; round++) {
      clock.advance(50);
      await turn();
      for (const call of driver.pending) call.ack();
      await turn();
    }
    expect(driver.known).toContain('channel x');
    expect(one.gaps).toHaveLength(1);
  });
});

describe('a delay before UNSUBSCRIBE', () => {
  test('a handler that subscribes within the delay costs no command', async () => {
    const one = await joined('channel', 'x');
    await hub.unsubscribe('channel', 'x', one.member, 1_000);
    clock.advance(999);
    await turn();
    const two = listener();
    await hub.subscribe('channel', 'x', two.member);
    expect(clock.timers).toBe(0);
    clock.advance(10_000);
    await turn();
    expect(driver.calls).toHaveLength(1);
    driver.message('channel', 'x', '1');
    expect([one.got, two.got]).toEqual([[], [1]]);
  });

  test('UNSUBSCRIBE is sent after the delay', async () => {
    const one = await joined('channel', 'x');
    await hub.unsubscribe('channel', 'x', one.member, 1_000);
    clock.advance(999);
    await turn();
    expect(driver.pending).toEqual([]);
    expect(hub.sizes).toEqual({ ...empty, channel: 1 });
    clock.advance(1);
    await turn();
    expect(driver.only.method).toBe('unsubscribe');
    driver.only.ack();
    await turn();
    expect(hub.sizes).toEqual(empty);
  });

  test('the delay begins again with each last handler', async () => {
    for (let round = 0; round < 3; round++) {
      const one = listener();
      const done = hub.subscribe('channel', 'x', one.member);
      await turn();
      for (const call of driver.pending) call.ack();
      await done;
      await hub.unsubscribe('channel', 'x', one.member, 1_000);
      clock.advance(999);
    }
    await turn();
    expect(driver.calls).toHaveLength(1);
    clock.advance(1);
    await turn();
    expect(driver.only.method).toBe('unsubscribe');
  });

  test('a name that is not subscribed is not kept during the delay', async () => {
    const one = listener();
    void hub.subscribe('channel', 'x', one.member);
    await turn();
    const unsubscribed = watch(hub.unsubscribe('channel', 'x', one.member, 1_000));
    driver.only.ack();
    await turn();
    expect(driver.only.method).toBe('unsubscribe');
    driver.only.ack();
    await turn();
    expect(unsubscribed.state).toBe('done');
    expect(clock.timers).toBe(0);
  });

  test('the delay ends with the connection', async () => {
    const one = await joined('channel', 'x');
    await hub.unsubscribe('channel', 'x', one.member, 1_000);
    driver.drop();
    clock.advance(10_000);
    await turn();
    expect(driver.calls).toHaveLength(1);
    expect(hub.sizes).toEqual(empty);
    expect(clock.timers).toBe(0);
  });

  test('flushDelayedUnsubscribes ends the delay at once, resolves with the confirmation, and does not affect other services', async () => {
    const [one, two] = [await joined('channel', 'x'), await joined('pattern', 'x')];
    await joined('channel', 'y');
    await hub.unsubscribe('channel', 'x', one.member, 1_000);
    await hub.unsubscribe('pattern', 'x', two.member, 1_000);
    const ended = watch(hub.flushDelayedUnsubscribes(service));
    await turn();
    expect(driver.pending.map(({ method, kind, names }) => [method, kind, names])).toEqual([
      ['unsubscribe', 'channel', ['x']],
      ['unsubscribe', 'pattern', ['x']],
    ]);
    driver.pending[0]!.ack();
    await turn();
    expect(ended.state).toBe('pending');
    driver.pending[0]!.ack();
    await turn();
    expect(ended.state).toBe('done');
    expect(hub.sizes).toEqual({ ...empty, channel: 1 });
    expect(clock.timers).toBe(0);
  });

  test('a handler that subscribed within the delay is kept if Redis refuses later', async () => {
    const one = await joined('channel', 'x');
    await hub.unsubscribe('channel', 'x', one.member, 1_000);
    const two = listener();
    await hub.subscribe('channel', 'x', two.member);
    driver.drop();
    clock.advance(25);
    await turn();
    driver.only.refuse();
    await turn();
    expect(reports.map(([, { stage }]) => stage)).toEqual(['subscribe']);
    clock.advance(5_000);
    await turn();
    driver.only.ack();
    await turn();
    driver.message('channel', 'x', '1');
    expect(two.got).toEqual([1]);
    expect(two.gaps).toHaveLength(1);
  });
});

describe('many names', () => {
  const all = Array.from({ length: 2_500 }, (_, at) => `n${at}`);
  const sizes = () => driver.pending.map(({ method, names: { length } }) => `${method} ${length}`);

  test('names are sent 1,000 per command, for SUBSCRIBE, UNSUBSCRIBE and after a lost connection', async () => {
    const members = all.map((name) => ({ name, member: listener().member }));
    const done = Promise.all(members.map(({ name, member }) => hub.subscribe('channel', name, member)));
    await turn();
    expect(sizes()).toEqual(['subscribe 1000', 'subscribe 1000', 'subscribe 500']);
    for (const call of driver.pending) call.ack();
    await done;
    driver.drop();
    clock.advance(25);
    await turn();
    expect(sizes()).toEqual(['subscribe 1000', 'subscribe 1000', 'subscribe 500']);
    // One command fails; the others do not.
    driver.pending[1]!.interrupt();
    for (const call of driver.pending) call.ack();
    await turn();
    clock.advance(10_000);
    await turn();
    expect(sizes()).toEqual(['subscribe 1000']);
    driver.only.ack();
    await turn();
    expect(driver.known.size).toBe(2_500);
    const unsubscribed = Promise.all(
      members.map(({ name, member }) => hub.unsubscribe('channel', name, member)),
    );
    await turn();
    expect(sizes()).toEqual(['unsubscribe 1000', 'unsubscribe 1000', 'unsubscribe 500']);
    for (const call of driver.pending) call.ack();
    await unsubscribed;
    expect(hub.sizes).toEqual(empty);
    expect(driver.breaches).toEqual([]);
  });
});

describe('dispatch', () => {
  test('a removed handler receives nothing, not even a message in flight', async () => {
    const one = await joined('channel', 'x');
    void hub.unsubscribe('channel', 'x', one.member);
    driver.message('channel', 'x', '1');
    await turn();
    driver.message('channel', 'x', '2');
    driver.only.ack();
    driver.message('channel', 'x', '3');
    expect(one.got).toEqual([]);
  });

  test('a handler can remove itself and others during dispatch', async () => {
    const order: string[] = [];
    const members: HandlerSubscription[] = [];
    const add = (name: string, act = () => {}) =>
      members.push(
        memberFor(() => {
          order.push(name);
          act();
        }),
      );
    add('first', () => {
      for (const at of [0, 1, 3]) void hub.unsubscribe('channel', 'x', members[at]!);
    });
    for (const name of ['second', 'third', 'fourth', 'fifth']) add(name);
    const done = Promise.all(members.map((member) => hub.subscribe('channel', 'x', member)));
    await turn();
    driver.only.ack();
    await done;
    driver.message('channel', 'x', '1');
    expect(order).toEqual(['first', 'third', 'fifth']);
    driver.message('channel', 'x', '2');
    expect(order).toEqual(['first', 'third', 'fifth', 'third', 'fifth']);
  });

  test('a handler added during dispatch receives the next message, not that one', async () => {
    const late = listener();
    const early = memberFor((message) => {
      if (message === 1) void hub.subscribe('channel', 'x', late.member);
    });
    const done = hub.subscribe('channel', 'x', early);
    await turn();
    driver.only.ack();
    await done;
    driver.message('channel', 'x', '1');
    expect(late.got).toEqual([]);
    driver.message('channel', 'x', '2');
    expect(late.got).toEqual([2]);
  });

  test('a message received during dispatch reaches every handler once', async () => {
    const other = listener();
    const nested: HandlerSubscription = memberFor((message) => {
      if (message !== 1) return;
      driver.message('channel', 'x', '2');
      void hub.unsubscribe('channel', 'x', nested);
    });
    const done = Promise.all([nested, other.member].map((member) => hub.subscribe('channel', 'x', member)));
    await turn();
    driver.only.ack();
    await done;
    driver.message('channel', 'x', '1');
    driver.message('channel', 'x', '3');
    expect(other.got).toEqual([2, 1, 3]);
  });
});

// Model: subscribes, unsubscribes, replies, failures and messages in any order, and the invariants that must hold.

type Action =
  | { do: 'subscribe'; name: number; binary: boolean }
  | { do: 'unsubscribe'; index: number; delay: number }
  | { do: 'answer'; which: number; how: 'ack' | 'refuse' | 'interrupt' }
  | { do: 'message'; name: number }
  | { do: 'drop'; kinds: SubscriptionKind[] }
  | { do: 'turn' }
  | { do: 'ready' }
  | { do: 'wait'; ms: number }
  | { do: 'endDelays' };

const names: [SubscriptionKind, string][] = [
  ['channel', 'x'],
  ['pattern', 'x'],
  ['channel', 'y'],
  ['sharded', 'x'],
];

const index = fc.nat(1_000);
const act = <T extends Action['do'], R extends object>(type: T, rest: { [K in keyof R]: Arbitrary<R[K]> }) =>
  fc.record({ do: fc.constant(type), ...rest }) as unknown as Arbitrary<Action>;
const action: Arbitrary<Action> = fc.oneof(
  { weight: 5, arbitrary: act('subscribe', { name: index, binary: fc.boolean() }) },
  { weight: 4, arbitrary: act('unsubscribe', { index, delay: fc.constantFrom(0, 0, 40, 1_000) }) },
  {
    weight: 7,
    arbitrary: act('answer', {
      which: index,
      how: fc.constantFrom('ack', 'ack', 'ack', 'refuse', 'interrupt'),
    }),
  },
  { weight: 4, arbitrary: act('message', { name: index }) },
  { weight: 6, arbitrary: act('turn', {}) },
  { weight: 3, arbitrary: act('drop', { kinds: fc.subarray(['channel', 'pattern', 'sharded'] as const) }) },
  { weight: 1, arbitrary: act('ready', {}) },
  { weight: 3, arbitrary: act('wait', { ms: fc.constantFrom(1, 30, 300) }) },
  { weight: 1, arbitrary: act('endDelays', {}) },
);

interface ModelHandler {
  kind: SubscriptionKind;
  name: string;
  binary: boolean;
  member: HandlerSubscription;
  got: number[];
  /** Messages published between its confirmed subscription and its unsubscription. */
  expected: number[];
  /** A message was published during a gap that was not announced yet. */
  missedMessage: boolean;
  gaps: number;
  state: 'subscribing' | 'subscribed' | 'unsubscribed' | 'refused';
  unsubscribed?: { state: string; error?: unknown };
}

async function play(actions: Action[]): Promise<void> {
  driver = new FakeDriver();
  clock = new FakeClock();
  hub = new SubscriptionManager(new SharedClient(driver, () => {}), clock);
  const handlers: ModelHandler[] = [];
  const drops: Record<SubscriptionKind, number> = { channel: 0, pattern: 0, sharded: 0 };
  /** Violations found in callbacks, where a thrown error would be lost. */
  const problems: unknown[] = [];
  let published = 0;

  const subscribeHandler = async (at: number, binary: boolean) => {
    const [kind, name] = names[at % names.length]!;
    const got: number[] = [];
    const member: HandlerSubscription = new HandlerSubscription(
      service,
      (message) => {
        if (handler.state === 'unsubscribed' || handler.state === 'refused')
          problems.push('a removed handler was called');
        got.push(message as number);
      },
      {
        codec: binary ? bytesCodec : jsonCodec,
        onDiscontinuity: () => {
          if (handler.state === 'unsubscribed' || handler.state === 'refused')
            problems.push('a removed handler was notified of a gap');
          handler.missedMessage = false;
          if (++handler.gaps > drops[kind]) problems.push('a gap was announced twice');
          if (!driver.known.has(`${kind} ${name}`)) problems.push('a gap was announced before it was over');
        },
      },
    );
    const handler: ModelHandler = {
      kind,
      name,
      binary,
      member,
      got,
      expected: [],
      missedMessage: false,
      gaps: 0,
      state: 'subscribing',
    };
    handlers.push(handler);
    hub.subscribe(kind, name, member).then(
      () => {
        if (handler.state !== 'subscribing') return;
        if (!driver.known.has(`${kind} ${name}`)) problems.push(`${kind} ${name} resolved before Redis knew`);
        handler.state = 'subscribed';
      },
      (error) => {
        if (!(error instanceof CommandError)) problems.push(error);
        if (handler.state === 'subscribing') unsubscribeHandler(handler, 0, 'refused');
      },
    );
    // A name that is subscribed already resolves before the next action.
    for (let tick = 0; tick < 3; tick++) await Promise.resolve();
  };
  const unsubscribeHandler = (
    handler: ModelHandler,
    delay = 0,
    state: 'unsubscribed' | 'refused' = 'unsubscribed',
  ) => {
    handler.state = state;
    handler.unsubscribed = watch(hub.unsubscribe(handler.kind, handler.name, handler.member, delay));
  };
  const message = (at: number) => {
    const [kind, name] = names[at % names.length]!;
    const number = ++published;
    const subscribed = handlers.filter(
      (each) => each.kind === kind && each.name === name && each.state === 'subscribed',
    );
    if (!driver.known.has(`${kind} ${name}`)) {
      for (const handler of subscribed) handler.missedMessage = true;
      return;
    }
    const before = new Map(handlers.map((handler) => [handler, handler.got.length]));
    for (const handler of subscribed) handler.expected.push(number);
    driver.message(kind, name, String(number));
    for (const handler of handlers) {
      const received = handler.got.length - (before.get(handler) ?? 0);
      if (handler.state === 'subscribed')
        expect(received, 'exactly once').toBe(subscribed.includes(handler) ? 1 : 0);
      if (handler.state === 'unsubscribed' || handler.state === 'refused')
        expect(received, 'never again').toBe(0);
      expect(received).toBeLessThanOrEqual(1);
    }
  };

  for (const each of actions) {
    if (each.do === 'subscribe') await subscribeHandler(each.name, each.binary);
    if (each.do === 'message') message(each.name);
    if (each.do === 'turn') await turn();
    if (each.do === 'wait') clock.advance(each.ms);
    if (each.do === 'ready') driver.connection('ready');
    if (each.do === 'endDelays') void hub.flushDelayedUnsubscribes(service);
    if (each.do === 'drop') {
      const kinds = each.kinds.length === 0 ? (['channel', 'pattern', 'sharded'] as const) : each.kinds;
      for (const kind of kinds) drops[kind]++;
      driver.drop(new ConnectionError('gone'), ...kinds);
    }
    if (each.do === 'unsubscribe') {
      const subscribed = handlers.filter(({ state }) => state === 'subscribed' || state === 'subscribing');
      if (subscribed.length > 0) unsubscribeHandler(subscribed[each.index % subscribed.length]!, each.delay);
    }
    if (each.do === 'answer') {
      const { pending } = driver;
      const call = pending[each.which % pending.length];
      // UNSUBSCRIBE is not refused here, because other tests cover the state of Redis after that.
      if (call === undefined) continue;
      // A subscribed name is not refused either: when an ACL changes, Redis closes connections that violate it.
      const known = call.names.some((name) => driver.known.has(`${call.kind} ${name}`));
      if (each.how === 'refuse' && call.method === 'subscribe' && !known) call.refuse();
      // A broken connection interrupts all calls of a kind, so one call cannot be interrupted alone.
      else if (each.how === 'interrupt') {
        drops[call.kind]++;
        driver.drop(new ConnectionError('gone'), call.kind);
      } else call.ack();
    }
  }

  const untilIdle = async () => {
    for (let round = 0; round < 20; round++) {
      await turn();
      for (const call of driver.pending) call.ack();
      clock.advance(500);
    }
    await turn();
    expect(driver.pending).toEqual([]);
    expect(clock.timers).toBe(0);
  };
  const subscribedTo = ([kind, name]: [SubscriptionKind, string]) =>
    handlers.filter(
      (handler) => handler.kind === kind && handler.name === name && handler.state === 'subscribed',
    );

  await untilIdle();
  expect(handlers.filter(({ state }) => state === 'subscribing')).toEqual([]);
  for (const each of names) {
    const [kind, name] = each;
    const subscribed = subscribedTo(each);
    expect(driver.known.has(each.join(' ')), each.join(' ')).toBe(subscribed.length > 0);
    const last = driver.calls.findLast(
      (call) => call.method === 'subscribe' && call.kind === kind && call.names.includes(name),
    );
    if (subscribed.some(({ binary }) => binary)) expect(last?.binary, 'bytes for binary handlers').toBe(true);
  }
  for (const { state, missedMessage } of handlers)
    if (state === 'subscribed') expect(missedMessage, 'an unannounced gap').toBe(false);
  for (let at = 0; at < names.length; at++) message(at);
  for (const handler of handlers) {
    if (handler.state === 'subscribed') unsubscribeHandler(handler);
    expect(handler.got.filter((number) => handler.expected.includes(number))).toEqual(handler.expected);
  }
  await untilIdle();
  for (const handler of handlers)
    if (handler.unsubscribed) expect(handler.unsubscribed).toEqual({ state: 'done' });
  expect(hub.sizes).toEqual(empty);
  expect(driver.known.size).toBe(0);
  expect(driver.breaches).toEqual([]);
  expect(problems).toEqual([]);
}

describe('in any order', () => {
  test('subscriptions follow their handlers in any order of events', { timeout: 30_000 }, async () => {
    await fc.assert(fc.asyncProperty(fc.array(action, { maxLength: 80, size: 'max' }), play), {
      numRuns: 500,
    });
  });

  test('the replies to concurrent calls may arrive in any order', { timeout: 30_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.tuple(fc.nat(3), fc.boolean()), { maxLength: 12, size: 'max' }),
        async (scheduler, handlers) => {
          driver = new FakeDriver();
          hub = new SubscriptionManager(new SharedClient(driver, () => {}), new FakeClock());
          driver.onCall = (call) => {
            void scheduler
              .schedule(Promise.resolve(), `answer ${call.method} ${call.names}`)
              .then(() => call.ack());
          };
          let called = 0;
          const all = handlers.map(async ([at, stays]) => {
            const [kind, name] = names[at]!;
            const member = memberFor(() => called++);
            await scheduler.schedule(Promise.resolve(), `subscribe ${kind} ${name}`);
            await hub.subscribe(kind, name, member);
            if (stays) return;
            await scheduler.schedule(Promise.resolve(), `unsubscribe ${kind} ${name}`);
            await hub.unsubscribe(kind, name, member);
          });
          await scheduler.waitFor(Promise.all(all));
          expect(driver.breaches).toEqual([]);
          for (const [at, [kind, name]] of names.entries()) {
            const wanted = handlers.filter(([where, stays]) => where === at && stays).length;
            called = 0;
            driver.message(kind, name, '1');
            expect(called).toBe(wanted);
            expect(driver.known.has(`${kind} ${name}`)).toBe(wanted > 0);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

test('an interrupted UNSUBSCRIBE counts as done, even if the driver rejects with an error', async () => {
  const one = await joined('channel', 'x');
  const unsubscribed = watch(hub.unsubscribe('channel', 'x', one.member));
  await turn();
  driver.only.fail(new ConnectionError('the connection broke'));
  await turn();
  expect(unsubscribed.state).toBe('done');
  expect(hub.sizes).toEqual(empty);
});
