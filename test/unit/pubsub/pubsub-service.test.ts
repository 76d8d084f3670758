import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  ClosedError,
  InvalidArgumentError,
  SchemaError,
  TimeoutError,
} from '../../../src/internal/errors.js';
import { onTelemetry, type RollcallEvents } from '../../../src/internal/telemetry.js';
import { defineChannel } from '../../../src/pubsub/channel-definition.js';
import { PubSubService } from '../../../src/pubsub/pubsub-service.js';
import type { StandardResult, StandardSchema } from '../../../src/pubsub/schema.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';
import { deferred, waitFor } from '../../support/wait.js';

const TIMEOUT = 800;

let driver: FakeDriver;
let clock: FakeClock;
let service: PubSubService;

beforeEach(() => {
  driver = new FakeDriver();
  clock = new FakeClock();
  service = new PubSubService({ redis: driver, clock, timeout: TIMEOUT });
});
afterEach(() => expect(driver.breaches).toEqual([]));

function watch<T>(promise: Promise<T>) {
  const one: { state: string; value?: T; error?: unknown } = { state: 'pending' };
  promise.then(
    (value) => Object.assign(one, { state: 'done', value }),
    (error) => Object.assign(one, { state: 'failed', error }),
  );
  return one;
}

describe('a stream that is garbage collected', () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;

  beforeEach(() => {
    driver.onCall = (call) => call.ack();
  });

  const collected = async () => {
    collectGarbage();
    await turn();
    return service.stats().handlers === 0;
  };

  test('a stream that is garbage collected unsubscribes', async () => {
    await (() => service.messages('x').ready)();
    expect(service.stats().handlers).toBe(1);
    await waitFor(collected, { message: 'the stream to be collected' });
    expect([...driver.known]).toEqual([]);
  });

  test('a stream is not garbage collected while it is awaited', async () => {
    const next = service.messages('x').next();
    for (let round = 0; round < 5; round++) expect(await collected()).toBe(false);
    driver.message('channel', 'x', '7');
    expect((await next).value).toMatchObject({ message: 7 });
  });
});

describe('an asynchronous schema', () => {
  /** A schema whose validation resolves when the test calls for it. */
  function asyncChannel(mode: 'publish' | 'both' = 'publish', output?: (message: unknown) => unknown) {
    const done = deferred<StandardResult<unknown>>();
    const schema: StandardSchema = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value) => done.promise.then((result) => (output ? { value: output(value) } : result)),
      },
    };
    const channel = defineChannel('x', { schema, validate: mode })();
    return { channel, done };
  }

  test('a schema that hangs makes publish reject with a TimeoutError at the deadline, and nothing is sent later', async () => {
    const { channel, done } = asyncChannel();
    const one = watch(service.publish(channel, 'a'));
    clock.advance(TIMEOUT * 1.2);
    await turn();
    expect(one.error).toBeInstanceOf(TimeoutError);
    expect(one.error).toMatchObject({ outcome: 'failed' });
    done.resolve({ value: 'a' });
    await turn();
    expect(driver.calls).toEqual([]);
  });

  test('a schema that hangs makes publish reject with a ClosedError when the service closes', async () => {
    const { channel, done } = asyncChannel();
    const one = watch(service.publish(channel, 'a'));
    await service.close();
    await turn();
    expect(one.error).toBeInstanceOf(ClosedError);
    done.resolve({ value: 'a' });
    await turn();
    expect(driver.calls).toEqual([]);
  });

  test('validating and sending share one deadline', async () => {
    const { channel, done } = asyncChannel();
    const one = watch(service.publish(channel, 'a'));
    clock.advance(TIMEOUT * 0.9);
    done.resolve({ value: 'a' });
    await turn();
    expect(driver.only.method).toBe('execute');
    clock.advance(TIMEOUT * 0.3);
    await turn();
    expect(one.error).toMatchObject({ name: 'TimeoutError', outcome: 'unknown' });
  });

  test.each(['publish', 'both'] as const)(
    'mode %s: the message is sent as it was when publish was called',
    async (mode) => {
      const { channel, done } = asyncChannel(mode, (message) => message);
      const message = { n: 1 };
      void service.publish(channel, message);
      message.n = 2;
      done.resolve({ value: message });
      await turn();
      expect(driver.only.commands).toEqual([['PUBLISH', 'x', '{"n":1}']]);
      driver.only.ack([1]);
    },
  );

  test('the output of the schema is sent', async () => {
    const { channel, done } = asyncChannel('publish', () => ({ n: 7 }));
    void service.publish(channel, { n: 1 });
    done.resolve({ value: 0 });
    await turn();
    expect(driver.only.commands).toEqual([['PUBLISH', 'x', '{"n":7}']]);
    driver.only.ack([1]);
  });
});

