import type { EventEmitter } from 'node:events';
import { Redis as Ioredis5 } from 'ioredis';
import { Redis as Ioredis6 } from 'ioredis6';
import { createClient } from 'redis';
import { createClient as createClient5 } from 'redis5';
import type { RedisClient } from 'rollcall';
import { type Backend, pubsubBehaviour } from '../shared/pubsub-behaviour.js';
import { rawClient } from '../support/raw-client.js';
import { startRedis } from '../support/redis-server.js';

function real(make: (port: number) => RedisClient, end: (client: never) => void): () => Promise<Backend> {
  return async () => {
    const server = await startRedis();
    return {
      client: () => make(server.port),
      end: (client) => {
        // After the service is closed, the client's errors are its owner's business again.
        (client as unknown as EventEmitter).on('error', () => {});
        end(client as never);
      },
      raw: () => rawClient(server.port),
      channels: async () => (await server.cli('PUBSUB', 'CHANNELS')).split('\n'),
      connections: async () =>
        (await server.cli('CLIENT', 'LIST')).split('\n').filter((line) => line !== '').length,
      close: () => server.stop(),
    };
  };
}

const socket = (port: number) => ({ socket: { host: '127.0.0.1', port } });
const destroy = (client: { destroy(): void; isOpen: boolean }) => client.isOpen && client.destroy();
const disconnect = (client: { disconnect(): void }) => client.disconnect();

pubsubBehaviour(
  'node-redis 6, RESP 3',
  real((port) => createClient({ ...socket(port), RESP: 3 }), destroy),
  { sharded: true },
);
pubsubBehaviour(
  'node-redis 6, RESP 2',
  real((port) => createClient({ ...socket(port), RESP: 2 }), destroy),
  { sharded: true },
);
pubsubBehaviour(
  'node-redis 5',
  real((port) => createClient5(socket(port)), destroy),
  { sharded: true },
);
pubsubBehaviour(
  'ioredis 5',
  real((port) => new Ioredis5(port, '127.0.0.1'), disconnect),
  { sharded: true },
);
pubsubBehaviour(
  'ioredis 6',
  real((port) => new Ioredis6(port, '127.0.0.1'), disconnect),
  { sharded: true },
);
