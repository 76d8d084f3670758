import { InvalidArgumentError, UnsupportedError } from '../errors.js';
import type { Driver } from './driver.js';
import { type IoredisClient, IoredisDriver, isIoredisClient } from './ioredis.js';
import { type IoredisMockClient, IoredisMockDriver, isIoredisMockClient } from './ioredis-mock.js';
import { isNodeRedisClient, type NodeRedisClient, NodeRedisDriver } from './node-redis.js';

/**
 * What the `redis` option takes: a node-redis client (`redis` 5 and 6), an ioredis client (5 and 6),
 * an ioredis-mock client, or a {@link Driver} of your own.
 */
export type RedisClient = NodeRedisClient | IoredisClient | IoredisMockClient | Driver;

/** The driver for `client`, told by its shape: class names change under bundlers and wrappers. */
export function driverFor(client: RedisClient): Driver {
  if (typeof client !== 'object' || client === null) {
    throw new InvalidArgumentError('redis', 'must be a Redis client or a driver');
  }
  refuseClusters(client);
  refuseKeyPrefix(client);
  if (isDriver(client)) return client;
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

/** A Cluster would accept our commands and then fail in some of them; better to say so at once. */
function refuseClusters(client: object): void {
  const shape = client as {
    isCluster?: unknown;
    slots?: unknown;
    masters?: unknown;
    sentinelId?: unknown;
    acquire?: unknown;
  };
  if (shape.isCluster === true || (Array.isArray(shape.slots) && Array.isArray(shape.masters))) {
    throw new UnsupportedError(
      'Redis Cluster clients are not supported yet; pass a client of a single Redis',
    );
  }
  if (typeof shape.acquire === 'function') {
    throw new UnsupportedError(
      'node-redis Sentinel clients are not supported yet; pass a client of the master, or an ioredis one',
    );
  }
}

/** Clients put it before keys but neither before channels nor before what scripts are told. */
function refuseKeyPrefix(client: object): void {
  const prefix = (client as { options?: { keyPrefix?: unknown } }).options?.keyPrefix;
  if (prefix !== undefined && prefix !== null && String(prefix) !== '') {
    throw new InvalidArgumentError(
      'redis',
      `has the keyPrefix ${JSON.stringify(String(prefix))}, which clients apply to keys but not to channels; use rollcall's own prefix option`,
    );
  }
}
