import { Cluster, Redis } from 'ioredis';
import RedisMock from 'ioredis-mock';
import { createClient, createCluster } from 'redis';
import { expect, test } from 'vitest';
import { databaseSuffix } from '../../../src/redis/database.js';
import { driverFor, type RedisClient } from '../../../src/redis/detect.js';

const lazyConnect = true;
const nodes = [{ host: '127.0.0.1', port: 1 }];

test.each<[string, () => unknown, number]>([
  ['node-redis', () => createClient(), 0],
  ['node-redis with `database`', () => createClient({ database: 3 }), 3],
  ['node-redis with a URL', () => createClient({ url: 'redis://127.0.0.1:1/4' }), 4],
  ['a node-redis cluster', () => createCluster({ rootNodes: [{ url: 'redis://127.0.0.1:1' }] }), 0],
  [
    'a node-redis cluster with `defaults.database`',
    () => createCluster({ rootNodes: [{ url: 'redis://127.0.0.1:1' }], defaults: { database: 2 } }),
    2,
  ],
  [
    'a node-redis cluster with `defaults.url`',
    () => createCluster({ rootNodes: [{}], defaults: { url: 'redis://127.0.0.1:1/3' } }),
    3,
  ],
  [
    'a node-redis cluster with the same database in several places',
    () => createCluster({ rootNodes: [{ url: 'redis://127.0.0.1:1/2' }], defaults: { database: 2 } }),
    2,
  ],
  ['ioredis', () => new Redis({ lazyConnect }), 0],
  ['ioredis with `db`', () => new Redis({ lazyConnect, db: 3 }), 3],
  ['ioredis with a URL', () => new Redis('redis://127.0.0.1:1/5', { lazyConnect }), 5],
  ['an ioredis cluster', () => new Cluster(nodes, { lazyConnect }), 0],
  [
    'an ioredis cluster with `redisOptions.db`',
    () => new Cluster(nodes, { lazyConnect, redisOptions: { db: 2 } }),
    2,
  ],
  ['ioredis-mock with `db`', () => new RedisMock({ db: 6 }), 6],
])('the driver of %s knows the logical database', (_, create, database) => {
  expect(driverFor(create() as RedisClient).database).toBe(database);
});

test.each<[string, () => unknown, string]>([
  [
    'a root node by its URL',
    () => createCluster({ rootNodes: [{ url: 'redis://127.0.0.1:1/1' }] }),
    'defaults.database',
  ],
  ['a root node', () => createCluster({ rootNodes: [{ database: 1 }] }), 'defaults.database'],
  [
    'the top level of a node-redis cluster',
    () => createCluster({ rootNodes: [{}], database: 1 } as never),
    'defaults.database',
  ],
  ['a node by its URL', () => new Cluster(['redis://127.0.0.1:1/1'], { lazyConnect }), 'redisOptions.db'],
  [
    'a node',
    () => new Cluster([{ host: '127.0.0.1', port: 1, db: 1 } as never], { lazyConnect }),
    'redisOptions.db',
  ],
  [
    'the top level of an ioredis cluster',
    () => new Cluster(nodes, { lazyConnect, db: 1 } as never),
    'redisOptions.db',
  ],
])('a database that the cluster client ignores is refused: of %s', (_, create, option) => {
  expect(() => driverFor(create() as RedisClient)).toThrow(`pass it as ${option}`);
});

test('channels of database 0 have no suffix', () => {
  expect([undefined, 0, 1, 15].map(databaseSuffix)).toEqual(['', '', '@1', '@15']);
});
