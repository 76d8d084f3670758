import { afterAll, beforeAll, describe } from 'vitest';
import { presenceBehaviour } from '../shared/presence-behaviour.js';
import { redisClients, worldOn } from '../shared/redis-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

describe.each(Object.entries(redisClients))('presence with %s', (_name, make) => {
  presenceBehaviour(async () => {
    await server.cli('FLUSHALL');
    return worldOn(server, make);
  });
});
