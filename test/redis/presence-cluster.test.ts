import type { EventEmitter } from 'node:events';
import { Cluster as IoredisFive } from 'ioredis';
import { createCluster } from 'redis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigurationError, PresenceService, type RedisClient } from '../../src/index.js';
import { PartitionKeys, partitionOf } from '../../src/presence/keys.js';
import { ownStatusBehaviour } from '../shared/own-status-behaviour.js';
import { presenceBehaviour } from '../shared/presence-behaviour.js';
import type { PresenceBackend } from '../shared/presence-fixture.js';
import { ttlSocketsBehaviour } from '../shared/ttl-sockets-behaviour.js';
import { type InvocationOptions, invoke } from '../support/invocation.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { waitFor } from '../support/wait.js';

// Presence on a Redis Cluster: the same behaviour, over 64 partitions.

let cluster: RedisCluster;

beforeAll(async () => {
  cluster = await startRedisCluster({ replicas: 0 });
});

afterAll(() => cluster.stop());

const host = '127.0.0.1';

const clients: Readonly<Record<string, () => { client: RedisClient; end: () => unknown }>> = {
  'node-redis 6': () => {
    const rootNodes = cluster.ports.map((port) => ({ socket: { host, port } }));
    const client = createCluster({ rootNodes, defaults: { socket: { reconnectStrategy: 50 } } });
    return { client, end: () => client.destroy() };
  },
  'ioredis 5': () => {
    const client = new IoredisFive(cluster.ports.map((port) => ({ host, port })));
    return { client, end: () => client.disconnect() };
  },
};

async function everywhere(...command: string[]): Promise<string[]> {
  return Promise.all(cluster.ports.map((port) => cluster.cli(port, ...command)));
}

function fixture(make: () => { client: RedisClient; end: () => unknown }): PresenceBackend {
  const ends: (() => unknown)[] = [];
  return {
    client: () => {
      const { client, end } = make();
      // After rollcall has let go of a client, its errors are its owner's business again.
      (client as unknown as EventEmitter).on('error', () => {});
      ends.push(end);
      return client;
    },
    flush: async () => void (await everywhere('FLUSHALL')),
    end: async () => {
      for (const end of ends) await end();
    },
  };
}

describe.each(Object.entries(clients))('presence on a cluster with %s', (_name, make) => {
  presenceBehaviour(
    async () => {
      await everywhere('FLUSHALL');
      return fixture(make);
    },
    { partitions: 64 },
  );
});

describe.each(Object.entries(clients))('own statuses on a cluster with %s', (_name, make) => {
  ownStatusBehaviour(
    async () => {
      await everywhere('FLUSHALL');
      return fixture(make);
    },
    { lookupCache: false },
  );
});

describe.each(Object.entries(clients))('sockets without a process on a cluster with %s', (_name, make) => {
  ttlSocketsBehaviour(async () => {
    await everywhere('FLUSHALL');
    return fixture(make);
  });
});

test.each(['node-redis', 'ioredis'] as const)(
  'invocations on a cluster with %s: a dead one leaves nothing that others do not end',
  async (client) => {
    await everywhere('FLUSHALL');
    const options = { ports: cluster.ports, cluster: true, client };
    const registered = await invoke({
      ...options,
      calls: [
        ['setPresence', 'ann', 's1', 'online', null, { ttl: 500 }],
        ['setPresence', 'bob', 's1', 'online', null, { ttl: 600_000 }],
      ],
    });
    expect(registered).toMatchObject({ results: [{ status: 'online' }, { status: 'online' }], errors: [] });
    const run = async (...calls: InvocationOptions['calls']) => {
      const { results, errors } = await invoke({ ...options, calls });
      expect(errors).toEqual([]);
      return results;
    };
    // Without a heartbeat, which would prolong the life of the socket.
    await waitFor(async () => {
      const [ann] = (await run(['getPresence', 'ann'])) as [{ status: string }];
      return ann.status === 'offline';
    });
    expect(await run(['heartbeat', 'ann', 's1'], ['heartbeat', 'bob', 's1'], ['getOnlineCount'])).toEqual([
      false,
      true,
      1,
    ]);
    const keys = (await everywhere('KEYS', '*')).join('\n');
    expect(keys).not.toMatch(/:nodes$|:node:|:inbox:/m);
  },
);

