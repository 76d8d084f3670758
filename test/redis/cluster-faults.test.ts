import { Redis as IoredisFive, Cluster as IoredisFiveCluster } from 'ioredis';
import { createCluster, createSentinel } from 'redis';
import { createSentinel as createSentinelFive } from 'redis5';
import { afterAll, afterEach, beforeAll, beforeEach, describe, it } from 'vitest';
import { FlowFixture, fourFlows, type Maker } from '../shared/message-flow.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type RedisSentinel, startRedisSentinel } from '../support/redis-sentinel.js';

// Numbered messages flow while nodes of a real cluster fail. Whoever asked for history gets each of them,
// once and in order; a subscriber without one gets a discontinuity for every period in which a message may be missing.

const host = '127.0.0.1';

let cluster: RedisCluster;
let sentinel: RedisSentinel;
beforeAll(async () => {
  [cluster, sentinel] = await Promise.all([startRedisCluster(), startRedisSentinel()]);
});
afterAll(() => Promise.all([cluster?.stop(), sentinel?.stop()]));

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
    fixture = new FlowFixture(maker, fourFlows(tag));
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
    fixture = new FlowFixture(maker, fourFlows('sentinel'));
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
