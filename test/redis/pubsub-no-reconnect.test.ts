import type { EventEmitter } from 'node:events';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Discontinuity, PubSubService, type RedisClient } from '../../src/index.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// Clients whose own policy is not to reconnect: their owner reconnects the one he gave us, and the
// duplicate that is subscribed is ours to replace.

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const clients: [string, () => { redis: RedisClient; end: () => void }][] = [
  [
    'node-redis',
    () => {
      const redis = createClient({ url: server.url, socket: { reconnectStrategy: false } });
      return { redis, end: () => redis.isOpen && redis.destroy() };
    },
  ],
  [
    'ioredis',
    () => {
      const redis = new Redis(server.port, { retryStrategy: () => null });
      return { redis, end: () => redis.disconnect() };
    },
  ],
];

describe.each(clients)('%s that does not reconnect', (_name, make) => {
  test('has its subscriptions restored on a new connection, with a discontinuity', async () => {
    const { redis, end } = make();
    (redis as unknown as EventEmitter).on('error', () => {});
    const pubsub = new PubSubService({ redis });
    try {
      const received: unknown[] = [];
      const gaps: Discontinuity[] = [];
      await pubsub.subscribe('news', (message) => received.push(message), {
        onDiscontinuity: (gap) => gaps.push(gap),
      });
      await pubsub.psubscribe('n*', (message) => received.push(message));
      await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await waitFor(() => gaps.length === 1, { message: 'the gap to be reported' });
      expect(gaps[0]).toMatchObject({ reason: 'reconnected', recovered: false });
      await pubsub.publish('news', 'after');
      await waitFor(() => received.length === 2);
      expect(received).toEqual(['after', 'after']);
      expect(pubsub.stats()).toMatchObject({ channels: 1, patterns: 1 });
    } finally {
      await pubsub.close();
      end();
    }
  });
});
