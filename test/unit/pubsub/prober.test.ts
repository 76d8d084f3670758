import { beforeEach, describe, expect, test } from 'vitest';
import { jsonCodec } from '../../../src/internal/codec.js';
import { type ErrorContext, ErrorReporter } from '../../../src/internal/diagnostics.js';
import { CommandError, ConnectionError, type RollcallError } from '../../../src/internal/errors.js';
import type { Discontinuity } from '../../../src/pubsub/discontinuity.js';
import { HandlerSubscription } from '../../../src/pubsub/handler-subscription.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import { SubscriptionManager } from '../../../src/pubsub/subscription-manager.js';
import { SharedClient } from '../../../src/redis/client-handle.js';
import type { Driver, PlainCommand, SubscriptionKind } from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { type FakeCall, FakeDriver } from '../../support/fake-driver.js';

const INTERVAL = 30_000;
/** Time limit for the delivery of a probe, in ms. */
const DEADLINE = 5_000;

let driver: FakeDriver;
let clock: FakeClock;
let session: SharedClient;
let hub: SubscriptionManager;
let reports: [RollcallError, ErrorContext][];
let gaps: Discontinuity[];

function set(capabilities?: ConstructorParameters<typeof FakeDriver>[0]): void {
  driver = new FakeDriver(capabilities);
  clock = new FakeClock();
  session = new SharedClient(driver, () => {});
  hub = new SubscriptionManager(session, clock);
  reports = [];
  gaps = [];
}
beforeEach(() => set());

function member(): HandlerSubscription {
  const service = new ServiceContext(new ErrorReporter((error, context) => reports.push([error, context])));
  return new HandlerSubscription(service, () => {}, {
    codec: jsonCodec,
    onDiscontinuity: (gap) => gaps.push(gap),
  });
}

async function joined(kind: SubscriptionKind, name: string): Promise<HandlerSubscription> {
  const one = member();
  const done = hub.subscribe(kind, name, one);
  await turn();
  driver.only.ack();
  await done;
  return one;
}

async function pass(ms: number): Promise<void> {
  clock.advance(ms);
  await turn();
}

/** The command of a PUBLISH in flight. */
const published = (call: FakeCall) => call.commands[0] as PlainCommand;
/** The commands sent so far, without subscriptions. */
const executed = () => driver.calls.filter(({ method }) => method === 'execute').map(published);

/** Advances to the next probe and confirms its first SUBSCRIBE. Leaves its PUBLISH in flight. */
async function probed(): Promise<FakeCall> {
  await pass(INTERVAL);
  if (driver.only.method === 'subscribe') {
    driver.only.ack();
    await turn();
  }
  expect(driver.only.method).toBe('execute');
  return driver.only;
}

/** Delivers the probe. */
async function arrives(call: FakeCall, kind: SubscriptionKind = 'channel'): Promise<void> {
  const [, name, payload] = published(call) as [string, string, string];
  call.ack([1]);
  driver.message(kind, name, payload);
  await turn();
}

