import type { EventEmitter } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, type RunnerTestSuite } from 'vitest';
import type { RedisClient } from '../../src/index.js';
import { rawClient } from '../support/raw-client.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { RespConnection } from '../support/resp.js';
import { type HistoryBackend, historyBehaviour } from './history-behaviour.js';
import { presenceBehaviour } from './presence-behaviour.js';
import type { PresenceBackend } from './presence-fixture.js';
import { type Backend, pubsubBehaviour } from './pubsub-behaviour.js';
import { MATRIX_ALL } from './redis-clients.js';
import { userStatusBehaviour } from './user-status-behaviour.js';

// What services do on a Cluster and under Sentinel. Each client library has a file of its own, which
// starts servers of its own. The newest version of each library always runs; `MATRIX=all npm test`
// runs the others as well.

const COMMAND_MS = 5_000;
const host = '127.0.0.1';

const COUNTS = 'a node of a Cluster counts only its own receivers';
const ROUTES = 'a message with history takes another route through a Cluster than one without';

/** The servers of a topology. */
export interface Servers {
  /** Addresses at which clients discover the other servers. */
  readonly roots: { host: string; port: number }[];
  /** The name of the master at the sentinels. */
  readonly name: string;
  /** Every server that clients may be connected to. */
  readonly ports: readonly number[];
  /** The port of the server that has a key or a channel. */
  at(key: string): Promise<number>;
  cli(port: number, ...args: string[]): Promise<string>;
  stop(): Promise<void>;
}

interface Topology {
  readonly start: () => Promise<Servers>;
  /** Whether the behaviour of sockets runs here; presence-cluster.test.ts runs it on a Cluster. */
  readonly presence: boolean;
  /** Tests that cannot hold here, by title, each with the reason. */
  readonly gaps: Readonly<Record<string, string>>;
}

const topologies: Readonly<Record<'a cluster' | 'sentinels', Topology>> = {
  'a cluster': {
    start: async () => {
      const cluster = await startRedisCluster({ replicas: 0 });
      return {
        roots: cluster.ports.map((port) => ({ host, port })),
        name: '',
        ports: cluster.ports,
        at: (key) => cluster.nodeOf(key),
        cli: (port, ...args) => cluster.cli(port, ...args),
        stop: () => cluster.stop(),
      };
    },
    presence: false,
    gaps: {
      'go from process to process unchanged': COUNTS,
      'see plain JSON on the channel as written': COUNTS,
      'returns the number of receivers': COUNTS,
      'a subscription outlives its last handler for a while, and a handler added then misses nothing': COUNTS,
      'that look like envelopes come back as they were': ROUTES,
      'with and without history, mixed on one channel, keep their order': ROUTES,
      'patterns receive messages with history decoded, and their position': ROUTES,
      'sharded channels have histories, or are rejected with the reason': 'one of them is refused here',
    },
  },
  sentinels: {
    start: async () => {
      const sentinel = await startRedisSentinel({ replicas: 1 });
      return {
        roots: sentinel.sentinels.map((port) => ({ host, port })),
        name: sentinel.name,
        ports: [await sentinel.master()],
        at: () => sentinel.master(),
        cli: (port, ...args) => sentinel.cli(port, ...args),
        stop: () => sentinel.stop(),
      };
    },
    presence: true,
    gaps: {},
  },
};

export interface TopologyClient {
  client: RedisClient & { isOpen?: boolean; status?: string };
  end: () => unknown;
}

export type TopologyClients = Readonly<Record<string, (servers: Servers) => TopologyClient>>;

export const destroyed = <T extends RedisClient & { destroy(): unknown; isOpen: boolean }>(client: T) => ({
  client,
  end: () => (client.isOpen ? client.destroy() : undefined),
});
export const disconnected = <T extends RedisClient & { disconnect(): unknown }>(client: T) => ({
  client,
  end: () => client.disconnect(),
});

/**
 * Clients of one library, each used by one service at a time and again by a later test: finding the
 * master takes a node-redis Sentinel client a second.
 */
class ClientPool {
  readonly #make: () => TopologyClient;
  readonly #all: TopologyClient[] = [];
  #used = 0;

