import { afterAll, beforeAll, describe } from 'vitest';
import { presenceBehaviour } from '../shared/presence-behaviour.js';
import { backendOn, serviceClients } from '../shared/redis-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

describe.each(serviceClients)('presence with %s', (_name, make) => {
  presenceBehaviour(async () => {
    await server.cli('FLUSHALL');
    return backendOn(server, make);
  });
});
