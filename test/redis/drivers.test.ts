import { afterAll, beforeAll, describe, it } from 'vitest';
import { driverFor } from '../../src/redis/detect.js';
import { type DriverUnderTest, driverConformanceCases } from '../../src/testing/driver-conformance.js';
import { allClients } from '../shared/redis-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

describe.each(Object.entries(allClients))('the driver for %s', (_name, maker) => {
  const make = async (): Promise<DriverUnderTest> => {
    const { client, end } = maker(server.port);
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