  constructor(make: () => TopologyClient) {
    this.#make = make;
  }

  /** A client that no other service of this test has. */
  take(): RedisClient {
    const free = this.#all[this.#used];
    if (free !== undefined) {
      this.#used++;
      return free.client;
    }
    const made = this.#make();
    // After rollcall has detached from a client, the client's errors are its owner's to handle.
    (made.client as unknown as EventEmitter).on('error', () => {});
    this.#all.push(made);
    this.#used++;
    return made.client;
  }

  /** The services of a test are closed: the next test may have its clients. */
  release(): void {
    this.#used = 0;
    const closed = ({ client }: TopologyClient) => client.isOpen === false || client.status === 'end';
    for (const each of this.#all.filter(closed)) this.#all.splice(this.#all.indexOf(each), 1);
  }

  async end(): Promise<void> {
    await Promise.all(this.#all.splice(0).map(({ end }) => end()));
  }
}

function titlesOf(suite: Pick<RunnerTestSuite, 'tasks'>): string[] {
  return suite.tasks.flatMap((task) => (task.type === 'suite' ? titlesOf(task) : [task.name]));
}

/** Services on `kind`, with the clients of one library; `more` are its older versions and protocols. */
export function topologyBehaviour(
  kind: keyof typeof topologies,
  clients: TopologyClients,
  more: TopologyClients,
): void {
  const { start, presence, gaps } = topologies[kind];
  const makers = Object.entries({ ...clients, ...(MATRIX_ALL ? more : {}) });

  describe.each(makers)(`on ${kind}, with %s`, (name, make) => {
    let servers: Servers;
    let pool: ClientPool;
    let titles: Set<string> | undefined;

    beforeAll(async () => {
      servers = await start();
      pool = new ClientPool(() => make(servers));
    });
    afterAll(async () => {
      await pool?.end();
      await servers?.stop();
    });
    beforeEach(({ task, skip }) => {
      titles ??= new Set(titlesOf(task.file));
      for (const title of Object.keys(gaps)) if (!titles.has(title)) throw new Error(`no test: ${title}`);
      const reason = gaps[task.name];
      if (reason !== undefined) skip(reason);
    });
    afterEach(() => pool.release());

    const client = () => pool.take();
    const everywhere = (...command: string[]) =>
      Promise.all(servers.ports.map((port) => servers.cli(port, ...command)));
    const flush = async () => void (await everywhere('FLUSHALL'));
    // The pool ends the clients.
    const end = async () => {};

    const presenceBackend = async (): Promise<PresenceBackend> => {
      await flush();
      return { client, flush, end };
    };
    if (presence) presenceBehaviour(presenceBackend);
    userStatusBehaviour(presenceBackend, { userCount: 500 });

    const pubsubBackend = async (): Promise<Backend> => ({
      client,
      end,
      raw: () => rawClient(servers.ports[0] as number),
      channels: async () => (await everywhere('PUBSUB', 'CHANNELS')).join('\n').split('\n'),
      // Their number is up to the client here.
      connections: async () => undefined,
      close: end,
    });
    pubsubBehaviour(name, pubsubBackend, { sharded: true });

    const historyBackend = async (): Promise<HistoryBackend> => {
      await flush();
      const connections: RespConnection[] = [];
      return {
        client,
        listen: async (channel, got) => {
          const connection = await RespConnection.open(servers.ports[0] as number, COMMAND_MS, (reply) => {
            const [type, from, payload] = reply as string[];
            if (type === 'message' && from === channel) got(payload as string);
          });
          connections.push(connection);
          await connection.send(['SUBSCRIBE', channel], COMMAND_MS);
        },
        run: async (...args) => {
          if (args[0] === 'CLIENT' || args[0] === 'FLUSHALL' || args[0] === 'SCRIPT')
            return everywhere(...args);
          return servers.cli(await servers.at(args[1] as string), ...args);
        },
        end: async () => {
          for (const connection of connections) connection.close();
        },
      };
    };
    historyBehaviour(name, historyBackend, { embedded: false, lateDelivery: kind === 'a cluster' });
  });
}
