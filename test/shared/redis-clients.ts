import type { EventEmitter } from 'node:events';
import { Redis as IoredisFive } from 'ioredis';
import { Redis as IoredisSix } from 'ioredis6';
import { createClient } from 'redis';
import { createClient as createClientFive } from 'redis5';
import type { RedisClient } from '../../src/index.js';
import type { RedisServer } from '../support/redis-server.js';
import type { PresenceWorld } from './presence-fixture.js';

/** A client, and how its owner ends it. */
export interface OwnedClient {
  client: RedisClient;
  end: () => void;
}

export type Maker = (port: number) => OwnedClient;

/** After rollcall has let go of a client, its errors are its owner's business again. */
function owned(client: RedisClient & object, end: () => void): OwnedClient {
  (client as unknown as EventEmitter).on('error', () => {});
  return { client, end };
}

const url = (port: number) => `redis://127.0.0.1:${port}`;

function destroy(client: { isOpen: boolean; destroy(): void }): void {
  // One that was never connected cannot be destroyed.
  if (client.isOpen) client.destroy();
}

/** Every client library and protocol that presence must work with. */
export const redisClients: Readonly<Record<string, Maker>> = {
  'node-redis 6, RESP 3': (port) => {
    const client = createClient({ url: url(port), RESP: 3, socket: { reconnectStrategy: 50 } });
    return owned(client, () => destroy(client));
  },
  'node-redis 6, RESP 2': (port) => {
    const client = createClient({ url: url(port), RESP: 2, socket: { reconnectStrategy: 50 } });
    return owned(client, () => destroy(client));
  },
  'node-redis 5': (port) => {
    const client = createClientFive({ url: url(port), socket: { reconnectStrategy: 50 } });
    return owned(client, () => destroy(client));
  },
  'ioredis 5': (port) => {
    const client = new IoredisFive(port, { retryStrategy: () => 50 });
    return owned(client, () => client.disconnect());
  },
  'ioredis 6': (port) => {
    const client = new IoredisSix(port, { retryStrategy: () => 50 });
    return owned(client, () => client.disconnect());
  },
};

export const nodeRedis = redisClients['node-redis 6, RESP 3'] as Maker;
export const ioredis = redisClients['ioredis 5'] as Maker;

/** `server` as a world of presence, with clients that `make` makes. */
export function worldOn(server: RedisServer, make: Maker): PresenceWorld {
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
}
