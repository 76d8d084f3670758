import { Cluster } from 'ioredis';
import { serviceClients } from '../shared/redis-clients.js';
import { roomGraceBehaviour } from '../shared/room-grace-behaviour.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { startRedis } from '../support/redis-server.js';

for (const [name, make] of serviceClients) {
  roomGraceBehaviour(`grace in rooms with ${name}`, async () => {
    const server = await startRedis();
    const ends: (() => void)[] = [];
    return {
      client: () => {
        const { client, end } = make(server.port);
        ends.push(end);
        return client;
      },
      end: async () => {
        for (const end of ends) end();
        await server.stop();
      },
    };
  });
}

roomGraceBehaviour('grace in rooms on a Cluster', async () => {
  const cluster: RedisCluster = await startRedisCluster({ replicas: 0 });
  const clients: Cluster[] = [];
  return {
    client: () => {
      const client = new Cluster(cluster.ports.map((port) => ({ host: '127.0.0.1', port })));
      client.on('error', () => {});
      clients.push(client);
      return client;
    },
    end: async () => {
      for (const client of clients) client.disconnect();
      await cluster.stop();
    },
  };
});
