import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { period } from '../support/machine.js';
import { NodeProcess, type NodeProcessOptions, type Outcomes } from '../support/node-process.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { RespConnection } from '../support/resp.js';
import { waitFor } from '../support/wait.js';

// Real processes, killed and stopped by signals. Bounds are those the documentation promises, with
// a slack for a machine that has other things to do; what was measured is printed.

const LEASE = period(2_000);
const SLACK = 2_500;
const PREFIX = 'faults';
const BASE = `{${PREFIX}:0}`;

let server: RedisServer;
let nodes: NodeProcess[];
let wire: Wire;

beforeEach(async () => {
  server = await startRedis();
  nodes = [];
  wire = await Wire.open(server);
});

afterEach(async () => {
  wire.close();
  await Promise.all(nodes.map((node) => node.kill()));
  await server.stop();
});

async function node(options: NodeProcessOptions['options'] = {}): Promise<NodeProcess> {
  const client = nodes.length % 2 === 0 ? 'node-redis' : 'ioredis';
  const started = await NodeProcess.start({
    port: server.port,
    client,
    options: { prefix: PREFIX, lease: LEASE, ...options },
  });
  nodes.push(started);
  return started;
}

/** `count` nodes, started together. */
function several(count: number, options: NodeProcessOptions['options'] = {}): Promise<NodeProcess[]> {
  return Promise.all(Array.from({ length: count }, () => node(options)));
}

type Change = { at: number; user: string; status: string; previous: string; version: number };

/** What anybody can see from outside: the published changes, and what is in Redis. */
class Wire {
  readonly changes: Change[] = [];
  readonly #server: RedisServer;
  #subscription: RespConnection | undefined;

  private constructor(server: RedisServer) {
    this.#server = server;
  }

  static async open(server: RedisServer): Promise<Wire> {
    const opened = new Wire(server);
    await opened.subscribe();
    return opened;
  }

