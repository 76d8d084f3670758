import { beforeEach, describe, expect, test } from 'vitest';
import { ClosedError, CommandError, ConnectionError, TimeoutError } from '../../../src/errors.js';
import { Publisher } from '../../../src/pubsub/publisher.js';
import type { PlainCommand } from '../../../src/redis/driver.js';
import { Link } from '../../../src/redis/link.js';
import { Session } from '../../../src/redis/session.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

const TIMEOUT = 800;

let driver: FakeDriver;
let clock: FakeClock;
let link: Link;
let publisher: Publisher;

beforeEach(() => {
  driver = new FakeDriver();
  clock = new FakeClock();
  link = new Link('PubSubService', new Session(driver, () => {}), TIMEOUT, clock);
  publisher = new Publisher(link);
});

/** Publishes, and keeps how it ended. */
function publish(payload: string) {
  const one: { receivers?: number; error?: unknown } = {};
  publisher.publish(['PUBLISH', 'x', payload]).then(
    (receivers) => {
      one.receivers = receivers;
    },
    (error) => {
      one.error = error;
    },
  );
  return one;
}

const sent = () =>
  driver.calls
    .filter(({ method }) => method === 'execute')
    .map(({ commands }) => commands.map((command) => (command as PlainCommand)[2]));

/** The connection goes away; the client keeps trying. */
async function offline() {
  driver.connection('commands', 'lost', new Error('ECONNRESET'));
  await turn();
}

test('all of one tick travel in one pipeline, in order, and not in a transaction', async () => {
  const all = ['a', 'b', 'c'].map(publish);
  await Promise.resolve();
  all.push(publish('d'));
  await turn();
  expect(sent()).toEqual([['a', 'b', 'c', 'd']]);
  expect(driver.only.options?.atomic ?? false).toBe(false);
  driver.only.ack([1, 0, 3, 2]);
  await turn();
  expect(all).toEqual([1, 0, 3, 2].map((receivers) => ({ receivers })));
});

test('the next tick does not wait for the answer to the one before', async () => {
  publish('a');
  await turn();
  publish('b');
  await turn();
  expect(sent()).toEqual([['a'], ['b']]);
});

test('a refused publication is a CommandError, and the others of its pipeline are done', async () => {
  const [a, b] = [publish('a'), publish('b')];
  await turn();
  driver.only.ack([new Error('NOPERM no'), 4]);
  await turn();
  expect(a.error).toBeInstanceOf(CommandError);
  expect((a.error as Error).cause).toBeInstanceOf(Error);
  expect(b.receivers).toBe(4);
});

describe('while Redis is away', () => {
  test('it waits, and goes out in order once the connection is back', async () => {
    await offline();
    const one = publish('a');
    await turn();
    publish('b');
    await turn();
    expect(publisher.queued).toBe(2);
    expect(sent()).toEqual([]);
    driver.connection('commands', 'ready');
    await turn();
    expect(sent()).toEqual([['a', 'b']]);
    driver.pending.at(-1)!.ack([1, 1]);
    await turn();
    expect(one.receivers).toBe(1);
    expect(publisher.queued).toBe(0);
  });

  test('at its deadline it has failed, and it is never sent', async () => {
    await offline();
    const one = publish('a');
    await turn();
    clock.advance(TIMEOUT * 1.2);
    await turn();
    expect(one.error).toBeInstanceOf(TimeoutError);
    expect(one.error).toMatchObject({ outcome: 'failed', cause: { message: 'ECONNRESET' } });
    const two = publish('b');
    driver.connection('commands', 'ready');
    await turn();
    expect(sent()).toEqual([['b']]);
    driver.pending.at(-1)!.ack([1]);
    await turn();
    expect(two.receivers).toBe(1);
  });

  test('it fails at once when the client gives up', async () => {
    await offline();
    const one = publish('a');
    await turn();
    driver.connection('commands', 'ended', new Error('no more'));
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(one.error).toMatchObject({ outcome: 'failed' });
    expect(publisher.queued).toBe(0);
  });

  test('what was handed over just too late is taken back, ahead of what came after', async () => {
    const one = publish('a');
    await turn();
    const call = driver.only;
    await offline();
    publish('b');
    await turn();
    call.interrupt('failed');
    await turn();
    expect(publisher.queued).toBe(2);
    driver.connection('commands', 'ready');
    await turn();
    expect(sent()).toEqual([['a'], ['a', 'b']]);
    driver.pending.at(-1)!.ack([1, 1]);
    await turn();
    expect(one.receivers).toBe(1);
  });

  test('what was taken back still has its first deadline', async () => {
    const one = publish('a');
    await turn();
    const call = driver.only;
    clock.advance(TIMEOUT / 2);
    await offline();
    call.interrupt('failed');
    await turn();
    clock.advance(TIMEOUT * 0.7);
    await turn();
    expect(one.error).toMatchObject({ name: 'TimeoutError', outcome: 'failed' });
  });

  test('what expired under way is not taken back', async () => {
    const one = publish('a');
    await turn();
    const call = driver.only;
    clock.advance(TIMEOUT * 1.2);
    await turn();
    expect(one.error).toMatchObject({ name: 'TimeoutError', outcome: 'unknown' });
    await offline();
    call.interrupt('failed');
    await turn();
    expect(publisher.queued).toBe(0);
    driver.connection('commands', 'ready');
    await turn();
    expect(sent()).toEqual([['a']]);
  });
});

test('what breaks under way is unknown, and not sent again', async () => {
  const one = publish('a');
  await turn();
  driver.only.interrupt('unknown');
  await turn();
  expect(one.error).toBeInstanceOf(ConnectionError);
  expect(one.error).toMatchObject({ outcome: 'unknown' });
  driver.connection('commands', 'ready');
  await turn();
  expect(sent()).toEqual([['a']]);
});

test('the deadline is kept within an eighth, and an answer in time calls it off', async () => {
  const [late, done] = [publish('a'), publish('b')];
  await turn();
  clock.advance(TIMEOUT - 1);
  await turn();
  expect(late.error).toBeUndefined();
  const call = driver.only;
  clock.advance(TIMEOUT / 8 + 1);
  await turn();
  expect(late.error).toMatchObject({ name: 'TimeoutError', outcome: 'unknown' });
  call.ack([1, 1]);
  await turn();
  expect(done.error).toBeDefined();
  expect(late.receivers).toBeUndefined();
  const third = publish('c');
  await turn();
  driver.only.ack([1]);
  await turn();
  clock.advance(TIMEOUT * 2);
  await turn();
  expect(third).toEqual({ receivers: 1 });
  expect(clock.timers).toBe(0);
});

describe('close', () => {
  test('fails what has not been sent, at once', async () => {
    await offline();
    const one = publish('a');
    await turn();
    publisher.close();
    await turn();
    expect(one.error).toBeInstanceOf(ClosedError);
    driver.connection('commands', 'ready');
    await turn();
    expect(sent()).toEqual([]);
    clock.advance(TIMEOUT * 2);
    expect(clock.timers).toBe(0);
  });

  test('nothing is taken back any more', async () => {
    const one = publish('a');
    await turn();
    publisher.close();
    const call = driver.only;
    await offline();
    call.interrupt('failed');
    await turn();
    expect(one.error).toBeInstanceOf(ClosedError);
    driver.connection('commands', 'ready');
    await turn();
    expect(sent()).toEqual([['a']]);
  });
});