describe('sending', () => {
  test('a probe is sent after silence, on a channel of its own', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    await pass(INTERVAL - 1);
    expect(driver.pending).toEqual([]);
    await pass(1);
    expect(driver.only).toMatchObject({ method: 'subscribe', kind: 'channel' });
    const [name] = driver.only.names as [string];
    expect(name).toMatch(/^rollcall:probe:\w+/);
    driver.only.ack();
    await turn();
    expect(published(driver.only).slice(0, 2)).toEqual(['PUBLISH', name]);
  });

  test('a probe is sent for patterns as well', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('pattern', 'x*');
    await arrives(await probed());
    expect(executed()).toHaveLength(1);
  });

  test('no probe is sent while messages arrive', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    for (let round = 0; round < 20; round++) {
      await pass(INTERVAL / 2);
      driver.message('channel', 'x', '1');
    }
    expect(driver.calls).toHaveLength(1);
  });

  test('no probe is sent without subscriptions, and the subscription of the probe ends with the last one', async () => {
    hub.requestProbeInterval(INTERVAL);
    await pass(INTERVAL * 3);
    expect(driver.calls).toEqual([]);
    const one = await joined('channel', 'x');
    await arrives(await probed());
    void hub.unsubscribe('channel', 'x', one);
    await turn();
    driver.only.ack();
    await turn();
    await pass(INTERVAL);
    expect(driver.only).toMatchObject({ method: 'unsubscribe' });
    driver.only.ack();
    await pass(INTERVAL);
    expect(driver.known.size).toBe(0);
    expect(executed()).toHaveLength(1);
    expect(driver.pending).toEqual([]);
    await joined('channel', 'x');
    await arrives(await probed());
  });

  test('no probe is sent while commands cannot be sent', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    driver.connection('lost');
    await pass(INTERVAL * 3);
    expect(driver.calls).toHaveLength(1);
    driver.connection('ready');
    await arrives(await probed());
    expect(driver.resets).toEqual([]);
  });

  test('no probe is sent without an interval, or where a connection cannot be restored', async () => {
    hub.requestProbeInterval(0);
    expect(clock.timers).toBe(0);
    set({ reconnects: false });
    hub.requestProbeInterval(INTERVAL);
    expect(clock.timers).toBe(0);
  });

  test('a probe is sent after the shortest requested interval', async () => {
    for (const interval of [INTERVAL * 10, INTERVAL, INTERVAL * 5, 0]) hub.requestProbeInterval(interval);
    expect(clock.timers).toBe(1);
    await joined('channel', 'x');
    await arrives(await probed());
    await arrives(await probed());
    expect(executed()).toHaveLength(2);
  });

  test('probes are sent at times that differ between processes', async () => {
    for (const [chance, ms] of [
      [0, 0.9],
      [0.999, 1.0998],
    ] as const) {
      set();
      clock.chance = chance;
      hub.requestProbeInterval(INTERVAL);
      await joined('channel', 'x');
      await pass(INTERVAL * ms - 1);
      expect(driver.pending).toEqual([]);
      await pass(1);
      expect(driver.pending).toHaveLength(1);
    }
  });

  test('probes are sent one after another, also if a shorter interval is requested in the meantime', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    const call = await probed();
    hub.requestProbeInterval(INTERVAL / 2);
    await arrives(call);
    expect(clock.timers).toBe(1);
  });

  test('no probe is sent after the client is closed', async () => {
    hub.requestProbeInterval(INTERVAL);
    session.retain();
    await joined('channel', 'x');
    const call = await probed();
    await session.release();
    call.interrupt('failed');
    await pass(INTERVAL * 3);
    expect(executed()).toHaveLength(1);
    expect(driver.resets).toEqual([]);
    expect(clock.timers).toBe(0);
  });

  test('no probe is sent after the client is closed while its subscription is restored', async () => {
    hub.requestProbeInterval(INTERVAL);
    session.retain();
    const one = await joined('channel', 'x');
    await arrives(await probed());
    driver.drop();
    await hub.unsubscribe('channel', 'x', one);
    await session.release();
    driver.onCall = (call) => call.interrupt('failed');
    await pass(INTERVAL);
    await pass(INTERVAL);
    await pass(INTERVAL);
    expect(clock.timers).toBe(0);
  });
});

test('the probe is not counted', async () => {
  hub.requestProbeInterval(INTERVAL);
  await joined('channel', 'x');
  await joined('sharded', 'x');
  await pass(INTERVAL);
  for (const call of driver.pending) call.ack();
  await turn();
  expect(driver.known.size).toBe(4);
  expect(hub.sizes).toEqual({ channel: 1, pattern: 0, sharded: 1 });
});

