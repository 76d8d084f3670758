import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ClosedError, InvalidArgumentError, TimeoutError } from '../../../src/internal/errors.js';
import { PubSubService } from '../../../src/pubsub/pubsub-service.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

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
  test('without an answer in time rejects, removes the handler and unsubscribes', async () => {
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

  test('that is aborted before its confirmation rejects at once, and unsubscribes later', async () => {
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
  ])('that %s makes publish reject with our error', async (_, encode) => {
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

  test('does not wait for Redis without a connection', async () => {
    driver.onCall = (call) => call.ack();
    const { unsubscribe } = await service.subscribe('x', () => {});
    driver.onCall = undefined;
    driver.connection('lost');
    await service.close();
    expect(driver.closed).toBe(1);
    await unsubscribe();
  });

  test('does not wait longer than its deadline for Redis, or for a handler that hangs', async () => {
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
    // Also the one that looks for silent connections.
    clock.advance(60_000);
    await turn();
    expect(clock.timers).toBe(0);
  });
});
