import { Cluster } from 'ioredis';
import { nodeRedis } from '../shared/redis-clients.js';
import { visibilityBehaviour } from '../shared/visibility-behaviour.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedis } from '../support/redis-server.js';

visibilityBehaviour('one Redis', async () => {
  const server = await startRedis();
  const ends: (() => void)[] = [];
  return {
    client() {
      const { client, end } = nodeRedis(server.port);
      ends.push(end);
      return client;
    },
    async end() {
      for (const end of ends) end();
      await server.stop();
    },
  };
});

visibilityBehaviour('a Cluster', async () => {
  const cluster = await startRedisCluster({ replicas: 0 });
  const clients: Cluster[] = [];
  return {
    client() {
      const client = new Cluster(cluster.ports.map((port) => ({ host: '127.0.0.1', port })));
      client.on('error', () => {});
      clients.push(client);
      return client;
    },
    async end() {
      for (const client of clients) client.disconnect();
      await cluster.stop();
    },
  };
});
