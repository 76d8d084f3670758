import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, beforeAll } from 'vitest';
import { databasesBehaviour } from '../shared/databases-behaviour.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

databasesBehaviour('two logical databases of one server, with node-redis', (database) => {
  const client = createClient({ url: server.url, database });
  client.on('error', () => {});
  return { client, end: () => client.isOpen && client.destroy() };
});

databasesBehaviour('two logical databases of one server, with ioredis', (database) => {
  const client = new Redis({ port: server.port, db: database, lazyConnect: true });
  client.on('error', () => {});
  return { client, end: () => client.disconnect() };
});
