import type { EventEmitter } from 'node:events';
import { Redis as IoredisFive, Cluster as IoredisFiveCluster } from 'ioredis';
import { createCluster, createSentinel } from 'redis';
import { createSentinel as createSentinelFive } from 'redis5';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Discontinuity, PubSubService, type RedisClient } from '../../src/index.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type RedisSentinel, startRedisSentinel } from '../support/redis-sentinel.js';
import { waitFor } from '../support/wait.js';

// Numbered messages flow while nodes of a real cluster fail. Whoever asked for history gets each of them,
// once and in order; a subscriber without one gets a discontinuity for every period in which a message may be missing.

const host = '127.0.0.1';
const HISTORY = { size: 100_000, ttl: 600_000 };
/** Between two messages of one channel, in ms. */
const PACE = 5;
/** Within how many ms messages have to flow again after a fault, the failover included. */
const RECOVERY = 15_000;

let cluster: RedisCluster;
let sentinel: RedisSentinel;
beforeAll(async () => {
  [cluster, sentinel] = await Promise.all([startRedisCluster(), startRedisSentinel()]);
});
afterAll(() => Promise.all([cluster?.stop(), sentinel?.stop()]));

type Maker = () => { client: RedisClient; end: () => unknown };
const clusterMakers: Record<string, Maker> = {
  'node-redis 6': () => {
    const client = createCluster({ rootNodes: cluster.ports.map((port) => ({ socket: { host, port } })) });
    return { client, end: () => client.destroy() };
  },
  'ioredis 5': () => {
    const client = new IoredisFiveCluster(
      cluster.ports.map((port) => ({ host, port })),
      { lazyConnect: true },
    );
    return { client, end: () => client.disconnect() };
  },
};

const sentinels = () => sentinel.sentinels.map((port) => ({ host, port }));
const sentinelMakers: Record<string, Maker> = {
  'node-redis 6': () => {
    const client = createSentinel({ name: sentinel.name, sentinelRootNodes: sentinels() });
    return { client, end: () => client.destroy() };
  },
  'node-redis 5': () => {
    const client = createSentinelFive({ name: sentinel.name, sentinelRootNodes: sentinels() });
    return { client, end: () => client.destroy() };
  },
  'ioredis 5': () => {
    const client = new IoredisFive({ sentinels: sentinels(), name: sentinel.name, retryStrategy: () => 50 });
    return { client, end: () => client.disconnect() };
  },
};

/** One channel: its messages are published one after another, and noted down as they arrive. */
class Flow {
  /** What came, in order: numbers, and `gap` or `recovered` where a stretch may be missing. */
  readonly log: (number | 'gap' | 'recovered')[] = [];
  readonly discontinuities: Discontinuity[] = [];
  /** What has definitely been published. */
  readonly published: number[] = [];
  readonly errors: string[] = [];
  #received = new Set<number>();
  /** The one that is being published. */
  #current = -1;
  #running = true;
  #done: Promise<void> | undefined;

  constructor(
    readonly channel: string,
    readonly sharded: boolean,
    readonly history: boolean,
  ) {}

  async start(from: PubSubService, to: PubSubService): Promise<void> {
    await to.subscribe<number>(
      this.channel,
      (number) => {
        this.log.push(number);
        this.#received.add(number);
      },
      {
        sharded: this.sharded,
        ...(this.history ? { since: 'latest' as const } : {}),
        onDiscontinuity: (discontinuity) => {
          this.discontinuities.push(discontinuity);
          this.log.push(discontinuity.recovered ? 'recovered' : 'gap');
        },
      },
    );
    this.#done = this.#publish(from);
    await this.flows();
  }

  async #publish(from: PubSubService): Promise<void> {
    for (let number = 0; this.#running; number++) {
      this.#current = number;
      await new Promise((resolve) => setTimeout(resolve, PACE));
      while (!(await this.#published(from, number))) if (!this.#running) return;
    }
  }

  /** True when there is no more to be done for it. */
  async #published(from: PubSubService, number: number): Promise<boolean> {
    try {
      await from.publish(this.channel, number, {
        sharded: this.sharded,
        ...(this.history ? { history: HISTORY, idempotencyKey: String(number) } : {}),
      });
      this.published.push(number);
      return true;
    } catch (error) {
      const { outcome, message } = error as Error & { outcome: string };
      this.errors.push(`${number} ${outcome}: ${message}`);
      return !this.history && outcome === 'unknown';
    }
  }

