import { Cluster } from 'ioredis';
import { identifyBehaviour } from '../shared/identify-behaviour.js';
import { serviceClients, startBackend } from '../shared/redis-clients.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';

for (const [name, make] of serviceClients) {
  identifyBehaviour(`sockets that change their user with ${name}`, () => startBackend(make));
}

// Most pairs of users are in two partitions.
identifyBehaviour('sockets that change their user on a Cluster', async () => {
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
