import { afterAll, beforeAll, describe } from 'vitest';
import { ownStatusBehaviour } from '../shared/own-status-behaviour.js';
import { backendOn, serviceClients } from '../shared/redis-clients.js';
import { userStatusBehaviour } from '../shared/user-status-behaviour.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

describe.each(serviceClients)('statuses of users with %s', (_name, make) => {
  userStatusBehaviour(async () => backendOn(server, make));
  ownStatusBehaviour(async () => backendOn(server, make));
});
