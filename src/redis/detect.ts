import { InvalidArgumentError } from '../internal/errors.js';
import { ClusterDriver } from './cluster.js';
import type { Driver } from './driver.js';
import { type IoredisClient, IoredisDriver, isIoredisClient } from './ioredis.js';
import { IoredisCluster, type IoredisClusterClient, isIoredisClusterClient } from './ioredis-cluster.js';
import { type IoredisMockClient, IoredisMockDriver, isIoredisMockClient } from './ioredis-mock.js';
import { isNodeRedisClient, type NodeRedisClient, NodeRedisDriver } from './node-redis.js';
import {
  isNodeRedisClusterClient,
  NodeRedisCluster,
  type NodeRedisClusterClient,
} from './node-redis-cluster.js';
import {
  isNodeRedisSentinelClient,
  type NodeRedisSentinelClient,
  NodeRedisSentinelDriver,
} from './node-redis-sentinel.js';

/**
 * Values of the `redis` option: a node-redis client, cluster or sentinel client (`redis` 5 and 6), an
 * ioredis client or Cluster (5 and 6), an ioredis-mock client, or a {@link Driver} of your own.
 */
export type RedisClient =
  | NodeRedisClient
  | NodeRedisClusterClient
  | NodeRedisSentinelClient
  | IoredisClient
  | IoredisClusterClient
  | IoredisMockClient
  | Driver;

/** The driver for `client`, recognised by its shape because bundlers and wrappers change class names. */
export function driverFor(client: RedisClient): Driver {
  if (typeof client !== 'object' || client === null) {
    throw new InvalidArgumentError('redis', 'must be a Redis client or a driver');
  }
  assertNoKeyPrefix(client);
  if (isDriver(client)) return client;
  // Before the plain clients, whose shapes these have as well.
  if (isNodeRedisClusterClient(client)) return new ClusterDriver(new NodeRedisCluster(client));
  if (isIoredisClusterClient(client)) return new ClusterDriver(new IoredisCluster(client));
  if (isNodeRedisSentinelClient(client)) return new NodeRedisSentinelDriver(client);
  if (isNodeRedisClient(client)) return new NodeRedisDriver(client);
  if (isIoredisClient(client)) return new IoredisDriver(client);
  if (isIoredisMockClient(client)) return new IoredisMockDriver(client);
  throw new InvalidArgumentError(
    'redis',
    'is neither a client of redis (5 or 6), ioredis (5 or 6) or ioredis-mock (8), nor a driver',
  );
}

function isDriver(value: object): value is Driver {
  const driver = value as Partial<Driver>;
  return (
    typeof driver.execute === 'function' &&
    typeof driver.attach === 'function' &&
    typeof driver.subscribe === 'function' &&
    typeof driver.capabilities === 'object'
  );
}

/** The places where the clients, their clusters and sentinels store it. */
interface ClientWithKeyPrefix {
  options?: { keyPrefix?: unknown; redisOptions?: { keyPrefix?: unknown } };
  _options?: { keyPrefix?: unknown; defaults?: { keyPrefix?: unknown } };
  _keyPrefix?: unknown;
}

/** Clients add the prefix to keys, but not to channels, nor to the arguments of scripts. */
function assertNoKeyPrefix(client: object): void {
  const given = client as ClientWithKeyPrefix;
  const { options, _options } = given;
  for (const prefix of [
    options?.keyPrefix,
    options?.redisOptions?.keyPrefix,
    _options?.keyPrefix,
    _options?.defaults?.keyPrefix,
    given._keyPrefix,
  ]) {
    if (prefix === undefined || prefix === null || String(prefix) === '') continue;
    throw new InvalidArgumentError(
      'redis',
      `has the keyPrefix ${JSON.stringify(String(prefix))}, which clients apply to keys but not to channels; use rollcall's own prefix option`,
    );
  }
}
