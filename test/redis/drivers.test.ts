import type { EventEmitter } from 'node:events';
import { Redis as Redis5 } from 'ioredis';
import { Redis as Redis6 } from 'ioredis6';
import { createClient, RESP_TYPES } from 'redis';
import { createClient as createClient5 } from 'redis5';
import { afterAll, beforeAll, describe, it } from 'vitest';
import type { RedisClient } from '../../src/redis/detect.js';
import { driverFor } from '../../src/redis/detect.js';
import { type DriverUnderTest, driverConformanceCases } from '../../src/testing/driver-conformance.js';
import { allClients, pools } from '../shared/redis-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;

/** Options by which a client replies to its owner in other types, or pipelines by itself. */
const typeMapping = { [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.NUMBER]: String };
const optionsOfOwners: typeof allClients = {
  'node-redis 6 with a typeMapping': (port) => {
    const socket = { host: '127.0.0.1', port, reconnectStrategy: 50 };
    const client = createClient({ socket, commandOptions: { typeMapping } });
    return { client: client as unknown as RedisClient, end: () => client.destroy() };
  },
  'node-redis 5 with a typeMapping': (port) => {
    const socket = { host: '127.0.0.1', port, reconnectStrategy: 50 };
    const client = createClient5({ socket, commandOptions: { typeMapping } });
    return { client: client as unknown as RedisClient, end: () => client.destroy() };
  },
  'ioredis 5 with enableAutoPipelining': (port) => {
    const client = new Redis5(port, { enableAutoPipelining: true, retryStrategy: () => 50 });
    return { client, end: () => client.disconnect() };
  },
  'ioredis 6 with enableAutoPipelining': (port) => {
    const client = new Redis6(port, { enableAutoPipelining: true, retryStrategy: () => 50 });
    return { client: client as unknown as RedisClient, end: () => client.disconnect() };
  },
};

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

describe.each(Object.entries({ ...allClients, ...pools, ...optionsOfOwners }))(
  'the driver for %s',
  (_name, maker) => {
    const make = async (): Promise<DriverUnderTest> => {
      const { client, end } = maker(server.port);
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
  },
);
