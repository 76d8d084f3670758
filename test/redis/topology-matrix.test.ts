import type { EventEmitter } from 'node:events';
import { Redis as IoredisFive, Cluster as IoredisFiveCluster } from 'ioredis';
import { Redis as IoredisSix, Cluster as IoredisSixCluster } from 'ioredis6';
import { createCluster, createSentinel } from 'redis';
import { createCluster as createClusterFive, createSentinel as createSentinelFive } from 'redis5';
import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import type { RedisClient } from '../../src/index.js';
import { type HistoryWorld, historyBehaviour } from '../shared/history-behaviour.js';
import { presenceBehaviour } from '../shared/presence-behaviour.js';
import type { PresenceWorld } from '../shared/presence-fixture.js';
import { type Backend, pubsubBehaviour } from '../shared/pubsub-behaviour.js';
import { userStatusBehaviour } from '../shared/user-status-behaviour.js';
import { rawClient } from '../support/raw-client.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { RespConnection } from '../support/resp.js';

// What services do, over clients and topologies. The newest version of each library always;
// `MATRIX=all npx vitest run --project redis test/redis/matrix.test.ts` takes the others as well.
// A single Redis has tests of its own (presence, pubsub, history), with all clients; so has the presence
// of sockets on a Cluster.

const COMMAND_MS = 5_000;
const host = '127.0.0.1';
const all = process.env['MATRIX'] === 'all';

const COUNTS = 'a node of a Cluster counts only its own receivers';
const WAYS = 'a message with history takes another way through a Cluster than one without';
const SLOW = 'its time limits are short for a client that has to find the master first';

type Owned = { client: RedisClient; end: () => unknown };

/** Servers, as the tests see them. */
interface Place {
  /** Where clients find the others. */
  readonly roots: readonly number[];
  /** What the sentinels call the master. */
  readonly name: string;
  /** Every server that clients may be connected to. */
  readonly ports: readonly number[];
  /** The server that has a key or a channel. */
  at(key: string): Promise<number>;
  cli(port: number, ...args: string[]): Promise<string>;
  stop(): Promise<void>;
}

interface Topology {
  readonly start: () => Promise<Place>;
  /** Left to a test of its own. */
  readonly sockets: boolean;
  /** Tests that cannot hold here, by name, each with the reason. */
  readonly gaps: Readonly<Record<string, string>>;
  readonly clients: Readonly<Record<string, (place: Place) => Owned>>;
  /** Versions that are left out unless all are asked for. */
  readonly more: Readonly<Record<string, (place: Place) => Owned>>;
}

const addresses = (place: Place) => place.roots.map((port) => ({ host, port }));
const rootNodes = (place: Place) => addresses(place).map((socket) => ({ socket }));
const destroyed = <T extends RedisClient & { destroy(): unknown; isOpen: boolean }>(client: T): Owned => ({
  client,
  end: () => (client.isOpen ? client.destroy() : undefined),
});
const disconnected = <T extends RedisClient & { disconnect(): unknown }>(client: T): Owned => ({
  client,
  end: () => client.disconnect(),
});