describe('where sharded channels have several connections', () => {
  let names: string[];
  beforeEach(() => {
    names = ['one', 'two'];
    (driver as Driver).probeChannels = (base: string) => names.map((name) => `${base}:{${name}}`);
  });

  /** Answers every call, but delivers nothing that is published to names that contain `silent`. */
  const answerAll = (silent = 'no name') => {
    driver.onCall = (call) => {
      call.ack(call.commands.map(() => 1));
      const [verb, name = ''] = call.commands.length === 0 ? [] : (published(call) as [string, string]);
      if (verb === 'SPUBLISH' && !name.includes(silent)) driver.message('sharded', name, '""');
    };
  };

  test('each connection is probed, regardless of activity on the others', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('sharded', 'x');
    answerAll();
    for (let round = 0; round < 3; round++) {
      driver.message('sharded', 'x', '1');
      await pass(INTERVAL);
    }
    const sent = executed().map(([, name]) => String(name));
    for (const name of names) {
      expect(sent.filter((each) => each.endsWith(`:{${name}}`)).length).toBeGreaterThanOrEqual(2);
    }
    expect(driver.resets).toEqual([]);
    expect(hub.sizes.sharded).toBe(1);
  });

  test('a connection without a reply is replaced, even if others reply', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('sharded', 'x');
    answerAll('two');
    await pass(INTERVAL);
    driver.message('sharded', 'x', '1');
    await pass(DEADLINE);
    expect(driver.resets).toEqual(['sharded']);
  });

  test('probes of closed connections are unsubscribed', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('sharded', 'x');
    answerAll();
    await pass(INTERVAL);
    expect(driver.known.size).toBe(3);
    names = ['one'];
    await pass(INTERVAL);
    expect([...driver.known].filter((key) => key.includes('{two}'))).toEqual([]);
    expect(hub.sizes.sharded).toBe(1);
  });
});

describe('a delivered probe', () => {
  test('a connection that delivers the probe is kept, and counts as active', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    await arrives(await probed());
    await pass(DEADLINE * 2);
    expect(driver.resets).toEqual([]);
    await pass(INTERVAL - DEADLINE * 2);
    // The probe channel is subscribed already, so only PUBLISH is sent.
    expect(driver.only.method).toBe('execute');
    expect(gaps).toEqual([]);
  });

  test('a probe can arrive before the reply to PUBLISH and among other messages', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    const call = await probed();
    const [, name, payload] = published(call) as [string, string, string];
    driver.message('channel', name, payload);
    call.ack([1]);
    await turn();
    await pass(DEADLINE);
    await pass(INTERVAL - DEADLINE);
    driver.only.ack([1]);
    await pass(DEADLINE - 1);
    driver.message('channel', 'x', '1');
    await pass(1);
    expect(driver.resets).toEqual([]);
  });
});