describe.each(Object.entries(clients))('the layout on a cluster with %s', (_name, make) => {
  test('users are spread over 64 partitions and all nodes, and found again', async () => {
    await everywhere('FLUSHALL');
    const place = fixture(make);
    const service = new PresenceService({ redis: place.client() });
    try {
      const users = Array.from({ length: 300 }, (_, at) => `user-${at}`);
      await Promise.all(users.map((user) => service.setPresence(user, 's1')));
      expect(await service.getOnlineCount()).toBe(300);
      const found = await service.getMultiplePresence(users);
      expect([...found.keys()]).toEqual(users);
      const listed: string[] = [];
      for await (const user of service.listOnlineUsers()) listed.push(user);
      expect(listed.sort()).toEqual([...users].sort());
      for (const size of await everywhere('DBSIZE')) expect(Number(size)).toBeGreaterThan(100);
      const key = new PartitionKeys('rollcall', partitionOf('user-7', 64)).user('user-7');
      expect(await cluster.cli(await cluster.nodeOf(key), 'GET', key)).toContain('online');
    } finally {
      await service.close();
      await place.end();
    }
  });

  test('another number of partitions is rejected with an error that says what to do', async () => {
    await everywhere('FLUSHALL');
    const place = fixture(make);
    const first = new PresenceService({ redis: place.client() });
    const second = new PresenceService({ redis: place.client(), partitions: 16 });
    const apart = new PresenceService({ redis: place.client(), partitions: 16, prefix: 'other' });
    try {
      await first.setPresence('ann', 's1');
      const refused = second.setPresence('ann', 's2');
      await expect(refused).rejects.toThrow(ConfigurationError);
      await expect(refused).rejects.toThrow(/64 partitions.*uses 16: set partitions to 64, or give/);
      expect((await apart.setPresence('ann', 's2')).sockets).toHaveLength(1);
      expect((await first.getPresence('ann'))?.socketIds).toEqual(['s1']);
    } finally {
      await Promise.all([first.close(), second.close(), apart.close()]);
      await place.end();
    }
  });
});

test.each([
  ['NOREPLICAS', 'min-replicas-to-write', '1', '0'],
  ['OOM', 'maxmemory', '1', '0'],
])(
  'writes refused by all masters for four leases (%s): no user goes offline',
  async (cause, setting, refuse, accept) => {
    await everywhere('FLUSHALL');
    const LEASE = 1_500;
    const errors: string[] = [];
    const backends = Object.values(clients).map(fixture);
    // Users in few of the partitions: in most of them a process owns nothing, and it judges there too.
    const services = [0, 1, 2, 3].map((at) => {
      const redis = (backends[at % backends.length] as PresenceBackend).client();
      return new PresenceService({
        redis,
        lease: LEASE,
        prefix: `refused-${cause}`,
        onError: (error) => errors.push(error.message),
      });
    });
    const [reader, ...owners] = services as [PresenceService, ...PresenceService[]];
    const users = owners.flatMap((_, index) => [0, 1, 2, 3].map((at) => `u${index}-${at}`));
    const offline: string[] = [];
    await reader.subscribe(({ userId, status }) => {
      if (status === 'offline') offline.push(userId);
    });
    await Promise.all(users.map((user, at) => (owners[at % 3] as PresenceService).setPresence(user, 's')));
    const pass = async (ms: number) => {
      const end = performance.now() + ms;
      await waitFor(() => performance.now() >= end, { timeout: ms + 10_000, interval: 50 });
    };
    try {
      await everywhere('CONFIG', 'SET', setting, refuse);
      await pass(4 * LEASE);
    } finally {
      await everywhere('CONFIG', 'SET', setting, accept);
    }
    await pass(4 * LEASE);
    expect(offline).toEqual([]);
    expect(await reader.getOnlineCount()).toBe(users.length);
    expect(errors.length).toBeGreaterThan(0);
    expect(errors.filter((error) => !error.includes(cause))).toEqual([]);
    await Promise.all(services.map((service) => service.close()));
    for (const backend of backends) await backend.end();
  },
  60_000,
);
