import { isThenable } from '../internal/diagnostics.js';
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
import { isNodeRedisPool, type NodeRedisPoolClient, NodeRedisPoolDriver } from './node-redis-pool.js';
import {
  isNodeRedisSentinelClient,
  type NodeRedisSentinelClient,
  NodeRedisSentinelDriver,
} from './node-redis-sentinel.js';

/**
 * Values of the `redis` option: a node-redis client, pool, cluster or sentinel client (`redis` 5 and 6), an
 * ioredis client or Cluster (5 and 6), an ioredis-mock client, or a {@link Driver} of your own.
 */
export type RedisClient =
  | NodeRedisClient
  | NodeRedisPoolClient
  | NodeRedisClusterClient
  | NodeRedisSentinelClient
  | IoredisClient
  | IoredisClusterClient
  | IoredisMockClient
  | Driver;

/** Tests the shape, because bundlers and wrappers change class names. */
export function driverFor(client: RedisClient): Driver {
  if (typeof client !== 'object' || client === null) throw unsuitable(client);
  assertNoKeyPrefix(client);
  if (isDriver(client)) return client;
  // Before the plain clients, whose shapes these have as well.
  if (isNodeRedisClusterClient(client)) return new ClusterDriver(new NodeRedisCluster(client));
  if (isIoredisClusterClient(client)) return new ClusterDriver(new IoredisCluster(client));
  if (isNodeRedisSentinelClient(client)) return new NodeRedisSentinelDriver(client);
  if (isNodeRedisPool(client)) return new NodeRedisPoolDriver(client);
  if (isNodeRedisClient(client)) return new NodeRedisDriver(client);
  if (isIoredisClient(client)) return new IoredisDriver(client);
  if (isIoredisMockClient(client)) return new IoredisMockDriver(client);
  throw unsuitable(client);
}

const SUITABLE =
  'pass a client, pool, cluster or sentinel client of redis 5 or 6 (createClient({ url })), a Redis or Cluster of ioredis 5 or 6 (new Redis(url)), a client of ioredis-mock 8, or a Driver of your own';

function unsuitable(value: unknown): InvalidArgumentError {
  return new InvalidArgumentError('redis', `${describeUnsuitable(value)}; ${SUITABLE}`);
}

/** Includes class and version if known. */
function describeUnsuitable(value: unknown): string {
  if (value === undefined || value === null) return 'is missing';
  if (typeof value === 'string') return 'is a string';
  if (typeof value === 'function') return 'is a function, not what it returns';
  if (typeof value !== 'object') return `is a ${typeof value}`;
  if (isThenable(value)) return 'is a Promise: await it, as in { redis: await client.connect() }';
  const client = value as Record<string, unknown>;
  const has = (...names: string[]) => names.every((name) => client[name] !== undefined);
  if (has('send_command', 'psubscribe')) return 'is a client of redis 3 or of a package modelled on it';
  if (has('slots', 'masters', 'nodeClient')) return 'is a cluster client of redis 4';
  if (has('isOpen', 'sendCommand')) return 'is a client of redis 4';
  if (has('send', 'connected', 'onclose'))
    return "is Bun's RedisClient, which loses subscriptions when it reconnects, and says nothing; redis and ioredis work on Bun";
  if (has('customCommand', 'exec', 'subscribeLazy'))
    return 'is a client of @valkey/valkey-glide: pass createGlideDriver(client, configuration) of rollcall/glide';
  if (has('url') || has('host') || has('socket')) return 'is an object of options, not a client';
  const name = value.constructor?.name;
  return name === undefined || name === 'Object' || name === ''
    ? 'is no Redis client'
    : `is of class ${name}, which is no client that rollcall knows`;
}

/** Also true for unsupported clients. */
export function looksLikeClient(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || 'redis' in value) return false;
  const client = value as Record<string, unknown>;
  return ['subscribe', 'sendCommand', 'call', 'nodes', 'acquire', 'execute', 'customCommand'].some(
    (name) => typeof client[name] === 'function',
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

/** The prefix in clients, clusters and sentinels. */
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
