import { afterAll, beforeAll, describe } from 'vitest';
import { type Maker, presenceClients, worldOn } from '../shared/presence-clients.js';
import { presencePeople } from '../shared/presence-people.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

describe.each(['node-redis 6, RESP 3', 'node-redis 6, RESP 2', 'ioredis 5'])(
  'presence of people with %s',
  (name) => {
    presencePeople(async () => worldOn(server, presenceClients[name] as Maker));
  },
);
