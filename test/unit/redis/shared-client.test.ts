import { beforeEach, describe, expect, test } from 'vitest';
import { ConnectionError } from '../../../src/internal/errors.js';
import { SharedClient, sharedClientFor } from '../../../src/redis/client-handle.js';
import { turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

let driver: FakeDriver;
let forgotten: number;
let session: SharedClient;

beforeEach(() => {
  driver = new FakeDriver();
  forgotten = 0;
  session = new SharedClient(driver, () => forgotten++);
});

/** The arguments of each call of the `whenReady` callback. */
function waiting() {
  const calls: (Error | undefined)[] = [];
  session.whenReady((error) => calls.push(error));
  return calls;
}

describe('connecting', () => {
  test('all callers share one attempt and its success', async () => {
    driver.ready = false;
    const all = Promise.all([session.connect(), session.connect()]);
    expect(driver.calls).toHaveLength(1);
    driver.only.ack();
    await all;
    await session.connect();
    expect(driver.calls).toHaveLength(1);
  });

  test('a failure has a cause, and the next call connects again', async () => {
    driver.ready = false;
    const cause = new Error('connect ECONNREFUSED');
    const failed = expect(session.connect()).rejects.toMatchObject({
      name: 'ConnectionError',
      message: 'Redis cannot be reached: connect ECONNREFUSED',
      cause,
    });
    driver.only.fail(cause);
    await failed;
    const again = session.connect();
    driver.only.ack();
    await again;
  });

  test('after the client has stopped reconnecting, connect starts again', async () => {
    const first = session.connect();
    driver.only.ack();
    await first;
    driver.connection('ended', new Error('over'));
    void session.connect();
    expect(driver.only.method).toBe('connect');
  });
});

describe('whenReady', () => {
  test('whenReady calls back at once while connected', () => {
    expect(waiting()).toEqual([undefined]);
    expect(driver.calls).toEqual([]);
  });

  test('whenReady connects the client, and calls back once', async () => {
    driver.ready = false;
    const calls = waiting();
    const call = driver.only;
    expect(call.method).toBe('connect');
    driver.connection('ready');
    call.ack();
    await turn();
    expect(calls).toEqual([undefined]);
  });

  test('whenReady waits during an outage', async () => {
    const first = session.connect();
    driver.only.ack();
    await first;
    driver.connection('lost');
    const calls = waiting();
    await turn();
    driver.connection('lost');
    expect(calls).toEqual([]);
    driver.connection('ready');
    driver.connection('lost');
    driver.connection('ready');
    expect(calls).toEqual([undefined]);
  });

  test('dropped subscriptions do not affect whenReady', async () => {
    driver.ready = false;
    const calls = waiting();
    driver.known.add('channel x');
    driver.drop();
    await turn();
    expect(calls).toEqual([]);
    expect(session.ended).toBe(false);
  });

  test('whenReady fails when the client stops reconnecting or cannot connect', async () => {
    driver.ready = false;
    const one = waiting();
    driver.connection('ended', new Error('over'));
    expect(one[0]).toBeInstanceOf(ConnectionError);
    expect((one[0] as Error).cause).toMatchObject({ message: 'over' });
    driver.pending[0]!.ack();
    await turn();
    expect(one).toHaveLength(1);
    const two = waiting();
    driver.pending.at(-1)!.fail(new Error('connect ECONNREFUSED'));
    await turn();
    expect(two).toHaveLength(1);
    expect(two[0]).toBeInstanceOf(ConnectionError);
  });
});

test('lastError is the latest error while there is no connection', () => {
  const [one, two] = [new Error('one'), new Error('two')];
  driver.connection('lost', one);
  driver.connection('lost');
  expect(session.lastError).toBe(one);
  driver.connection('lost', two);
  expect(session.lastError).toBe(two);
  driver.connection('ready');
  expect(session.lastError).toBeUndefined();
});

test('messages and changes are passed to every listener until it is removed', () => {
  const got: string[] = [];
  const stop = session.listen({
    message: (kind, name, channel, payload) => got.push([kind, name, channel, payload].join()),
    connection: (state, cause) => got.push(`${state} ${cause?.message}`),
    dropped: (kind, names, cause) => got.push(`${kind} ${names} ${cause.message}`),
    nodeReturned: () => got.push('returned'),
  });
  session.listen({});
  driver.message('pattern', 'x*', '1', 'xy');
  driver.connection('lost', new Error('cut'));
  for (const name of ['a', 'b']) driver.known.add(`sharded ${name}`);
  driver.drop(new Error('cut too'));
  driver.returned();
  stop();
  driver.returned();
  driver.message('channel', 'x', '2');
  driver.connection('ready');
  driver.known.add('channel x');
  driver.drop();
  expect(got).toEqual(['pattern,x*,xy,1', 'lost cut', 'sharded a,b cut too', 'returned']);
});

test('the driver is closed when the last service has released it', async () => {
  session.retain();
  session.retain();
  await session.release();
  expect([driver.closed, forgotten]).toEqual([0, 0]);
  await session.release();
  expect([driver.closed, forgotten]).toEqual([1, 1]);
});

/** A driver that can be attached again after its first shared client has ended. */
class IndifferentDriver extends FakeDriver {
  override attach(): void {}
}

test('a client has one shared client, and a new one after that is closed', async () => {
  const client = new IndifferentDriver();
  const first = sharedClientFor(client);
  expect(sharedClientFor(client)).toBe(first);
  expect(sharedClientFor(driver)).not.toBe(first);
  first.retain();
  await first.release();
  expect(sharedClientFor(client)).not.toBe(first);
});
