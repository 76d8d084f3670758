import { type Discontinuity, PresenceService, PubSubService } from 'rollcall';
import { createChaosDriver, createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { period } from '../support/machine.js';
import { waitFor } from '../support/wait.js';

// Sentences of docs/testing.md that no other test covers.

let redis: EmbeddedRedis;
let ends: (() => unknown)[];
beforeEach(async () => {
  redis = await createEmbeddedRedis();
  ends = [() => redis.close()];
});
afterEach(async () => {
  for (const end of ends.reverse()) await end();
});

function open(client = redis.connect()): PubSubService {
  const pubsub = new PubSubService({ redis: client });
  ends.push(() => pubsub.close());
  return pubsub;
}

test('after restore(), messages of the cut with history are delivered, and those without are lost', async () => {
  const chaos = createChaosDriver(redis.client);
  const [cutOff, other] = [open(chaos as never), open()];
  const history = { size: 10, ttl: 60_000 };
  const seen: unknown[] = [];
  const gaps: [string, Discontinuity['reason'], boolean][] = [];
  for (const channel of ['kept', 'plain']) {
    await cutOff.subscribe(channel, (message) => seen.push(message), {
      onDiscontinuity: ({ reason, recovered }) => gaps.push([channel, reason, recovered]),
      ...(channel === 'kept' && { since: 'latest' as const }),
    });
  }
  await chaos.cut();
  await other.publish('kept', 1, { history });
  await other.publish('plain', 2);
  chaos.restore();
  await waitFor(() => gaps.length === 2);
  await other.publish('plain', 3);
  await waitFor(() => seen.includes(3));
  expect(seen).toEqual([1, 3]);
  expect(gaps.sort()).toEqual([
    ['kept', 'reconnected', true],
    ['plain', 'reconnected', false],
  ]);
});

test('two clients share only the data in Redis, and flush() removes all of it', async () => {
  const [one, two] = [open(redis.client), open(redis.client)];
  const third = open();
  for (const pubsub of [one, two, third]) await pubsub.subscribe('x', () => {});
  // Services on one client share a subscription; those of another client have their own.
  expect(await one.publish('x', 1, { history: { size: 1, ttl: 60_000 } })).toMatchObject({ receivers: 2 });
  expect((await third.history('x')).messages).toHaveLength(1);
  await redis.flush();
  expect((await third.history('x')).messages).toEqual([]);
});

test('a service that is closed while it is cut off leaves its sockets to the others, like a crash', async () => {
  const lease = period(500);
  const options = { lease, sweepInterval: lease / 10, onError: null };
  const chaos = createChaosDriver(redis.client);
  const crashed = new PresenceService({ redis: chaos, timeout: 200, ...options });
  const other = new PresenceService({ redis: redis.connect(), ...options });
  ends.push(() => other.close());
  const changes: string[] = [];
  await other.subscribe(({ userId, status }) => changes.push(`${userId} ${status}`));
  await crashed.setPresence('ann', 'socket');
  await waitFor(() => changes.length === 1);
  await chaos.cut();
  await crashed.close();
  expect((await other.getPresence('ann'))?.status).toBe('online');
  await waitFor(() => changes.length === 2);
  expect(changes).toEqual(['ann online', 'ann offline']);
});
