import type { EventEmitter } from 'node:events';
import { Cluster, Redis as IoredisFive } from 'ioredis';
import { Redis as IoredisSix } from 'ioredis6';
import { createClient, createClientPool } from 'redis';
import { createClient as createClientFive, createClientPool as createClientPoolFive } from 'redis5';
import type { RedisClient } from '../../src/index.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import type { Cli } from '../support/stored-keys.js';
import type { PresenceBackend } from './presence-fixture.js';

/** A client, and how its owner closes it. */
export interface OwnedClient {
  client: RedisClient;
  end: () => void;
}

export type Maker = (port: number) => OwnedClient;

/** A backend whose servers other processes can use, too. */
export interface ServerBackend extends Omit<PresenceBackend, 'flush'> {
  readonly ports: readonly number[];
  /** The servers that have the keys. */
  readonly masters: readonly Cli[];
  /** Breaks the connections on which processes receive messages. */
  killSubscribers(): Promise<void>;
}

/** After rollcall has detached from a client, the client's errors are its owner's to handle. */
function owned(client: RedisClient & object, end: () => void): OwnedClient {
  (client as unknown as EventEmitter).on('error', () => {});
  return { client, end };
}

const url = (port: number) => `redis://127.0.0.1:${port}`;

function destroy(client: { isOpen: boolean; destroy(): void }): void {
  // `destroy` throws on a client that was never connected.
  if (client.isOpen) client.destroy();
}

/** Every client library and protocol that rollcall supports on a single Redis. */
export const allClients: Readonly<Record<string, Maker>> = {
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

/** Pools of clients, which the drivers use for their options. */
export const pools: Readonly<Record<string, Maker>> = {
  'a pool of node-redis 6': (port) => {
    const client = createClientPool({ url: url(port), socket: { reconnectStrategy: 50 } });
    return owned(client, () => client.destroy());
  },
  'a pool of node-redis 5': (port) => {
    const client = createClientPoolFive({ url: url(port), socket: { reconnectStrategy: 50 } });
    return owned(client, () => client.destroy());
  },
};

export const nodeRedis = allClients['node-redis 6, RESP 3'] as Maker;
export const ioredis = allClients['ioredis 5'] as Maker;

/** Whether services are tested on every client: `MATRIX=all npm test`. */
export const MATRIX_ALL = process.env['MATRIX'] === 'all';

/**
 * The clients that services are tested on: one of each library, because the driver conformance suite
 * (drivers.test.ts, cluster-drivers.test.ts) already holds that all clients behave the same.
 */
export const serviceClients: [name: string, make: Maker][] = MATRIX_ALL
  ? Object.entries(allClients)
  : [
      ['node-redis 6, RESP 3', nodeRedis],
      ['ioredis 5', ioredis],
    ];

/** A server of its own, with clients that `make` makes. */
export async function startBackend(make: Maker): Promise<PresenceBackend & ServerBackend> {
  const server = await startRedis();
  const backend = backendOn(server, make);
  return {
    ...backend,
    ports: [server.port],
    masters: [(...args) => server.cli(...args)],
    killSubscribers: async () => {
      await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
    },
    end: async () => {
      await backend.end();
      await server.stop();
    },
  };
}

/** A Cluster of its own, without replicas, with clients of ioredis. */
export async function startClusterBackend(): Promise<ServerBackend> {
  const cluster = await startRedisCluster({ replicas: 0 });
  const clients: Cluster[] = [];
  return {
    ports: cluster.ports,
    masters: cluster.ports.map(
      (port): Cli =>
        (...args) =>
          cluster.cli(port, ...args),
    ),
    killSubscribers: async () => {
      for (const port of cluster.ports) await cluster.cli(port, 'CLIENT', 'KILL', 'TYPE', 'pubsub');
    },
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
}

/** `server` as a backend of presence, with clients that `make` makes. */
export function backendOn(server: RedisServer, make: Maker): PresenceBackend {
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
