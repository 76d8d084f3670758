import type { EventEmitter } from 'node:events';
import { Cluster } from 'ioredis';
import { Cluster as Cluster6 } from 'ioredis6';
import { createCluster } from 'redis';
import { createCluster as createCluster5 } from 'redis5';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createRollcall, type RedisClient } from '../../src/index.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { waitFor } from '../support/wait.js';

// Cluster clients that their owner closes, and those of a Cluster whose nodes announce no host.

interface Client extends EventEmitter {
  readonly isOpen?: boolean;
  readonly status?: string;
  connect(): Promise<unknown>;
  close?(): Promise<unknown>;
  quit?(): Promise<unknown>;
  destroy?(): void;
  disconnect?(): void;
}

let cluster: RedisCluster;
/** Its nodes reply without a host: a client uses the host of the node that it asked. */
let hostless: RedisCluster;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  const args = ['--cluster-preferred-endpoint-type', 'unknown-endpoint'];
  [cluster, hostless] = await Promise.all([
    startRedisCluster({ replicas: 0 }),
    startRedisCluster({ replicas: 0, args }),
  ]);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => Promise.all([cluster?.stop(), hostless?.stop()]));

const host = '127.0.0.1';
const byUrl = (ports: readonly number[]) => ports.map((port) => ({ url: `redis://${host}:${port}` }));
const bySocket = (ports: readonly number[]) => ports.map((port) => ({ socket: { host, port } }));
const nodes = (ports: readonly number[]) => ports.map((port) => ({ host, port }));
const clients: [name: string, make: (ports: readonly number[]) => object][] = [
  ['node-redis 6', (ports) => createCluster({ rootNodes: byUrl(ports) })],
  ['node-redis 5', (ports) => createCluster5({ rootNodes: bySocket(ports) })],
  ['ioredis 5', (ports) => new Cluster(nodes(ports), { lazyConnect: true })],
  ['ioredis 6', (ports) => new Cluster6(nodes(ports), { lazyConnect: true })],
];

const isClosed = ({ isOpen, status }: Client) => (isOpen === undefined ? status === 'end' : !isOpen);
const closeClient = async (client: Client): Promise<void> => {
  await (client.close ? client.close() : client.quit?.());
  await waitFor(() => isClosed(client));
};

describe.each(clients)('a Cluster client of %s', (_, make) => {
  function serve(on = cluster) {
    const client = make(on.ports) as Client;
    client.on('error', () => {});
    const rollcall = createRollcall({ redis: client as unknown as RedisClient, onError: null });
    ends.push(
      () => (client.destroy ? client.isOpen && client.destroy() : client.disconnect?.()),
      () => rollcall.close(),
    );
    return { client, ...rollcall };
  }

  test('works on nodes that announce no host', async () => {
    const { presence, pubsub } = serve(hostless);
    const seen: unknown[] = [];
    await pubsub.subscribe('x', (message) => void seen.push(message), { since: 'latest' });
    for (let user = 0; user < 20; user++) await presence.setPresence(`user ${user}`, 's');
    await pubsub.publish('x', 1, { history: { size: 10, ttl: 60_000 } });
    await waitFor(() => seen.length === 1);
    const users = Array.from({ length: 20 }, (_, user) => `user ${user}`);
    expect((await presence.getMultiplePresence(users)).size).toBe(20);
  });

  test('that its owner closes before the first call stays closed, and calls reject at once', async () => {
    const { client, presence, pubsub, close } = serve();
    await client.connect();
    await closeClient(client);
    const began = performance.now();
    await expect(pubsub.publish('x', 1)).rejects.toThrow('its owner has closed it');
    await expect(presence.setPresence('ann', 's')).rejects.toThrow('its owner has closed it');
    await close();
    expect(performance.now() - began).toBeLessThan(4_000);
    expect(isClosed(client)).toBe(true);
  });

  test.each(['the client first', 'both at once', 'rollcall first'])(
    'closing %s leaves the client closed, and no user online',
    async (order) => {
      const { client, presence, pubsub, close } = serve();
      const watcher = serve();
      await presence.setPresence('ann', 's');
      await pubsub.subscribe('x', () => {});
      const began = performance.now();
      if (order === 'the client first') {
        await closeClient(client);
        await close();
      } else if (order === 'both at once') await Promise.all([closeClient(client), close()]);
      else {
        await close();
        await closeClient(client);
      }
      expect(performance.now() - began).toBeLessThan(5_000);
      expect(isClosed(client)).toBe(true);
      expect((await watcher.presence.getPresence('ann'))?.status).toBe('offline');
    },
  );
});