const topologies: Readonly<Record<string, Topology>> = {
  'a cluster': {
    start: async () => {
      const cluster = await startRedisCluster({ replicas: 0 });
      return {
        roots: cluster.ports,
        name: '',
        ports: cluster.ports,
        at: (key) => cluster.nodeOf(key),
        cli: (port, ...args) => cluster.cli(port, ...args),
        stop: () => cluster.stop(),
      };
    },
    sockets: false,
    gaps: {
      'go from process to process, as they were': COUNTS,
      'see plain JSON on the channel as written': COUNTS,
      'tells how many receivers there are': COUNTS,
      'a subscription outlives its last handler for a while; who comes back misses nothing': COUNTS,
      'that look like envelopes come back as they were': WAYS,
      'with and without history, mixed on one channel, keep their order': WAYS,
      'patterns get what has a place in a history unwrapped, and its position': WAYS,
      'sharded channels have histories too, or are refused with the reason': 'one of them is refused here',
    },
    clients: {
      'node-redis 6': (place) => destroyed(createCluster({ rootNodes: rootNodes(place) })),
      'ioredis 6': (place) => disconnected(new IoredisSixCluster(addresses(place))),
    },
    more: {
      'node-redis 6, RESP 2': (place) => destroyed(createCluster({ rootNodes: rootNodes(place), RESP: 2 })),
      'node-redis 5': (place) => destroyed(createClusterFive({ rootNodes: rootNodes(place) })),
      'ioredis 5': (place) => disconnected(new IoredisFiveCluster(addresses(place))),
    },
  },
  sentinels: {
    start: async () => {
      const world = await startRedisSentinel({ replicas: 1 });
      return {
        roots: world.sentinels,
        name: world.name,
        ports: [await world.master()],
        at: () => world.master(),
        cli: (port, ...args) => world.cli(port, ...args),
        stop: () => world.stop(),
      };
    },
    sockets: true,
    gaps: {
      'a connection that closed meanwhile is removed all the same, and one that came is there in time': SLOW,
      'what failed leaves things as they were: sockets, and places in rooms': SLOW,
      'drops what is too old while newer messages come': SLOW,
      'whoever comes back within it was never away': SLOW,
      'what outlasts the deadline has failed, and does not happen when Redis is back': SLOW,
    },
    clients: {
      'node-redis 6': (place) =>
        destroyed(createSentinel({ name: place.name, sentinelRootNodes: addresses(place) })),
      'ioredis 6': (place) => disconnected(new IoredisSix({ sentinels: addresses(place), name: place.name })),
    },
    more: {
      'node-redis 5': (place) =>
        destroyed(createSentinelFive({ name: place.name, sentinelRootNodes: addresses(place) })),
      'ioredis 5': (place) =>
        disconnected(new IoredisFive({ sentinels: addresses(place), name: place.name })),
    },
  },
};

describe.each(Object.entries(topologies))('on %s', (_topology, { start, sockets, gaps, clients, more }) => {
  let place: Place;
  beforeAll(async () => {
    place = await start();
  }, 60_000);
  afterAll(() => place?.stop());
  beforeEach(({ task, skip }) => {
    const reason = gaps[task.name];
    if (reason !== undefined) skip(reason);
  });

  const everywhere = (...command: string[]) =>
    Promise.all(place.ports.map((port) => place.cli(port, ...command)));

  describe.each(Object.entries({ ...clients, ...(all ? more : {}) }))('with %s', (name, make) => {
    /** Clients, and their end. */
    const owner = () => {
      const ends = new Map<RedisClient, () => unknown>();
      return {
        client: () => {
          const { client, end } = make(place);
          // After rollcall has let go of a client, its errors are its owner's business again.
          (client as unknown as EventEmitter).on('error', () => {});
          ends.set(client, end);
          return client;
        },
        end: async (client: RedisClient) => void (await ends.get(client)?.()),
        endAll: async () => {
          for (const end of ends.values()) await end();
        },
      };
    };

    const world = async (): Promise<PresenceWorld> => {
      await everywhere('FLUSHALL');
      const { client, endAll } = owner();
      return { client, flush: async () => void (await everywhere('FLUSHALL')), end: endAll };
    };
    if (sockets) presenceBehaviour(world);
    userStatusBehaviour(world, { crowd: 500 });

    const backend = async (): Promise<Backend> => {
      const { client, end, endAll } = owner();
      return {
        client,
        end,
        raw: () => rawClient(place.ports[0] as number),
        channels: async () => (await everywhere('PUBSUB', 'CHANNELS')).join('\n').split('\n'),
        // How many there ought to be is up to the client here.
        connections: async () => undefined,
        close: endAll,
      };
    };
    pubsubBehaviour(name, backend, { sharded: true });

    const history = async (): Promise<HistoryWorld> => {
      await everywhere('FLUSHALL');
      const { client, endAll } = owner();
      const connections: RespConnection[] = [];
      return {
        client,
        listen: async (channel, got) => {
          const connection = await RespConnection.open(place.ports[0] as number, COMMAND_MS, (reply) => {
            const [kind, from, payload] = reply as string[];
            if (kind === 'message' && from === channel) got(payload as string);
          });
          connections.push(connection);
          await connection.send(['SUBSCRIBE', channel], COMMAND_MS);
        },
        run: async (...args) => {
          if (args[0] === 'CLIENT' || args[0] === 'FLUSHALL' || args[0] === 'SCRIPT')
            return everywhere(...args);
          return place.cli(await place.at(args[1] as string), ...args);
        },
        end: async () => {
          for (const connection of connections) connection.close();
          await endAll();
        },
      };
    };
    historyBehaviour(name, history, { embedded: false });
  });
});
