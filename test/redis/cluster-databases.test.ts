import { Cluster as IoredisCluster } from 'ioredis';
import { createCluster } from 'redis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRollcall, type RedisClient, type Rollcall } from '../../src/index.js';
import { databasesBehaviour } from '../shared/databases-behaviour.js';
import { Flow, FlowFixture } from '../shared/message-flow.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// Logical databases of a Cluster, which Valkey has since 9.0. Everything is named alike in both.

const host = '127.0.0.1';
const DATABASES = [0, 1] as const;

let cluster: RedisCluster;
let hasDatabases: boolean;
beforeAll(async () => {
  const server = await startRedis();
  hasDatabases = (await server.cli('CONFIG', 'GET', 'cluster-databases')) !== '';
  await server.stop();
  cluster = await startRedisCluster(hasDatabases ? { args: ['--cluster-databases', '2'] } : { replicas: 0 });
});
afterAll(() => cluster?.stop());

type Connect = (database: number) => { client: RedisClient; end: () => unknown };
const connects: Record<string, Connect> = {
  'node-redis 6': (database) => {
    const rootNodes = cluster.ports.map((port) => ({ socket: { host, port } }));
    const client = createCluster({ rootNodes, defaults: { database } });
    client.on('error', () => {});
    return { client, end: () => client.isOpen && client.destroy() };
  },
  'ioredis 5': (database) => {
    const nodes = cluster.ports.map((port) => ({ host, port }));
    const client = new IoredisCluster(nodes, { lazyConnect: true, redisOptions: { db: database } });
    client.on('error', () => {});
    return { client, end: () => client.disconnect() };
  },
};

describe.each(Object.entries(connects))(
  'a database that the Cluster does not have, with %s',
  (_name, connect) => {
    it('is refused at the first call, although ioredis itself uses database 0', async () => {
      const { client, end } = connect(hasDatabases ? 2 : 1);
      const { pubsub, presence, close } = createRollcall({ redis: client, onError: null });
      try {
        const refused = { name: 'ConfigurationError', message: expect.stringMatching(/refuses database \d/) };
        await expect(pubsub.publish('news', 1)).rejects.toMatchObject(refused);
        await expect(presence.setPresence('ann', 's1')).rejects.toMatchObject(refused);
        await expect(pubsub.subscribe('news', () => {})).rejects.toMatchObject(refused);
      } finally {
        await close();
        end();
      }
    });
  },
);

describe('with several databases', () => {
  beforeEach(async ({ skip }) => {
    if (!hasDatabases) skip('the server has no setting cluster-databases');
    await cluster.waitUntilOk();
  });

  for (const [name, connect] of Object.entries(connects)) {
    databasesBehaviour(`two logical databases of a Cluster, with ${name}`, connect);
  }

  describe.each(Object.entries(connects))('numbered messages and presence through %s', (_name, connect) => {
    let both: InDatabase[];
    /** The master that has all keys and sharded channels. */
    let victim: number;
    let tag: string;

    beforeEach(async () => {
      [victim] = (await cluster.masters()) as [number];
      const prefix = await prefixAt(victim);
      tag = `${prefix}:0`;
      both = DATABASES.map((database) => new InDatabase(database, prefix, () => connect(database)));
      await Promise.all(both.map((each) => each.start()));
    });
    afterEach(() => Promise.all(both.map((each) => each.end())));

    // Valkey 9.1.2 may apply a write of one database to another during the move, if both are written: see
    // findings/valkey-migrates-to-other-database.sh. So only one is.
    it('follow a slot that moves with both databases', async () => {
      const [zero, one] = both as [InDatabase, InDatabase];
      await zero.halt();
      const [, other] = (await cluster.masters()) as [number, number];
      const slot = cluster.slotOf(`{${tag}}`);
      await cluster.migrateSlots([slot], victim, other);
      await one.messages.flowing();
      await one.verify();
      await zero.verify();
      for (const { messages } of both)
        for (const flow of messages.flows) if (flow.history) flow.verifyNoGap();
      await cluster.migrateSlots([slot], other, victim);
    });

    it('survive the death of a master, and never cross', async () => {
      await cluster.kill(victim);
      await Promise.all(both.map(({ messages }) => messages.flowing()));
      await cluster.restart(victim);
      await cluster.waitUntilOk();
      await Promise.all(both.map((each) => each.verify()));
    });
  });
});

/** Numbered messages and a presence service in one database. All names and ids are the same in each. */
class InDatabase {
  readonly messages: FlowFixture;
  readonly #all: Rollcall;
  readonly #end: () => unknown;
  readonly #seen: string[] = [];
  readonly #status: string;
  #halted = false;

  constructor(database: number, prefix: string, make: () => { client: RedisClient; end: () => unknown }) {
    const name = `{${prefix}:0}`;
    const first = database * 1_000_000;
    this.messages = new FlowFixture(make, [
      new Flow(`${name}:plain with history`, false, true, first),
      new Flow(`${name}:sharded with history`, true, true, first),
      // Messages without history are not kept apart: these channels need names of their own.
      new Flow(`${name}:plain of database ${database}`, false, false, first),
      new Flow(`${name}:sharded of database ${database}`, true, false, first),
    ]);
    const { client, end } = make();
    this.#all = createRollcall({
      redis: client,
      presence: { prefix, partitions: 1, timeout: 20_000 },
      onError: null,
    });
    this.#end = end;
    this.#status = `status-${database}`;
  }

  async start(): Promise<void> {
    const { presence } = this.#all;
    await presence.setPresence('ann', 's1', this.#status);
    await presence.watch(
      ['ann', 'bob'],
      (change) => void this.#seen.push(`${change.userId} ${change.status}`),
    );
    await this.messages.start();
  }

  /** Publishes no more. */
  async halt(): Promise<void> {
    this.#halted = true;
    await Promise.all(this.messages.flows.map((flow) => flow.stop()));
  }

  async verify(): Promise<void> {
    const { presence, pubsub } = this.#all;
    expect(await presence.getPresence('ann')).toMatchObject({ status: this.#status, socketIds: ['s1'] });
    await presence.setPresence('bob', this.#status);
    await waitFor(() => this.#seen.includes('bob online'), { message: () => `bob online: ${this.#seen}` });
    expect((await presence.getPresence('bob'))?.socketIds).toEqual([this.#status]);
    expect(this.#seen).toEqual(['bob online']);
    if (!this.#halted) await this.messages.verify();
    for (const flow of this.messages.flows) {
      flow.verify();
      if (!flow.history) continue;
      const { messages } = await pubsub.history<number>(flow.channel, {
        limit: 1,
        reverse: true,
      });
      expect(messages.map(({ message }) => message)).toEqual(flow.published.slice(-1));
    }
  }

  async end(): Promise<void> {
    await this.messages.end();
    await this.#all.close();
    await this.#end();
  }
}

/** A prefix whose only partition `port` has. */
async function prefixAt(port: number): Promise<string> {
  for (let n = 0; ; n++) {
    const prefix = `p${Math.random().toString(36).slice(2, 8)}${n}`;
    if ((await cluster.nodeOf(`{${prefix}:0}`)) === port) return prefix;
  }
}
