import { afterAll, beforeAll, describe } from 'vitest';
import { type Maker, redisClients, worldOn } from '../shared/redis-clients.js';
import { userStatusBehaviour } from '../shared/user-status-behaviour.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

describe.each(['node-redis 6, RESP 3', 'node-redis 6, RESP 2', 'ioredis 5'])(
  'presence of people with %s',
  (name) => {
    userStatusBehaviour(async () => worldOn(server, redisClients[name] as Maker));
  },
);