  /** Resolves when a message that is published from now on has arrived. */
  async flows(): Promise<void> {
    const before = this.#current;
    const arrived = () => {
      const from = this.published.findLastIndex((number) => number <= before) + 1;
      return this.published.slice(from).some((number) => this.#received.has(number));
    };
    await waitFor(arrived, { timeout: RECOVERY, message: () => `messages on ${this.channel}:\n${this}` });
  }

  /** Publishes no more. */
  halt(): void {
    this.#running = false;
  }

  async stop(): Promise<void> {
    await this.flows();
    this.halt();
    await this.#done;
    const last = this.published.at(-1) as number;
    await waitFor(() => this.#received.has(last), { message: () => `the last message, ${last}:\n${this}` });
  }

  /**
   * Throws if a message is missing without a discontinuity. With history, also if a message came twice or in
   * another order; what a server has forgotten, or kept apart from the others, may, at a gap.
   */
  verify(): void {
    expect([...this.#lostUntold(), ...(this.history ? this.#outOfOrder() : [])], String(this)).toEqual([]);
  }

  /** Throws if a gap that was not recovered was told where nothing can be lost. */
  verifyNoGap(): void {
    expect(this.log.includes('gap'), String(this)).toBe(false);
  }

  #outOfOrder(): string[] {
    const forked = this.discontinuities.some(({ reason }) =>
      ['failover', 'forked', 'wiped'].includes(reason),
    );
    const wrong: string[] = [];
    let last = -1;
    let reported = false;
    for (const each of this.log) {
      if (typeof each !== 'number') {
        reported ||= each === 'gap' && forked;
        continue;
      }
      if (each !== last + 1 && !reported) wrong.push(`${each} after ${last}`);
      last = each;
      reported = false;
    }
    return wrong;
  }

  /** What did not come, although it was published, and no gap stands in its place. */
  #lostUntold(): string[] {
    const lost = this.published.filter((number) => !this.#received.has(number));
    return lost.flatMap((number) => {
      const after = this.log.findIndex((each) => typeof each === 'number' && each > number);
      const until = this.log.slice(0, after);
      const before = until.findLastIndex((each) => typeof each === 'number' && each < number);
      return until.indexOf('gap', before) === -1 ? [`${number} is missing`] : [];
    });
  }

  toString(): string {
    const reported = this.discontinuities.map(
      ({ reason, recovered }) => `${reason}${recovered ? ' (recovered)' : ''}`,
    );
    const tail = this.log.slice(-10).join(' ');
    const { channel, published, errors } = this;
    return `${channel}: ${published.length} published, … ${tail}; reported: ${reported.join(', ')}; errors: ${errors.join('; ')}`;
  }
}

/** Four channels, and the services that publish and subscribe to them during a fault. */
class FlowFixture {
  readonly flows: Flow[];
  readonly #ends: (() => unknown)[] = [];
  readonly #maker: Maker;

  constructor(maker: Maker, tag: string) {
    this.#maker = maker;
    const name = `{${tag}}:${Math.random().toString(36).slice(2)}`;
    this.flows = [
      new Flow(`${name}:classic`, false, false),
      new Flow(`${name}:classic with history`, false, true),
      new Flow(`${name}:sharded`, true, false),
      new Flow(`${name}:sharded with history`, true, true),
    ];
  }

  async start(): Promise<void> {
    // Two clients, so that the one that listens learns of nothing by sending.
    const [from, to] = [this.#service(), this.#service()];
    await Promise.all(this.flows.map((flow) => flow.start(from, to)));
  }

  #service(): PubSubService {
    const { client, end } = this.#maker();
    (client as unknown as EventEmitter).on('error', () => {});
    const service = new PubSubService({ redis: client });
    this.#ends.push(async () => {
      await service.close();
      await end();
    });
    return service;
  }

  async flowing(): Promise<void> {
    await Promise.all(this.flows.map((flow) => flow.flows()));
  }

  async verify(): Promise<void> {
    await Promise.all(this.flows.map((flow) => flow.stop()));
    for (const flow of this.flows) flow.verify();
  }

  /** As `verify`, after something that loses nothing which Redis has acknowledged: no history may tell a gap. */
  async verifyNoGap(): Promise<void> {
    await this.verify();
    for (const flow of this.flows) if (flow.history) flow.verifyNoGap();
  }

  async end(): Promise<void> {
    for (const flow of this.flows) flow.halt();
    await Promise.all(this.#ends.map((end) => end()));
  }
}

let fixture: FlowFixture;
afterEach(() => fixture.end());

describe.each(Object.entries(clusterMakers))('on a cluster, messages through %s', (_name, maker) => {
  let tag: string;
  /** The master that has the slots of all channels. */
  let victim: number;

  beforeEach(async () => {
    await cluster.waitUntilOk();
    [victim] = (await cluster.masters()) as [number];
    tag = await tagAt(victim);
    fixture = new FlowFixture(maker, tag);
    await fixture.start();
  });

  it('survive the death of a master', async () => {
    await cluster.kill(victim);
    await fixture.flowing();
    await cluster.restart(victim);
    await cluster.waitUntilOk();
    await fixture.verify();
  });

  it('survive a planned failover', async () => {
    const [replica] = (await cluster.replicas(victim)) as [number];
    await cluster.failover(replica);
    await fixture.flowing();
    // A promoted replica cannot tell what the old master has acknowledged: the gap is told although nothing was lost.
    await fixture.verify();
  });

  it('follow a moved slot', async () => {
    const [, other] = (await cluster.masters()) as [number, number];
    const slot = cluster.slotOf(tag);
    const move = await cluster.startMove([slot], victim, other);
    await move.finish();
    await fixture.flowing();
    await fixture.verifyNoGap();
    await cluster.moveSlots([slot], other, victim);
  });

  it('follow a slot that the servers move at once', async ({ skip }) => {
    if (!(await cluster.canMigrateSlots())) skip('the server has no CLUSTER MIGRATESLOTS');
    const [, other] = (await cluster.masters()) as [number, number];
    const slot = cluster.slotOf(tag);
    for (const [from, to] of [
      [victim, other],
      [other, victim],
    ] as const) {
      await cluster.migrateSlots([slot], from, to);
      await fixture.flowing();
    }
    await fixture.verifyNoGap();
  });

  it('survive an unresponsive master', async () => {
    cluster.freeze(victim);
    await fixture.flowing();
    cluster.resume(victim);
    await cluster.waitUntilOk();
    await fixture.flowing();
    await fixture.verify();
  });
});

describe.each(Object.entries(sentinelMakers))('with sentinels, messages through %s', (name, maker) => {
  let master: number;

  beforeEach(async () => {
    await sentinel.waitUntilOk();
    master = await sentinel.master();
    fixture = new FlowFixture(maker, 'sentinel');
    await fixture.start();
  });

  it('survive the death of a master', async () => {
    await sentinel.kill(master);
    await fixture.flowing();
    await sentinel.restart(master);
    await sentinel.waitUntilOk();
    await fixture.verify();
  });

  it('survive a failover by command', async () => {
    await sentinel.failover();
    await sentinel.waitUntilOk();
    await fixture.flowing();
    await fixture.verify();
  });

  it('survive a failover that waits for the replica', async ({ skip }) => {
    if (!(await sentinel.canCoordinate())) skip('the sentinel has no SENTINEL FAILOVER … COORDINATED');
    await sentinel.failover('COORDINATED');
    await sentinel.waitUntilOk();
    await fixture.flowing();
    await fixture.verify();
  });

  // An ioredis client stays with a master that is frozen until that is resumed, and demoted.
  it.skipIf(name.startsWith('ioredis'))('survive an unresponsive master', async () => {
    sentinel.freeze(master);
    await fixture.flowing();
    sentinel.resume(master);
    await sentinel.waitUntilOk();
    await fixture.flowing();
    await fixture.verify();
  });
});

/** A hash tag whose slot `port` has. */
async function tagAt(port: number): Promise<string> {
  for (let n = 0; ; n++) {
    const tag = `t${Math.random().toString(36).slice(2, 8)}${n}`;
    if ((await cluster.nodeOf(tag)) === port) return tag;
  }
}
