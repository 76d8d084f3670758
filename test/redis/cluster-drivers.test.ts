import type { EventEmitter } from 'node:events';
import { Redis as IoredisFive, Cluster as IoredisFiveCluster } from 'ioredis';
import { Redis as IoredisSix, Cluster as IoredisSixCluster } from 'ioredis6';
import { createCluster, createSentinel } from 'redis';
import { createCluster as createClusterFive, createSentinel as createSentinelFive } from 'redis5';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { driverFor, type RedisClient } from '../../src/redis/detect.js';
import { type DriverUnderTest, driverConformanceCases } from '../../src/testing/driver-conformance.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type RedisSentinel, startRedisSentinel } from '../support/redis-sentinel.js';

/** A client and how its owner ends it. */
type Maker = () => { client: RedisClient; end: () => unknown };

const host = '127.0.0.1';
const quick = { reconnectStrategy: 50 } as const;

/** The driver of a new client, on servers that all have the given ports. */
function make(maker: Maker, ports: readonly number[], cli: RedisCluster['cli']): DriverUnderTest {
  const { client, end } = maker();
  // After the driver has let go of it, the client's errors are its owner's business again.
  (client as unknown as EventEmitter).on('error', () => {});
  const everywhere = async (...command: string[]) => {
    await Promise.all(ports.map((port) => cli(port, ...command)));
  };
  return {
    driver: driverFor(client),
    breakConnections: async () => {
      await everywhere('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await everywhere('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    },
    forgetScripts: () => everywhere('SCRIPT', 'FLUSH', 'SYNC'),
    dispose: async () => void (await end()),
  };
}

describe('on a cluster', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster({ replicas: 0 });
  });
  afterAll(() => cluster.stop());

  const rootNodes = () => cluster.ports.map((port) => ({ socket: { host, port } }));
  const startupNodes = () => cluster.ports.map((port) => ({ host, port }));
  const makers: Record<string, Maker> = {
    'node-redis 6, RESP 3': () => {
      const client = createCluster({ rootNodes: rootNodes(), RESP: 3, defaults: { socket: quick } });
      return { client, end: () => client.destroy() };
    },
    'node-redis 6, RESP 2, with few connections': () => {
      const client = createCluster({ rootNodes: rootNodes(), RESP: 2, minimizeConnections: true });
      return { client, end: () => client.destroy() };
    },
    'node-redis 5': () => {
      const client = createClusterFive({ rootNodes: rootNodes(), defaults: { socket: quick } });
      return { client, end: () => client.destroy() };
    },
    'ioredis 5': () => {
      const client = new IoredisFiveCluster(startupNodes(), { lazyConnect: true });
      return { client, end: () => client.disconnect() };
    },
    'ioredis 6': () => {
      const client = new IoredisSixCluster(startupNodes());
      return { client, end: () => client.disconnect() };
    },
  };

  describe.each(Object.entries(makers))('the driver for %s', (_name, maker) => {
    it.each(driverConformanceCases)('$name', (driverCase) =>
      driverCase.run(async () => make(maker, cluster.ports, cluster.cli.bind(cluster))),
    );
  });
});

describe('with sentinels', () => {
  let fixture: RedisSentinel;
  beforeAll(async () => {
    fixture = await startRedisSentinel({ replicas: 1 });
  });
  afterAll(() => fixture.stop());

  const sentinels = () => fixture.sentinels.map((port) => ({ host, port }));
  const makers: Record<string, Maker> = {
    'node-redis 6': () => {
      const client = createSentinel({ name: fixture.name, sentinelRootNodes: sentinels() });
      return { client, end: () => client.destroy() };
    },
    'node-redis 5': () => {
      const client = createSentinelFive({ name: fixture.name, sentinelRootNodes: sentinels() });
      return { client, end: () => client.destroy() };
    },
    'ioredis 5': () => {
      const client = new IoredisFive({ sentinels: sentinels(), name: fixture.name, retryStrategy: () => 50 });
      return { client, end: () => client.disconnect() };
    },
    'ioredis 6': () => {
      const client = new IoredisSix({ sentinels: sentinels(), name: fixture.name, retryStrategy: () => 50 });
      return { client, end: () => client.disconnect() };
    },
  };

  describe.each(Object.entries(makers))('the driver for %s', (_name, maker) => {
    it.each(driverConformanceCases)('$name', (driverCase) =>
      driverCase.run(async () => make(maker, [await fixture.master()], fixture.cli.bind(fixture))),
    );
  });
});