test.each([[false], [true]])(
  'a message that its schema rejects has a telemetry event, async: %s',
  async (later) => {
    const result = { issues: [{ message: 'wrong' }] };
    const validate = () => (later ? Promise.resolve(result) : result);
    const schema: StandardSchema = { '~standard': { version: 1, vendor: 'test', validate } };
    const events: RollcallEvents['rollcall:publish'][] = [];
    const stop = onTelemetry('rollcall:publish', (event) => events.push(event));
    try {
      await expect(service.publish(defineChannel('x', { schema })(), 1)).rejects.toBeInstanceOf(SchemaError);
    } finally {
      stop();
    }
    expect(events).toMatchObject([{ channel: 'x', size: 0, history: false, error: { name: 'SchemaError' } }]);
  },
);

test.each([
  [undefined],
  [null],
  [{}],
  [{ redis: null }],
  [{ timeout: 0 }],
  [{ timeout: Number.NaN }],
  [{ maxMessageBytes: 1.5 }],
  [{ prefix: 'a b' }],
  [{ onError: 1 }],
])('bad options (%#) leave nothing open', (options) => {
  const mine = new FakeDriver();
  const all =
    options && !('redis' in options) && Object.keys(options).length > 0
      ? { redis: mine, ...options }
      : options;
  expect(() => new PubSubService(all as never)).toThrow(InvalidArgumentError);
  expect(mine.calls).toEqual([]);
});

describe('subscribing', () => {
  test('a subscription without an answer in time rejects, removes the handler and unsubscribes', async () => {
    const one = watch(service.subscribe('x', () => {}));
    await turn();
    const call = driver.only;
    clock.advance(TIMEOUT * 1.2);
    await turn();
    expect(one.error).toBeInstanceOf(TimeoutError);
    expect(service.stats().handlers).toBe(0);
    call.ack();
    await turn();
    expect(driver.only).toMatchObject({ method: 'unsubscribe', names: ['x'] });
    driver.only.ack();
    await turn();
    expect(service.stats().channels).toBe(0);
  });

  test('a subscription that is aborted before its confirmation rejects at once, and unsubscribes later', async () => {
    const controller = new AbortController();
    let called = 0;
    const one = watch(service.subscribe('x', () => void called++, { signal: controller.signal }));
    await turn();
    const reason = new Error('mine');
    controller.abort(reason);
    await turn();
    expect(one.error).toBe(reason);
    driver.message('channel', 'x', '1');
    driver.only.ack();
    await turn();
    driver.message('channel', 'x', '2');
    expect(driver.only.method).toBe('unsubscribe');
    expect(called).toBe(0);
  });

  test('an unsubscription without an answer rejects at its deadline, and the handler is removed all the same', async () => {
    let called = 0;
    driver.onCall = (call) => call.ack();
    const { unsubscribe } = await service.subscribe('x', () => void called++);
    driver.onCall = undefined;
    const one = watch(unsubscribe());
    clock.advance(TIMEOUT * 1.2);
    await turn();
    expect(one.error).toBeInstanceOf(TimeoutError);
    driver.message('channel', 'x', '1');
    expect(called).toBe(0);
  });
});

describe('a custom codec', () => {
  test.each([
    [
      'throws',
      () => {
        throw new TypeError('mine');
      },
    ],
    ['returns no string', () => 42],
  ])('a codec that %s makes publish reject with a RollcallError', async (_, encode) => {
    const codec = { encode: encode as unknown as () => string, decode: String };
    const one = new PubSubService({ redis: new FakeDriver(), codec });
    await expect(one.publish('x', 1)).rejects.toBeInstanceOf(InvalidArgumentError);
  });
});

describe('close', () => {
  test('a failed subscription of an unread stream is not an unhandled rejection', async () => {
    driver.onCall = (call) => call.refuse();
    const stream = service.messages('x');
    await turn();
    await turn();
    await expect(stream.next()).rejects.toThrow('refused');
  });

  test('publishing while the service closes rejects, and is never sent', async () => {
    driver.connection('lost');
    const closing = service.close();
    await expect(service.publish('x', 1)).rejects.toBeInstanceOf(ClosedError);
    await closing;
    expect(driver.calls.filter(({ method }) => method === 'execute')).toEqual([]);
    expect(driver.closed).toBe(1);
  });

  test('close does not wait for Redis without a connection', async () => {
    driver.onCall = (call) => call.ack();
    const { unsubscribe } = await service.subscribe('x', () => {});
    driver.onCall = undefined;
    driver.connection('lost');
    await service.close();
    expect(driver.closed).toBe(1);
    await unsubscribe();
  });

  test('close does not wait longer than its deadline for Redis or for a handler that hangs', async () => {
    driver.onCall = (call) => call.ack();
    await service.subscribe('x', () => new Promise(() => {}));
    driver.onCall = undefined;
    driver.message('channel', 'x', '1');
    const closing = watch(service.close());
    await turn();
    expect(driver.only.method).toBe('unsubscribe');
    for (let step = 0; step < 5 && closing.state === 'pending'; step++) {
      clock.advance(TIMEOUT / 2);
      await turn();
    }
    expect(closing.state).toBe('done');
    expect(driver.closed).toBe(1);
    // The probe timer has stopped as well.
    clock.advance(60_000);
    await turn();
    expect(clock.timers).toBe(0);
  });
});
