import { afterEach, describe, expect, it } from 'vitest';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';

interface Topology {
  readonly ports: readonly number[];
  pid(port: number): number;
  stop(): Promise<void>;
}

const topologies: Topology[] = [];

afterEach(async () => {
  for (const topology of topologies.splice(0)) await topology.stop();
});

function kept<T extends Topology>(topology: T): T {
  topologies.push(topology);
  return topology;
}

/** Ends a topology, and expects that none of its processes is left. */
async function expectStopped(topology: Topology, ports: readonly number[]): Promise<void> {
  const pids = ports.map((port) => topology.pid(port));
  expect(pids.every(runs)).toBe(true);
  await topology.stop();
  await topology.stop();
  expect(pids.filter(runs)).toEqual([]);
}

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe('a Redis Cluster', () => {
  it('keeps its keys through a slot move, a failover and the death of a master', async () => {
    const cluster = kept(await startRedisCluster());
    const masters = await cluster.masters();
    expect(masters).toEqual(cluster.ports.slice(0, 3));
    expect(await cluster.replicas()).toHaveLength(3);

    const slot = cluster.slotOf('{user:ünï}:1');
    const [first] = masters as [number];
    expect(await cluster.cli(first, 'CLUSTER', 'KEYSLOT', '{user:ünï}:1')).toBe(String(slot));
    const from = await cluster.nodeOf('{user:ünï}:1');
    const to = masters.find((port) => port !== from) as number;
    await cluster.cli(from, 'SET', '{user:ünï}:1', 'kept');
    await expect(cluster.cli(to, 'GET', '{user:ünï}:1')).rejects.toThrow(/^MOVED/);

    const move = await cluster.startMove([slot], from, to);
    await expect(cluster.cli(from, 'GET', '{user:ünï}:2')).rejects.toThrow(/^ASK/);
    await move.finish();
    expect(await cluster.nodeOf(slot)).toBe(to);
    expect(await cluster.cli(to, 'GET', '{user:ünï}:1')).toBe('kept');

    const [replica] = (await cluster.replicas(to)) as [number];
    await cluster.waitUntilOk();
    await cluster.failover(replica);
    await cluster.waitUntilOk();
    expect(await cluster.nodeOf(slot)).toBe(replica);
    expect(await cluster.cli(replica, 'GET', '{user:ünï}:1')).toBe('kept');

    await cluster.kill(replica);
    await cluster.waitUntilOk();
    expect(await cluster.nodeOf(slot)).toBe(to);
    await cluster.restart(replica);
    await cluster.waitUntilOk();
    expect(await cluster.replicas(to)).toEqual([replica]);
    expect(await cluster.cli(to, 'GET', '{user:ünï}:1')).toBe('kept');

    cluster.freeze(replica);
    await expectStopped(cluster, cluster.ports);
  });
});

describe('a master, replicas and sentinels', () => {
  it('keep a key through a failover and the return of a frozen master', async () => {
    const topology = kept(await startRedisSentinel());
    const first = await topology.master();
    expect(first).toBe(topology.ports[0]);
    expect(await topology.replicas()).toHaveLength(2);

    await topology.cli(first, 'SET', 'key', 'kept');
    await topology.waitUntilOk();
    const second = await topology.failover();
    await topology.waitUntilOk();
    expect(await topology.cli(second, 'GET', 'key')).toBe('kept');

    topology.freeze(second);
    const third = await topology.waitForMaster(second);
    expect(await topology.cli(third, 'GET', 'key')).toBe('kept');
    topology.resume(second);
    expect(await topology.cli(second, 'ROLE')).toMatch(/^master/);
    await topology.waitUntilOk();
    expect(await topology.cli(second, 'ROLE')).toMatch(/^slave/);

    const [sentinel] = topology.sentinels as [number];
    await topology.kill(sentinel);
    await topology.restart(sentinel);
    await topology.kill(third);
    expect(await topology.waitForMaster(third)).not.toBe(third);
    await topology.restart(third);
    await topology.waitUntilOk();

    topology.freeze(sentinel);
    await expectStopped(topology, [...topology.ports, ...topology.sentinels]);
  });
});
