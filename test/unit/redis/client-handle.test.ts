import { beforeEach, describe, expect, test } from 'vitest';
import { ClosedError, CommandError, ConnectionError, TimeoutError } from '../../../src/internal/errors.js';
import { assertNoErrorReply, ClientHandle, SharedClient } from '../../../src/redis/client-handle.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

const TIMEOUT = 800;

let driver: FakeDriver;
let clock: FakeClock;
let link: ClientHandle;

beforeEach(() => {
  driver = new FakeDriver();
  clock = new FakeClock();
  link = new ClientHandle('PubSubService', new SharedClient(driver, () => {}), TIMEOUT, clock);
});

function watch<T>(promise: Promise<T>) {
  const one: { value?: T; error?: unknown } = {};
  promise.then(
    (value) => {
      one.value = value;
    },
    (error) => {
      one.error = error;
    },
  );
  return one;
}

/** Later than any deadline, which may be late by an eighth. */
async function expire() {
  clock.advance(TIMEOUT * 1.2);
  await turn();
}

const never = () => new Promise<never>(() => {});

describe('withDeadline', () => {
  test('withDeadline passes results on, and failures as rollcall errors', async () => {
    expect(await link.withDeadline('x', async () => 1)).toBe(1);
    const refusal = new CommandError('no');
    await expect(link.withDeadline('x', () => Promise.reject(refusal))).rejects.toBe(refusal);
    await expect(link.withDeadline('x', () => Promise.reject(new Error('ERR bad')))).rejects.toBeInstanceOf(
      CommandError,
    );
    await expect(link.withDeadline('x', () => Promise.reject(new Error('socket')))).rejects.toMatchObject({
      name: 'ConnectionError',
      outcome: 'unknown',
    });
    clock.advance(TIMEOUT);
    expect(clock.timers).toBe(0);
  });

  test('withDeadline rejects at the deadline, as unknown unless the call reports that nothing was sent', async () => {
    driver.connection('lost', new Error('ECONNRESET'));
    const unknown = watch(link.withDeadline('one', never));
    const failed = watch(link.withDeadline('two', never, () => false));
    await expire();
    expect(unknown.error).toBeInstanceOf(TimeoutError);
    expect(unknown.error).toMatchObject({
      outcome: 'unknown',
      message: 'one did not finish within 800 ms (ECONNRESET)',
      cause: { message: 'ECONNRESET' },
    });
    expect(failed.error).toMatchObject({ name: 'TimeoutError', outcome: 'failed' });
  });

  test('close rejects pending calls', async () => {
    const open = watch(link.withDeadline('x', never));
    await link.close();
    await turn();
    expect(open.error).toBeInstanceOf(ClosedError);
    await expire();
    expect(clock.timers).toBe(0);
  });
});

describe('connect', () => {
  test('connect resolves when the driver is connected', async () => {
    const done = watch(link.connect());
    driver.only.ack();
    await turn();
    expect(done).toEqual({ value: undefined });
  });

  test('connect rejects with a ConnectionError and the reason at the deadline, and a later call succeeds', async () => {
    driver.ready = false;
    const done = watch(link.connect());
    driver.connection('lost', new Error('ECONNREFUSED'));
    await expire();
    expect(done.error).toBeInstanceOf(ConnectionError);
    expect(done.error).toMatchObject({ cause: { message: 'ECONNREFUSED' }, outcome: 'failed' });
    const later = watch(link.connect());
    driver.only.ack();
    await turn();
    expect(later).toEqual({ value: undefined });
  });

  test('connect rejects at once when the client stops reconnecting', async () => {
    const done = watch(link.connect());
    driver.only.fail(new Error('connect ECONNREFUSED'));
    await turn();
    expect(done.error).toMatchObject({ name: 'ConnectionError', cause: { message: 'connect ECONNREFUSED' } });
  });
});

describe('run', () => {
  test('run sends its commands at once, with its options', async () => {
    const done = watch(link.execute('get', [['GET', 'a']], { atomic: true }));
    expect(driver.only).toMatchObject({ commands: [['GET', 'a']], options: { atomic: true } });
    driver.only.ack(['1']);
    await turn();
    expect(done.value).toEqual(['1']);
  });

  test('a refused command rejects', async () => {
    const done = watch(
      link.execute('write', [
        ['GET', 'a'],
        ['SET', 'a', '1'],
      ]),
    );
    driver.only.ack(['1', new Error('OOM command not allowed')]);
    await turn();
    expect(done.error).toMatchObject({
      name: 'CommandError',
      message: 'write: Redis refused: OOM command not allowed',
    });
  });

  test.each(['failed', 'unknown'] as const)(
    'is sent again when the connection breaks (%s)',
    async (outcome) => {
      const done = watch(link.execute('write', [['SET', 'a', '1']]));
      driver.only.interrupt(outcome);
      await turn();
      expect(driver.pending).toEqual([]);
      clock.advance(20);
      driver.only.ack(['OK']);
      await turn();
      expect(done.value).toEqual(['OK']);
    },
  );

  test('a batch that Redis refused as a whole is not sent again', async () => {
    const done = watch(link.execute('write', [['SET', 'a', '1']], { atomic: true }));
    driver.only.refuse('EXECABORT');
    await turn();
    clock.advance(100);
    expect(driver.pending).toEqual([]);
    expect(done.error).toBeInstanceOf(CommandError);
  });

  test('an unsent call fails at the deadline, and is never sent', async () => {
    driver.connection('lost');
    const done = watch(link.execute('write', [['SET', 'a', '1']]));
    await expire();
    expect(done.error).toMatchObject({ name: 'TimeoutError', outcome: 'failed' });
    driver.connection('ready');
    await turn();
    clock.advance(1_000);
    expect(driver.calls.filter(({ method }) => method === 'execute')).toEqual([]);
  });

  test('a sent call is unknown at the deadline, and is not sent again', async () => {
    const done = watch(link.execute('write', [['SET', 'a', '1']]));
    const call = driver.only;
    await expire();
    expect(done.error).toMatchObject({ name: 'TimeoutError', outcome: 'unknown' });
    call.interrupt();
    await turn();
    clock.advance(1_000);
    expect(driver.pending).toEqual([]);
  });
});

describe('close', () => {
  test('close is idempotent, releases the shared client once, and makes every call reject', async () => {
    const open = watch(link.execute('write', [['SET', 'a', '1']]));
    await Promise.all([link.close(), link.close()]);
    await link.close();
    expect(driver.closed).toBe(1);
    expect(link.closed).toBe(true);
    await turn();
    expect(open.error).toBeInstanceOf(ClosedError);
    expect(() => link.assertOpen()).toThrow('this PubSubService is closed');
    await expect(link.execute('write', [])).rejects.toBeInstanceOf(ClosedError);
    await expect(link.connect()).rejects.toBeInstanceOf(ClosedError);
  });
});

test('assertNoErrorReply names the call and the first error', () => {
  assertNoErrorReply('x', ['OK', null, 1]);
  expect(() => assertNoErrorReply('x', ['OK', new Error('one'), new Error('two')])).toThrow(
    'x: Redis refused: one',
  );
});
