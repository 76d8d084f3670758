import type { EventEmitter } from 'node:events';
import { Cluster } from 'ioredis';
import { createCluster } from 'redis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRollcall, type Discontinuity, type RedisClient } from '../../src/index.js';
import { timeLimit } from '../support/machine.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type NumbProxy, startNumbProxy } from '../support/subscriber-blackhole-proxy.js';
import { waitFor } from '../support/wait.js';

// As idle-connections.test.ts, for rollcall's own connections to the masters of a Cluster.

const host = '127.0.0.1';

let cluster: RedisCluster;
let proxies: NumbProxy[];
beforeAll(async () => {
  cluster = await startRedisCluster({ replicas: 0 });
  proxies = await Promise.all(cluster.ports.map((port) => startNumbProxy(port)));
});
afterAll(async () => {
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  await cluster.stop();
});

/** The address of the proxy before each node. */
const addresses = () =>
  Object.fromEntries(
    cluster.ports.map((port, at) => [`${host}:${port}`, { host, port: (proxies[at] as NumbProxy).port }]),
  );

const clients: [name: string, open: () => { client: RedisClient; end(): void }][] = [
  [
    'node-redis',
    () => {
      const rootNodes = Object.values(addresses()).map((socket) => ({ socket }));
      const client = createCluster({ rootNodes, nodeAddressMap: addresses() });
      return { client, end: () => client.destroy() };
    },
  ],
  [
    'ioredis',
    () => {
      const client = new Cluster(Object.values(addresses()), { natMap: addresses() });
      return { client, end: () => client.disconnect() };
    },
  ],
];

describe.each(clients)('on a Cluster, with %s', (name, open) => {
  test('a connection that was dropped in silence is replaced within 3 s of the first command', async () => {
    const { client, end } = open();
    (client as unknown as EventEmitter).on('error', () => {});
    const { pubsub, presence, close } = createRollcall({ redis: client, onError: null });
    const options = { history: { size: 10, ttl: 60_000 }, idempotencyKey: 'two' };
    const gaps: Discontinuity[] = [];
    const got: unknown[] = [];
    await pubsub.subscribe(name, (message) => got.push(message), {
      onDiscontinuity: (gap) => gaps.push(gap),
    });
    await pubsub.publish(name, 1, { ...options, idempotencyKey: 'one' });
    for (const proxy of proxies) proxy.dropIdle(200, 'silence', 'other');
    await waitFor(() => proxies.every((proxy) => proxy.awaitingDrop === 0));
    const began = performance.now();
    await waitFor(() => pubsub.publish(name, 2, options).then(Boolean, () => false), {
      timeout: timeLimit(15_000),
    });
    expect(performance.now() - began).toBeLessThan(timeLimit(5_000));
    await presence.setPresence('ann', 's');
    await waitFor(() => got.includes(2));
    expect(gaps.filter(({ recovered }) => !recovered)).toEqual([]);
    await close();
    end();
  });
});
