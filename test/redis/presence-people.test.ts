import { afterAll, beforeAll, describe } from 'vitest';
import { presenceClients } from '../shared/presence-clients.js';
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
    presencePeople(async () => {
      const ends: (() => void)[] = [];
      return {
        client() {
          const { client, end } = (presenceClients[name] as (typeof presenceClients)[string])(server.port);
          ends.push(end);
          return client;
        },
        flush: async () => {
          await server.cli('FLUSHALL');
        },
        end: async () => {
          for (const end of ends) end();
        },
      };
    });
  },
);
