import { createRollcall, PubSubService, type RollcallError } from 'rollcall';
import { createChaosDriver, createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { waitFor } from '../support/wait.js';

let redis: EmbeddedRedis;
let ends: (() => unknown)[];
beforeEach(async () => {
  redis = await createEmbeddedRedis();
  ends = [() => redis.close()];
});
afterEach(async () => {
  for (const end of ends.reverse()) await end();
});

function open(client = redis.connect()) {
  const driver = createChaosDriver(client);
  const pubsub = new PubSubService({ redis: driver });
  ends.push(() => pubsub.close());
  return { driver, pubsub };
}

const outcomeOf = (call: Promise<unknown>) =>
  call.then(
    () => 'ok',
    (error: RollcallError) => error.outcome,
  );

test('cut() ends all subscriptions of the service in Redis, and they are restored after restore()', async () => {
  const { driver, pubsub } = open();
  const other = open().pubsub;
  const seen: unknown[] = [];
  const one = await pubsub.subscribe('one', (message) => seen.push(message));
  await pubsub.psubscribe('o*', () => {});
  await pubsub.subscribe('two', (message) => seen.push(message));
  expect((await other.publish('one', 'before')).receivers).toBe(2);
  await driver.cut();
  expect((await other.publish('one', 'lost')).receivers).toBe(0);
  await one.unsubscribe();
  driver.restore();
  await waitFor(async () => (await other.publish('two', 'after')).receivers === 1);
  expect((await other.publish('one', 'nobody')).receivers).toBe(1);
  await waitFor(() => seen.includes('after'));
  expect(seen).not.toContain('lost');
  await pubsub.close();
  await waitFor(async () => (await other.publish('two', 'closed')).receivers === 0);
});

test('a subscription that is confirmed during a cut is removed from Redis', async () => {
  const { driver, pubsub } = open();
  const other = open().pubsub;
  await pubsub.connect();
  const subscribed = pubsub.subscribe('one', () => {});
  await new Promise((resolve) => process.nextTick(resolve));
  await driver.cut();
  await waitFor(async () => (await other.publish('one', 1)).receivers === 0);
  driver.restore();
  await subscribed;
  expect((await other.publish('one', 2)).receivers).toBe(1);
});

test('failNext counts commands, also those of one batch', async () => {
  const { driver, pubsub } = open();
  await pubsub.connect();
  driver.failNext('reply-lost');
  expect(driver.pendingFaults).toBe(1);
  expect(await Promise.all([1, 2, 3].map((n) => outcomeOf(pubsub.publish('a', n))))).toEqual([
    'unknown',
    'ok',
    'ok',
  ]);
  expect(driver.pendingFaults).toBe(0);
  driver.failNext('reply-lost', 2);
  expect(await Promise.all([1, 2, 3].map((n) => outcomeOf(pubsub.publish('a', n))))).toEqual([
    'unknown',
    'unknown',
    'ok',
  ]);
});

test('commands after a lost request are sent after it, in order', async () => {
  const { driver, pubsub } = open();
  const seen: unknown[] = [];
  await open().pubsub.subscribe('a', (message) => seen.push(message));
  await pubsub.connect();
  await pubsub.publish('a', 0);
  driver.failNext('request-lost');
  await Promise.all([1, 2, 3].map((n) => pubsub.publish('a', n)));
  await waitFor(() => seen.length === 4);
  expect(seen).toEqual([0, 1, 2, 3]);
  expect(driver.pendingFaults).toBe(0);
});

test('a lost reply to a read or SUBSCRIBE counts as a command, and the call succeeds', async () => {
  const { driver, pubsub } = open();
  await pubsub.publish('a', 1, { history: { size: 10, ttl: 60_000 } });
  driver.failNext('reply-lost', 1, 'read');
  expect((await pubsub.history('a')).messages).toHaveLength(1);
  expect(driver.pendingFaults).toBe(0);
  driver.failNext('reply-lost', 1, 'subscribe');
  const seen: unknown[] = [];
  await pubsub.subscribe('a', (message) => seen.push(message));
  expect(driver.pendingFaults).toBe(0);
  await pubsub.publish('a', 2);
  await waitFor(() => seen.includes(2));
});

test('a fault for one kind of command waits for such a command', async () => {
  const driver = createChaosDriver(redis.connect());
  const { pubsub, presence, close } = createRollcall({ redis: driver });
  ends.push(() => close());
  await presence.setPresence('ann', 's1', 'online');
  driver.failNext('reply-lost', 1, 'publish');
  await presence.setPresence('ann', 's1', 'away');
  expect((await presence.getPresence('ann'))?.status).toBe('away');
  expect(driver.pendingFaults).toBe(1);
  expect(await outcomeOf(pubsub.publish('a', 1))).toBe('unknown');
  driver.failNext('request-lost', 1, 'write');
  expect(await outcomeOf(pubsub.publish('a', 1))).toBe('ok');
  expect(driver.pendingFaults).toBe(1);
  await presence.setPresence('ann', 's1', 'busy');
  expect(driver.pendingFaults).toBe(0);
});

test('sweeps and renewals use up no faults, unless the fault names them', async () => {
  const driver = createChaosDriver(redis.connect());
  const stages: string[] = [];
  const { pubsub, presence, close } = createRollcall({
    redis: driver,
    onError: (_, { stage }) => void stages.push(stage),
    presence: { lease: 500, sweepInterval: 50 },
  });
  ends.push(() => close());
  await presence.setPresence('ann', 's1');
  await pubsub.publish('a', 0);
  driver.failNext('reply-lost', 3, 'background');
  await waitFor(() => driver.pendingFaults === 0);
  // Several sweeps and a renewal start after this.
  driver.failNext('reply-lost');
  const sweeps = () => driver.backgroundCommands;
  const before = sweeps();
  await waitFor(() => sweeps() >= before + 5);
  expect(driver.pendingFaults).toBe(1);
  expect(await outcomeOf(pubsub.publish('a', 1))).toBe('unknown');
});

test('invalid arguments are rejected', () => {
  const { driver } = open();
  const refuse = (...args: unknown[]) => expect(() => driver.failNext(...(args as ['reply-lost'])));
  refuse('replylost').toThrow('fault: must be one of request-lost, reply-lost, not "replylost"');
  refuse().toThrow('fault: must be one of request-lost, reply-lost, not undefined');
  refuse('reply-lost', 0).toThrow('count: must be a whole number of at least 1, not 0');
  refuse('reply-lost', '2').toThrow('count: must be a whole number of at least 1, not "2"');
  refuse('reply-lost', 1, 'publsh').toThrow(
    'kind: must be one of publish, write, read, subscribe, background, not "publsh"',
  );
  expect(driver.pendingFaults).toBe(0);
  expect(() => createChaosDriver('redis://localhost' as never)).toThrow('redis: is a string');
});
