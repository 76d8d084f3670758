import type { EventEmitter } from 'node:events';
import { Redis as IoredisFive } from 'ioredis';
import { Redis as IoredisSix } from 'ioredis6';
import { createClient } from 'redis';
import { createClient as createClientFive } from 'redis5';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { driverFor, type RedisClient } from '../../src/redis/detect.js';
import { type DriverUnderTest, driverConformanceCases } from '../../src/testing/driver-conformance.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

/** A client and how its owner ends it. */
type Maker = () => { client: RedisClient; end: () => void };

const clients: Record<string, Maker> = {
  'node-redis 6, RESP 3': () => {
    const client = createClient({ url: server.url, RESP: 3, socket: { reconnectStrategy: 50 } });
    return { client, end: () => client.destroy() };
  },
  'node-redis 6, RESP 2': () => {
    const client = createClient({ url: server.url, RESP: 2, socket: { reconnectStrategy: 50 } });
    return { client, end: () => client.destroy() };
  },
  'node-redis 5': () => {
    const client = createClientFive({ url: server.url, socket: { reconnectStrategy: 50 } });
    return { client, end: () => client.destroy() };
  },
  'ioredis 5': () => {
    const client = new IoredisFive(server.port, { retryStrategy: () => 50 });
    return { client, end: () => client.disconnect() };
  },
  'ioredis 6': () => {
    const client = new IoredisSix(server.port, { retryStrategy: () => 50 });
    return { client, end: () => client.disconnect() };
  },
};

describe.each(Object.entries(clients))('the driver for %s', (_name, maker) => {
  const make = async (): Promise<DriverUnderTest> => {
    const { client, end } = maker();
    // After the driver has let go of it, the client's errors are its owner's business again.
    (client as unknown as EventEmitter).on('error', () => {});
    return {
      driver: driverFor(client),
      breakConnections: async () => {
        await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
        await server.cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      },
      forgetScripts: async () => {
        await server.cli('SCRIPT', 'FLUSH', 'SYNC');
      },
      dispose: async () => end(),
    };
  };
  it.each(driverConformanceCases)('$name', (driverCase) => driverCase.run(make));
});
