import { PresenceService, PubSubService } from 'rollcall';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { waitFor } from '../support/wait.js';

// Where the embedded Redis differs from a server: docs/testing.md lists these differences.

let redis: EmbeddedRedis;
let ends: (() => unknown)[];
beforeEach(async () => {
  redis = await createEmbeddedRedis();
  ends = [() => redis.close()];
});
afterEach(async () => {
  vi.useRealTimers();
  for (const end of ends.reverse()) await end();
});

function open(): PubSubService {
  const pubsub = new PubSubService({ redis: redis.connect() });
  ends.push(() => pubsub.close());
  return pubsub;
}

test.each(['the same', 'another'])('handlers run after publish of %s client has resolved', async (whose) => {
  const subscriber = open();
  const publisher = whose === 'the same' ? subscriber : open();
  const seen: unknown[] = [];
  await subscriber.subscribe('x', (message) => seen.push(message));
  await subscriber.psubscribe('x*', (message) => seen.push(message));
  const { receivers } = await publisher.publish('x', 1);
  expect([receivers, seen]).toEqual([2, []]);
  await waitFor(() => seen.length === 2);
});

test('a handler is not called after unsubscribe, also for a message in flight', async () => {
  const pubsub = open();
  const seen: unknown[] = [];
  const subscription = await pubsub.subscribe('x', (message) => seen.push(message));
  await pubsub.publish('x', 1);
  await subscription.unsubscribe();
  await pubsub.subscribe('x', (message) => seen.push(['second', message]));
  await pubsub.publish('x', 2);
  await waitFor(() => seen.length === 1);
  expect(seen).toEqual([['second', 2]]);
});

test('messages of two clients in one tick alternate, each in its own order', async () => {
  const [subscriber, ann, bob] = [open(), open(), open()];
  await Promise.all([ann.connect(), bob.connect()]);
  const seen: unknown[] = [];
  await subscriber.subscribe('x', (message) => seen.push(message));
  await Promise.all([
    ...[1, 2, 3].map((n) => ann.publish('x', `a${n}`)),
    ...[1, 2, 3].map((n) => bob.publish('x', `b${n}`)),
  ]);
  await waitFor(() => seen.length === 6);
  expect(seen).toEqual(['a1', 'b1', 'a2', 'b2', 'a3', 'b3']);
});

test('keys expire, and TIME runs, by Date of this process', async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: 1_700_000_000_000 });
  const pubsub = open();
  const history = { size: 10, ttl: 60_000 };
  const { position } = await pubsub.publish('x', 1, { history });
  expect(position?.startsWith('1700000000')).toBe(true);
  expect((await pubsub.history('x')).messages).toHaveLength(1);
  // A history can exist for an eighth longer than its `ttl`.
  vi.setSystemTime(1_700_000_000_000 + 90_000);
  expect((await pubsub.history('x')).messages).toEqual([]);
  const presence = new PresenceService({ redis: redis.connect() });
  ends.push(() => presence.close());
  const { lastSeen } = await presence.setPresence('ann', 's1');
  expect(lastSeen.getTime()).toBe(1_700_000_090_000);
});

test('in patterns, ? matches one UTF-16 unit', async () => {
  const pubsub = open();
  const seen: string[] = [];
  await pubsub.psubscribe('x:?', (_, { channel }) => seen.push(channel));
  for (const channel of ['x:a', 'x:ä', 'x:ab', 'x:😀', 'x:?']) await pubsub.publish(channel, 1);
  await waitFor(() => seen.includes('x:?'));
  expect(seen).toEqual(['x:a', 'x:ä', 'x:?']);
});

test('receivers counts a pattern once, however many clients have subscribed to it', async () => {
  const [one, two] = [open(), open()];
  await one.psubscribe('x*', () => {});
  await two.psubscribe('x*', () => {});
  expect((await one.publish('x', 1)).receivers).toBe(1);
});