  /** Subscribes (again, after a restart of Redis). */
  async subscribe(): Promise<void> {
    const connection = await RespConnection.open(this.#server.port, 5_000, (reply) => {
      if (!Array.isArray(reply) || reply[0] !== 'message') return;
      const batch = JSON.parse(String(reply[2])) as [string, string, string, number, number, number][];
      const at = performance.now();
      for (const [user, status, previous, , version] of batch) {
        this.changes.push({ at, user, status, previous, version });
      }
    });
    await connection.send(['SUBSCRIBE', `${BASE}:events`], 5_000);
    this.#subscription = connection;
  }

  close(): void {
    this.#subscription?.close();
  }

  offline(prefix = ''): Change[] {
    return this.changes.filter(({ user, status }) => status === 'offline' && user.startsWith(prefix));
  }

  online(prefix = ''): Promise<number> {
    return this.members(`${BASE}:online`, prefix, ['SMEMBERS']);
  }

  async members(
    key: string,
    prefix = '',
    [command = '', ...range]: string[] = ['ZRANGE', '0', '-1'],
  ): Promise<number> {
    const list = await this.#server.cli(command, key, ...range);
    return list.split('\n').filter((member) => member !== '' && member.startsWith(prefix)).length;
  }

  /** Waits until `count` users with `prefix` have been announced offline. */
  async untilOffline(prefix: string, count: number, timeout: number): Promise<number> {
    await waitFor(() => this.offline(prefix).length >= count, {
      timeout,
      message: () => `${count} users ${prefix}* to go offline; ${this.offline(prefix).length} did`,
    });
    return Math.max(...this.offline(prefix).map(({ at }) => at));
  }

  /** Each of `count` users with `prefix` was announced offline once, and is. */
  async expectGone(prefix: string, count: number): Promise<void> {
    const events = this.offline(prefix).map(({ user }) => user);
    expect(events).toHaveLength(count);
    expect(new Set(events).size).toBe(count);
    expect(await this.online(prefix)).toBe(0);
    expect(await this.#left(prefix)).toEqual([]);
  }

  /** Keys of socket entries of users with `prefix` that were not removed. */
  async #left(prefix: string): Promise<string[]> {
    const keys = await this.#server.cli('KEYS', `${BASE}:sockets:${prefix}*`);
    return keys.split('\n').filter((key) => key !== '');
  }

  /** The fields of a user's sockets. */
  async fields(user: string): Promise<string[]> {
    const fields = await this.#server.cli('HKEYS', `${BASE}:sockets:${user}`);
    return fields.split('\n').filter((field) => field !== '');
  }

  async leases(): Promise<Map<string, number>> {
    const flat = (await this.#server.cli('ZRANGE', `${BASE}:nodes`, '0', '-1', 'WITHSCORES')).split('\n');
    const leases = new Map<string, number>();
    for (let at = 0; at + 1 < flat.length; at += 2) leases.set(flat[at] as string, Number(flat[at + 1]));
    return leases;
  }

  /** Redis's own time, in ms. */
  async now(): Promise<number> {
    const [seconds, micros] = (await this.#server.cli('TIME')).split('\n');
    return Number(seconds) * 1_000 + Number(micros) / 1_000;
  }

  /** Waits until Redis's clock has gone on by `ms`: what is to be shown is that nothing happens meanwhile. */
  async afterRedisTime(ms: number): Promise<void> {
    const end = (await this.now()) + ms;
    await waitFor(async () => (await this.now()) >= end, { timeout: ms + 5_000, interval: 50 });
  }
}

/** The length of a freeze is the fault itself: nothing could be waited for. */
function frozenFor(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function all(count: number): Outcomes {
  return { done: count };
}

function report(what: string, ms: number): void {
  console.log(`  ${what}: ${(ms / 1_000).toFixed(2)} s`);
}

/** All nodes have been watched for a lease, so that the death of one from now on is noticed at once. */
async function settledIn(): Promise<void> {
  await wire.afterRedisTime(LEASE + 700);
}

describe('a process that is killed', () => {
  test('its users are reported offline once, within the lease and 2 s', async () => {
    const [victim, ...others] = (await several(3)) as [NodeProcess, NodeProcess, NodeProcess];
    expect(await victim.register('victim-', 1_000)).toEqual(all(1_000));
    for (const [index, other] of others.entries()) {
      expect(await other.register(`other${index}-`, 100)).toEqual(all(100));
      // On two nodes: losing one of them is no change.
      expect(await other.register('victim-both-', 1)).toEqual(all(1));
    }
    await settledIn();
    const killed = performance.now();
    await victim.kill();
    const gone = await wire.untilOffline('victim-', 1_000, LEASE + 2_000 + SLACK);
    report('SIGKILL to the last of 1,000 offline events, lease 2 s', gone - killed);
    await Promise.all(
      others.map((other) => other.ask('call', { method: 'setPresence', args: ['fence', 's'] })),
    );
    await waitFor(async () => (await wire.leases()).size === 2, {
      message: 'the dead node to be struck off',
    });
    expect(wire.offline()).toHaveLength(1_000);
    expect(await wire.online()).toBe(200 + 1 + 1);
    const stats = await Promise.all(others.map((other) => other.stats()));
    expect(stats.reduce((sum, { reapedNodes }) => sum + reapedNodes, 0)).toBe(1);
    expect(stats.reduce((sum, { reapedSockets }) => sum + reapedSockets, 0)).toBe(1_000);
    for (const other of others) expect(await other.errors()).toEqual([]);
  });

  test('with another process of the same name alive: only the dead one is reaped', async () => {
    const twins = (await several(2, { nodeName: 'twin' })) as [NodeProcess, NodeProcess];
    const ids = (await Promise.all(twins.map((twin) => twin.stats()))).map(({ nodeId }) => nodeId);
    expect(new Set(ids).size).toBe(2);
    for (const id of ids) expect(id.startsWith('twin#')).toBe(true);
    expect(await twins[0].register('dies-', 50)).toEqual(all(50));
    expect(await twins[1].register('lives-', 50)).toEqual(all(50));
    await settledIn();
    const killed = performance.now();
    await twins[0].kill();
    report(
      'the same with a twin of the same name',
      (await wire.untilOffline('dies-', 50, LEASE + 2_000 + SLACK)) - killed,
    );
    await waitFor(async () => (await wire.leases()).size === 1);
    await wire.expectGone('dies-', 50);
    expect(wire.offline('lives-')).toEqual([]);
    expect(await wire.online('lives-')).toBe(50);
  });

  test('while it reaps another process: a third one finishes, and each user is reported offline once', async () => {
    const victim = await node();
    const reaper = await node({ sweepInterval: 20 });
    const successor = await node({ sweepInterval: 100 });
    expect(await victim.register('victim-', 5_000)).toEqual(all(5_000));
    await settledIn();
    // The successor looks away until the reaper is dead, so that it is clear who began.
    await victim.kill();
    successor.freeze();
    const killed = performance.now();
    await waitFor(() => wire.offline('victim-').length > 0, { timeout: LEASE + 2_000 + SLACK, interval: 1 });
    const half = reaper.kill();
    successor.thaw();
    await half;
    const done = wire.offline('victim-').length;
    const gone = await wire.untilOffline('victim-', 5_000, 2 * LEASE + 5_000);
    report(`5,000 sockets, the reaper killed after about ${done}`, gone - killed);
    expect(done).toBeLessThan(5_000);
    await waitFor(async () => (await wire.leases()).size === 0, {
      message: 'the dead node to be struck off',
    });
    await wire.expectGone('victim-', 5_000);
    const { reapedSockets, reapedNodes } = await successor.stats();
    expect(reapedNodes).toBeGreaterThanOrEqual(1);
    expect(reapedSockets).toBeGreaterThan(0);
    expect(reapedSockets).toBeLessThan(5_000);
  });

  test('together with all others but one: self-preservation delays the reports by at most one more lease', async () => {
    const started = await several(5);
    const survivor = started.pop() as NodeProcess;
    await Promise.all(started.map((each, index) => each.register(`victim${index}-`, 100)));
    expect(await survivor.register('survivor-', 10)).toEqual(all(10));
    await settledIn();
    const killed = performance.now();
    await Promise.all(started.map((each) => each.kill()));
    const gone = await wire.untilOffline('victim', 400, 2 * LEASE + 2_000 + SLACK);
    report('4 of 5 nodes killed, to the last of 400 offline events', gone - killed);
    await wire.expectGone('victim', 400);
    expect(await wire.online('survivor-')).toBe(10);
    await waitFor(async () => (await survivor.stats()).suspectNodes.length === 0);
  });

  test('together with all others: a process that starts later reports their users offline', async () => {
    const started = await several(3);
    await Promise.all(started.map((each, index) => each.register(`victim${index}-`, 50)));
    await Promise.all(started.map((each) => each.kill()));
    const killed = performance.now();
    const reader = await node();
    // Three at once seem too many at first, and it has seen none of them alive.
    const gone = await wire.untilOffline('victim', 150, 3 * LEASE + 2_000 + SLACK);
    report('everybody killed, a reader started: to the last of 150 offline events', gone - killed);
    await wire.expectGone('victim', 150);
    expect(await reader.ask('call', { method: 'getOnlineCount', args: [] })).toBe(0);
  });
});

describe('a process that is frozen for longer than its lease', () => {
  test('takes a new incarnation and registers its users again, without remains of the old one', async () => {
    const [sleeper, other] = (await several(2)) as [NodeProcess, NodeProcess];
    expect(await sleeper.register('sleeper-', 300)).toEqual(all(300));
    expect(await other.register('other-', 10)).toEqual(all(10));
    await settledIn();
    const before = (await sleeper.stats()).nodeId;
    sleeper.freeze();
    // Asked of it while it stands still: done when it goes on.
    const queued = [
      sleeper.register('sleeper-late-', 100),
      sleeper.ask('remove', { prefix: 'sleeper-', count: 20 }),
      sleeper.register('sleeper-', 10, 'busy'),
    ];
    const frozen = performance.now();
    const gone = await wire.untilOffline('sleeper-', 300, LEASE + 2_000 + SLACK);
    report('SIGSTOP to the last of 300 offline events', gone - frozen);
    const thawed = performance.now();
    sleeper.thaw();
    expect(await Promise.all(queued)).toEqual([all(100), all(20), all(10)]);
    // 300 less 20, of which 10 came back, and 100.
    await waitFor(async () => (await wire.online('sleeper-')) === 390, {
      timeout: LEASE + 5_000,
      message: '390 users to be online',
    });
    report('SIGCONT to all its 390 users online', performance.now() - thawed);
    const after = (await sleeper.stats()).nodeId;
    expect(after).not.toBe(before);
    await waitFor(async () => !(await wire.leases()).has(before), { message: 'the old incarnation to go' });
    for (let at = 0; at < 300; at++) {
      const expected = at >= 10 && at < 20 ? [] : [`${after}"socket-sleeper-${at}`];
      expect(await wire.fields(`sleeper-${at}`)).toEqual(expected);
    }
    expect(await server.cli('EXISTS', `${BASE}:node:${before}`)).toBe('0');
    expect(await server.cli('SCARD', `${BASE}:node:${after}`)).toBe('390');
    expect(wire.offline('other-')).toEqual([]);
    // Its view of other nodes was stale: no other node was reaped.
    await wire.afterRedisTime(1.5 * LEASE);
    expect(await wire.online()).toBe(400);
  });
});

describe('Redis', () => {
  test('frozen for longer than a lease: no user is reported offline', async () => {
    const started = await several(6, { timeout: 20_000 });
    await Promise.all(started.map((each, index) => each.register(`n${index}-`, 50)));
    await settledIn();
    server.freeze();
    await frozenFor(2 * LEASE);
    server.thaw();
    await wire.afterRedisTime(2.5 * LEASE);
    expect(wire.offline()).toEqual([]);
    expect(await wire.online()).toBe(300);
    const [now, leases] = [await wire.now(), await wire.leases()];
    expect(leases.size).toBe(6);
    for (const lease of leases.values()) expect(lease).toBeGreaterThan(now);
    for (const each of started) expect((await each.stats()).reapedNodes).toBe(0);
  });

  test('wiped under load: all users are restored within a renewal, and none is reported offline', async () => {
    const started = await several(3);
    for (const [index, each] of started.entries()) {
      expect(await each.register(`n${index}-`, 1_000)).toEqual(all(1_000));
    }
    // The third node makes no calls: only its renewals can notice the loss.
    await Promise.all(
      started.slice(0, 2).map((each, index) => each.ask('startLoad', { prefix: `n${index}-`, count: 1_000 })),
    );
    await settledIn();
    const wiped = performance.now();
    await server.cli('FLUSHALL');
    await waitFor(async () => (await wire.online()) === 3_000, {
      timeout: LEASE + SLACK,
      message: () => '3,000 users to be back',
    });
    report('FLUSHALL to all of 3,000 users back, renewals every 0.67 s', performance.now() - wiped);
    for (const each of started.slice(0, 2)) {
      expect(Object.keys(await each.ask<Outcomes>('stopLoad'))).toEqual(['done']);
    }
    await wire.afterRedisTime(1.5 * LEASE);
    expect(wire.offline()).toEqual([]);
    expect(await wire.online()).toBe(3_000);
    for (const each of started) expect(await each.errors()).toEqual([]);
  });

  test('restarted without data: all users are restored, and none is reported offline', async () => {
    const started = await several(3);
    for (const [index, each] of started.entries()) {
      expect(await each.register(`n${index}-`, 500)).toEqual(all(500));
    }
    await settledIn();
    await server.restart();
    const restarted = performance.now();
    await wire.subscribe();
    await waitFor(async () => (await wire.online()) === 1_500, {
      timeout: LEASE + 2_000 + SLACK,
      message: () => '1,500 users to be back',
    });
    report('a restart without persistence to all of 1,500 users back', performance.now() - restarted);
    await wire.afterRedisTime(1.5 * LEASE);
    expect(wire.offline()).toEqual([]);
    expect(await wire.online()).toBe(1_500);
  });
});
