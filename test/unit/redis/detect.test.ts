import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis';
import RedisMock from 'ioredis-mock';
import { Cluster as Cluster6, Redis as Redis6 } from 'ioredis6';
import * as redis6 from 'redis';
import * as redis5 from 'redis5';
import { describe, expect, test } from 'vitest';
import { createRollcall } from '../../../src/index.js';
import { InvalidArgumentError } from '../../../src/internal/errors.js';
import { driverFor, type RedisClient } from '../../../src/redis/detect.js';
import { FakeDriver } from '../../support/fake-driver.js';

// No client connects: detection only inspects it.
const lazy = { lazyConnect: true, host: '127.0.0.1', port: 1 };

describe('a client is recognised by its shape', () => {
  test.each([
    ['redis 6', 'node-redis', () => redis6.createClient()],
    ['redis 6, RESP 2', 'node-redis', () => redis6.createClient({ RESP: 2 })],
    ['redis 5', 'node-redis', () => redis5.createClient()],
    ['redis 5, RESP 3', 'node-redis', () => redis5.createClient({ RESP: 3 })],
    ['redis 6 pool', 'node-redis', () => redis6.createClientPool()],
    ['redis 5 pool', 'node-redis', () => redis5.createClientPool()],
    ['ioredis 5', 'ioredis', () => new Redis5(lazy)],
    ['ioredis 6', 'ioredis', () => new Redis6(lazy)],
    ['ioredis-mock', 'ioredis-mock', () => new RedisMock({ lazyConnect: true })],
    [
      'redis 6 sentinel',
      'node-redis',
      () => redis6.createSentinel({ name: 'm', sentinelRootNodes: [{ host: 'x', port: 1 }] }),
    ],
    [
      'redis 5 sentinel',
      'node-redis',
      () => redis5.createSentinel({ name: 'm', sentinelRootNodes: [{ host: 'x', port: 1 }] }),
    ],
  ])('%s', (_, expected, make) => {
    const { client, capabilities } = driverFor(make() as unknown as RedisClient);
    expect([client, capabilities.cluster]).toEqual([expected, false]);
  });

  test.each([
    [
      'ioredis 5 Cluster',
      'ioredis',
      () => new Cluster5([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true }),
    ],
    [
      'ioredis 6 Cluster',
      'ioredis',
      () => new Cluster6([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true }),
    ],
    ['redis 6 cluster', 'node-redis', () => redis6.createCluster({ rootNodes: [{}] })],
    ['redis 5 cluster', 'node-redis', () => redis5.createCluster({ rootNodes: [{}] })],
  ])('%s', (_, expected, make) => {
    const { client, capabilities } = driverFor(make() as unknown as RedisClient);
    expect([client, capabilities.cluster]).toEqual([expected, true]);
  });

  test('a client is recognised under any class name', () => {
    class x extends Redis5 {}
    expect(driverFor(new x(lazy)).client).toBe('ioredis');
    const client = redis6.createClient();
    const wrapped = new Proxy(client, {
      get: (target, key) => {
        const value = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    expect(driverFor(wrapped).client).toBe('node-redis');
  });

  test('a driver is used as it is', () => {
    const driver = new FakeDriver();
    expect(driverFor(driver)).toBe(driver);
  });
});

describe('an unsuitable client is rejected at once', () => {
  test.each([
    ['ioredis 5', () => new Redis5({ ...lazy, keyPrefix: 'app:' })],
    ['ioredis 6', () => new Redis6({ ...lazy, keyPrefix: 'app:' })],
    ['ioredis-mock', () => new RedisMock({ lazyConnect: true, keyPrefix: 'app:' })],
  ])('a keyPrefix on %s is rejected', (_, make) => {
    expect(() => driverFor(make() as RedisClient)).toThrow(InvalidArgumentError);
    expect(() => driverFor(make() as RedisClient)).toThrow(/keyPrefix "app:".*prefix option/);
  });

  test('an empty keyPrefix is accepted', () => {
    expect(driverFor(new Redis5({ ...lazy, keyPrefix: '' })).client).toBe('ioredis');
  });

  const other = { get() {}, set() {}, publish() {}, subscribe() {}, on() {}, duplicate() {} };
  class Unknown {}
  const nothing = () => {};
  // The shapes of clients that are not installed in this repository.
  const redis3 = {
    send_command: nothing,
    psubscribe: nothing,
    eval: nothing,
    multi: nothing,
    connected: true,
    duplicate: nothing,
    quit: nothing,
  };
  const redis4 = {
    isOpen: false,
    isReady: false,
    sendCommand: nothing,
    pSubscribe: nothing,
    multi: nothing,
    duplicate: nothing,
  };
  const redis4cluster = { isOpen: false, slots: [], masters: [], nodeClient: nothing, sendCommand: nothing };
  const bun = {
    send: nothing,
    connected: false,
    onclose: null,
    psubscribe: nothing,
    eval: nothing,
    duplicate: nothing,
    close: nothing,
  };
  const glide = {
    customCommand: nothing,
    exec: nothing,
    subscribeLazy: nothing,
    publish: nothing,
    close: nothing,
  };
  const promise = Promise.resolve();
  test.each<[unknown, string]>([
    [undefined, 'is missing'],
    [null, 'is missing'],
    ['redis://localhost', 'is a string'],
    [6379, 'is a number'],
    [{ url: 'redis://localhost' }, 'is an object of options'],
    [{}, 'is no Redis client'],
    [[], 'is of class Array'],
    [nothing, 'is a function'],
    [Redis5, 'is a function'],
    [promise, 'is a Promise: await it'],
    [new Map(), 'is of class Map'],
    [new Unknown(), 'is of class Unknown'],
    [other, 'is no Redis client'],
    [redis3, 'is a client of redis 3'],
    [redis4, 'is a client of redis 4'],
    [redis4cluster, 'is a cluster client of redis 4'],
    [bun, "is Bun's RedisClient"],
    [glide, 'is a client of @valkey/valkey-glide: pass createGlideDriver(client, configuration)'],
  ])('a value that is not a client (%#) is rejected, and the error names suitable clients', (value, text) => {
    const make = () => driverFor(value as unknown as RedisClient);
    expect(make).toThrow(InvalidArgumentError);
    expect(make).toThrow(`redis: ${text}`);
    expect(make).toThrow('createClient({ url })');
  });
});

test('createRollcall(client) throws an error with the correct call', () => {
  for (const client of [
    redis6.createClient(),
    redis5.createClient(),
    new Redis5(lazy),
    new RedisMock({ lazyConnect: true }),
  ]) {
    expect(() => createRollcall(client as never)).toThrow('call createRollcall({ redis: client })');
  }
  expect(() => createRollcall(Promise.resolve() as never)).toThrow('await');
});
