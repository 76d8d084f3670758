import { afterAll, beforeAll, describe } from 'vitest';
import { presenceBehaviour } from '../shared/presence-behaviour.js';
import { presenceClients } from '../shared/presence-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

describe.each(Object.entries(presenceClients))('presence with %s', (_name, make) => {
  presenceBehaviour(async () => {
    await server.cli('FLUSHALL');
    const ends: (() => void)[] = [];
    return {
      client: () => {
        const { client, end } = make(server.port);
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
});