describe('an undelivered probe', () => {
  test('an unresponsive connection is replaced after the timeout, with an `unresponsive` gap', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    await joined('channel', 'y');
    await joined('sharded', 'x');
    await pass(1_000);
    driver.message('channel', 'x', '1');
    const since = new Date(clock.now());
    driver.message('sharded', 'x', '1');
    await pass(INTERVAL - 2_000);
    driver.message('sharded', 'x', '1');
    await pass(1_000);
    driver.only.ack();
    await turn();
    expect(driver.only.method).toBe('execute');
    driver.only.ack([1]);
    await pass(DEADLINE - 1);
    expect(driver.resets).toEqual([]);
    await pass(1);
    expect(driver.resets).toEqual(['channel']);
    await pass(25);
    const probe = driver.calls.findLast(({ names }) => names.length === 1)!.names[0]!;
    expect(driver.only.names).toEqual(['x', 'y', probe]);
    for (const call of driver.pending) call.ack();
    await turn();
    const gap = { reason: 'unresponsive', since, recovered: false };
    expect(gaps).toEqual([gap, gap]);
    // The next probe uses the new connection and is delivered.
    driver.message('sharded', 'x', '1');
    for (let waited = 0; waited < 2 * INTERVAL && driver.pending.length === 0; waited += DEADLINE) {
      await pass(DEADLINE);
      driver.message('sharded', 'x', '1');
    }
    await arrives(driver.only);
    await pass(DEADLINE);
    expect(driver.resets).toHaveLength(1);
  });

  test('an unresponsive connection is replaced if Redis does not answer two probes', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    await probed();
    await pass(DEADLINE);
    // The connection for commands alone may be dead.
    expect(driver.resets).toEqual([]);
    await pass(INTERVAL);
    await pass(DEADLINE);
    expect(driver.resets).toEqual(['channel']);
    expect(reports).toEqual([]);
  });

  test('a probe that could not be published is repeated as soon as commands can be sent', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    const call = await probed();
    driver.connection('lost');
    call.fail(new ConnectionError('gone', { outcome: 'unknown' }));
    await turn();
    driver.connection('ready');
    await turn();
    driver.only.ack([1]);
    await pass(DEADLINE);
    expect(driver.resets).toEqual(['channel']);
  });

  test('an unresponsive connection is replaced if Redis does not answer the SUBSCRIBE of the probe', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    await pass(INTERVAL);
    expect(driver.only.method).toBe('subscribe');
    await pass(DEADLINE);
    expect(driver.resets).toEqual(['channel']);
    await pass(25);
    for (const call of driver.pending) call.ack();
    await turn();
    expect(gaps).toMatchObject([{ reason: 'unresponsive' }]);
  });

  test('an unresponsive connection for sharded channels is replaced alone', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    await joined('sharded', 'x');
    await pass(INTERVAL - 1);
    driver.message('channel', 'x', '1');
    const call = await probed();
    expect(published(call)[0]).toBe('SPUBLISH');
    call.ack([1]);
    await pass(DEADLINE);
    expect(driver.resets).toEqual(['sharded']);
  });

  test('the two connections are probed at the same time and independently', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    await joined('sharded', 'x');
    await pass(INTERVAL);
    for (const call of driver.pending) call.ack();
    await turn();
    const [plain, sharded] = driver.pending as [FakeCall, FakeCall];
    expect([published(plain)[0], published(sharded)[0]]).toEqual(['PUBLISH', 'SPUBLISH']);
    sharded.ack([1]);
    await arrives(plain);
    await pass(DEADLINE);
    expect(driver.resets).toEqual(['sharded']);
  });

  test('a connection that was just replaced is kept', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    await arrives(await probed());
    await pass(INTERVAL - 10);
    driver.drop();
    await pass(10);
    expect(driver.only.method).toBe('execute');
    driver.only.ack([0]);
    await pass(15);
    driver.only.ack();
    await turn();
    expect(gaps).toMatchObject([{ reason: 'reconnected' }]);
    await pass(DEADLINE);
    expect(driver.resets).toEqual([]);
  });
});

describe('a failed probe', () => {
  test('a refused PUBLISH is reported once to each service, and the connection is kept', async () => {
    hub.requestProbeInterval(INTERVAL);
    const one = await joined('channel', 'x');
    await hub.subscribe('channel', 'x', new HandlerSubscription(one.service, () => {}, { codec: jsonCodec }));
    await hub.subscribe('channel', 'x', member());
    const call = await probed();
    call.ack([new Error('NOPERM no permission')]);
    await turn();
    expect(reports).toHaveLength(2);
    for (const [error, context] of reports) {
      expect(error).toBeInstanceOf(CommandError);
      expect(error.message).toContain('NOPERM');
      expect(context).toEqual({ stage: 'probe' });
    }
    await pass(DEADLINE);
    expect(driver.resets).toEqual([]);
    // The probe is sent again.
    await pass(INTERVAL - DEADLINE);
    await arrives(driver.only);
  });

  test('a refused SUBSCRIBE is reported and retried', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    for (let round = 1; round <= 2; round++) {
      await pass(INTERVAL);
      expect(driver.only.method).toBe('subscribe');
      driver.only.refuse();
      await turn();
      expect(reports.map(([, { stage }]) => stage)).toEqual(new Array(round).fill('probe'));
      expect(hub.sizes.channel).toBe(1);
    }
    expect(executed()).toEqual([]);
    expect(driver.resets).toEqual([]);
    await arrives(await probed());
  });

  test('a probe interrupted by a broken connection is not reported', async () => {
    hub.requestProbeInterval(INTERVAL);
    await joined('channel', 'x');
    const call = await probed();
    call.fail(new ConnectionError('gone', { outcome: 'unknown' }));
    await turn();
    await pass(DEADLINE);
    expect(driver.resets).toEqual([]);
    expect(reports).toEqual([]);
    await pass(INTERVAL - DEADLINE);
    await arrives(driver.only);
    expect(driver.resets).toEqual([]);
  });
});
