import type { RedisClient } from 'rollcall';
import { type Backend, pubsubBehaviour } from '../shared/pubsub-behaviour.js';
import { type Maker, serviceClients } from '../shared/redis-clients.js';
import { rawClient } from '../support/raw-client.js';
import { startRedis } from '../support/redis-server.js';

async function start(make: Maker): Promise<Backend> {
  const server = await startRedis();
  const ends = new Map<RedisClient, () => void>();
  return {
    client: () => {
      const { client, end } = make(server.port);
      ends.set(client, end);
      return client;
    },
    end: (client) => ends.get(client)?.(),
    raw: () => rawClient(server.port),
    channels: async () => (await server.cli('PUBSUB', 'CHANNELS')).split('\n'),
    connections: async () =>
      (await server.cli('CLIENT', 'LIST')).split('\n').filter((line) => line !== '').length,
    close: () => server.stop(),
  };
}

for (const [name, make] of serviceClients) pubsubBehaviour(name, () => start(make), { sharded: true });
