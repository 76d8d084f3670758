import { afterEach, describe, expect, it } from 'vitest';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';

interface World {
  readonly ports: readonly number[];
  pid(port: number): number;
  stop(): Promise<void>;
}

const worlds: World[] = [];

afterEach(async () => {
  for (const world of worlds.splice(0)) await world.stop();
});

function kept<T extends World>(world: T): T {
  worlds.push(world);
  return world;
}

/** Ends a world, and expects that none of its processes is left. */
async function expectStopped(world: World, ports: readonly number[]): Promise<void> {
  const pids = ports.map((port) => world.pid(port));
  expect(pids.every(runs)).toBe(true);
  await world.stop();
  await world.stop();
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
  it('keeps its keys during a slot move, a failover, and the death of a master', async () => {
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
  it('keep a key during a failover and a frozen master that returns as a master', async () => {
    const world = kept(await startRedisSentinel());
    const first = await world.master();
    expect(first).toBe(world.ports[0]);
    expect(await world.replicas()).toHaveLength(2);

    await world.cli(first, 'SET', 'key', 'kept');
    await world.waitUntilOk();
    const second = await world.failover();
    await world.waitUntilOk();
    expect(await world.cli(second, 'GET', 'key')).toBe('kept');

    world.freeze(second);
    const third = await world.waitForMaster(second);
    expect(await world.cli(third, 'GET', 'key')).toBe('kept');
    world.resume(second);
    expect(await world.cli(second, 'ROLE')).toMatch(/^master/);
    await world.waitUntilOk();
    expect(await world.cli(second, 'ROLE')).toMatch(/^slave/);

    const [sentinel] = world.sentinels as [number];
    await world.kill(sentinel);
    await world.restart(sentinel);
    await world.kill(third);
    expect(await world.waitForMaster(third)).not.toBe(third);
    await world.restart(third);
    await world.waitUntilOk();

    world.freeze(sentinel);
    await expectStopped(world, [...world.ports, ...world.sentinels]);
  });
});
