import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type PresenceChange, PresenceService, type RoomChange } from '../../src/index.js';
import { period } from '../support/machine.js';
import { NodeProcess, type NodeProcessOptions } from '../support/node-process.js';
import { PresenceObserver } from '../support/presence-observer.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type FaultyProxy, startFaultyProxy } from '../support/tcp-proxy.js';
import { waitFor } from '../support/wait.js';

// Deploys, failovers, clocks that step, and crashes of large processes: real processes and real
// servers. Bounds are those the documentation promises, with a slack for a machine that has other
// things to do; what was measured is printed.

const LEASE = period(2_000);
const SLACK = 2_500;
const PREFIX = 'more-faults';
const BASE = `{${PREFIX}:0}`;
const HOUR = 3_600_000;

let server: RedisServer;
let wire: PresenceObserver;
let nodes: NodeProcess[];
/** What a test has started besides, to be ended in turn. */
let undo: (() => unknown)[];

beforeEach(async () => {
  nodes = [];
  undo = [];
  server = await startRedis();
  wire = await PresenceObserver.open(server.port, BASE);
});

afterEach(async () => {
  for (const each of undo.reverse()) await each();
  wire.close();
  await Promise.all(nodes.map((each) => each.kill()));
  await server.stop();
});

type Options = NodeProcessOptions['options'];

async function node(options: Options = {}, port = server.port): Promise<NodeProcess> {
  const client = nodes.length % 2 === 0 ? 'node-redis' : 'ioredis';
  const started = await NodeProcess.start({
    port,
    client,
    options: { prefix: PREFIX, lease: LEASE, ...options },
  });
  nodes.push(started);
  return started;
}

/** `count` nodes, started together. */
function several(count: number, options: Options = {}, port = server.port): Promise<NodeProcess[]> {
  return Promise.all(Array.from({ length: count }, () => node(options, port)));
}

/** A service in this process that looks on. */
function observer(port = server.port): PresenceService {
  const redis = new Redis(port, { host: '127.0.0.1', retryStrategy: () => 50 });
  redis.on('error', () => {});
  const service = new PresenceService({ redis, prefix: PREFIX, lease: LEASE });
  undo.push(async () => {
    await service.close();
    redis.disconnect();
  });
  return service;
}

function users(prefix: string, count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, at) => `${prefix}${from + at}`);
}

/** The users' clients are back, each on a new connection. */
async function connectTo(target: NodeProcess, some: readonly string[], socket: string): Promise<void> {
  await Promise.all(
    some.map((user) => target.ask('call', { method: 'setPresence', args: [user, `${socket}-${user}`] })),
  );
}

function disconnectFrom(target: NodeProcess, some: readonly string[], socket: string): Promise<unknown> {
  return Promise.all(
    some.map((user) => target.ask('call', { method: 'removeSocket', args: [user, `${socket}-${user}`] })),
  );
}

/** The length of a freeze is the fault itself: nothing could be waited for. */
function frozenFor(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function report(what: string, ms: number): void {
  console.log(`  ${what}: ${(ms / 1_000).toFixed(2)} s`);
}

/** All nodes have been watched for a lease, so that the death of one from now on is noticed at once. */
function settledIn(): Promise<void> {
  return wire.afterRedisTime(LEASE + 700);
}

const summaries = (changes: readonly PresenceChange[]) =>
  changes.map(({ userId, previous, status }) => `${userId}: ${previous} -> ${status}`).sort();

describe('a deploy', () => {
  test('process by process with close({ handoff: true }): no user who reconnects is reported offline', async () => {
    const old = await several(3);
    const everybody = old.map((_, index) => users(`n${index}-`, 100));
    for (const [index, each] of old.entries()) await each.register(`n${index}-`, 100);
    const onlooker = observer();
    const changes: PresenceChange[] = [];
    const received: PresenceChange[] = [];
    await onlooker.subscribe((change) => changes.push(change));
    const watch = await onlooker.watch(everybody.flat(), (change) => received.push(change));

    const homes = new Map<NodeProcess, string[]>();
    for (const [index, each] of old.entries()) homes.set(each, everybody[index] as string[]);
    for (const each of old) {
      // Started before the old one goes, as a deploy does.
      homes.set(await node(), []);
      const homeless = homes.get(each) as string[];
      homes.delete(each);
      const closing = performance.now();
      await each.ask('close', { handoff: true });
      expect(await wire.waitedFor()).toBe(homeless.length);
      await each.kill();
      // Wherever the balancer sends them: to a new process, or to one that is the next to go.
      const targets = [...homes.keys()];
      await Promise.all(
        targets.map((target, at) => {
          const share = homeless.filter((_, turn) => turn % targets.length === at);
          homes.get(target)?.push(...share);
          return connectTo(target, share, `on-${target.pid}`);
        }),
      );
      report(`close to the last of ${homeless.length} users back elsewhere`, performance.now() - closing);
    }
    // No grace is running any more, and all leases are those of the new processes: nothing can follow.
    expect(await wire.waitedFor()).toBe(0);
    expect((await wire.leases()).size).toBe(3);
    expect(await wire.online()).toBe(300);
    expect(summaries(changes)).toEqual([]);
    expect(summaries(received)).toEqual([]);
    expect(wire.of()).toHaveLength(300);
    for (const user of watch.current().values()) expect(user.status).toBe('online');
  });

  test('with close() without options: every user is reported offline at once, and once', async () => {
    const [closing, other] = (await several(2)) as [NodeProcess, NodeProcess];
    await closing.register('goes-', 200);
    await closing.register('both-', 10);
    await connectTo(other, users('both-', 10), 'other');
    const onlooker = observer();
    const received: PresenceChange[] = [];
    await onlooker.watch([...users('goes-', 200), ...users('both-', 10)], (change) => received.push(change));
    const start = performance.now();
    await closing.ask('close');
    const gone = await wire.untilOffline('goes-', 200, SLACK);
    report('close() to the last of 200 offline events', gone - start);
    await waitFor(() => received.length >= 200);
    expect(summaries(received)).toEqual(
      users('goes-', 200)
        .map((user) => `${user}: online -> offline`)
        .sort(),
    );
    expect(wire.offline()).toHaveLength(200);
    expect(await wire.online()).toBe(10);
    expect((await wire.leases()).size).toBe(1);
  });
});

describe('a grace period', () => {
  const GRACE = 4_000;

  test('outlives the process that started it, and ends in time, once', async () => {
    const [victim, survivor] = (await several(2, { grace: GRACE })) as [NodeProcess, NodeProcess];
    await victim.register('leaves-', 50);
    await victim.register('returns-', 50);
    await victim.register('crashes-', 50);
    await victim.register('rescued-', 50);
    await settledIn();
    const left = performance.now();
    await victim.ask('remove', { prefix: 'leaves-', count: 50 });
    await victim.ask('remove', { prefix: 'returns-', count: 50 });
    await victim.kill();
    const killed = performance.now();
    // Within the grace, and in the case of the last also before the crash is noticed.
    await connectTo(survivor, users('returns-', 50), 'again');
    await connectTo(survivor, users('rescued-', 50), 'again');
    expect(performance.now() - left).toBeLessThan(GRACE);
    const gone = await wire.untilOffline('leaves-', 50, GRACE + SLACK);
    const first = Math.min(
      ...wire
        .of('leaves-')
        .slice(50)
        .map(({ at }) => at),
    );
    report('grace of 4 s, its process killed: to the last of 50 offline events', gone - left);
    expect(first - left).toBeGreaterThanOrEqual(GRACE - 50);
    const crashed = await wire.untilOffline('crashes-', 50, LEASE + 2_000 + GRACE + SLACK);
    report('SIGKILL to the last of 50 offline events, lease 2 s and grace 4 s', crashed - killed);
    await waitFor(async () => (await wire.leases()).size === 1, {
      message: 'the dead node to be struck off',
    });
    expect(await wire.waitedFor()).toBe(0);
    for (const prefix of ['leaves-', 'crashes-']) {
      expect(wire.offline(prefix).sort()).toEqual(users(prefix, 50).sort());
    }
    // They came, and that was all there was to say.
    for (const prefix of ['returns-', 'rescued-']) expect(wire.of(prefix)).toHaveLength(50);
    expect(await wire.online()).toBe(100);
  });
});

describe('a replica promoted without the last writes', () => {
  let replica: RedisServer;
  let proxy: FaultyProxy;
  let after: PresenceObserver;

  beforeEach(async () => {
    replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(server.port)] });
    undo.push(() => replica.stop());
    proxy = await startFaultyProxy(server.port);
    undo.push(() => proxy.stop());
  });

  const offset = async (redis: RedisServer, field: string) =>
    new RegExp(`${field}:(\\d+)`).exec(await redis.cli('INFO', 'replication'))?.[1];

  /** What is written from here on is lost. */
  async function partReplica(): Promise<void> {
    await waitFor(async () => (await replica.cli('INFO', 'replication')).includes('master_link_status:up'), {
      timeout: 10_000,
    });
    const written = Number(await offset(server, 'master_repl_offset'));
    await waitFor(async () => Number(await offset(replica, 'slave_repl_offset')) >= written);
    await replica.cli('REPLICAOF', 'NO', 'ONE');
    after = await PresenceObserver.open(replica.port, BASE);
    undo.push(() => after.close());
  }

  async function untilTrue(truth: ReadonlyMap<string, string>): Promise<void> {
    let seen = new Map<string, string>();
    const wrong = () =>
      [...new Set([...truth.keys(), ...seen.keys()])]
        .filter((user) => truth.get(user) !== seen.get(user))
        .map((user) => `${user} is ${seen.get(user)}, not ${truth.get(user)}`);
    await waitFor(
      async () => {
        seen = await after.seen();
        return wrong().length === 0;
      },
      { timeout: LEASE + SLACK, message: () => `the truth; ${wrong().length} wrong: ${wrong().slice(0, 3)}` },
    ).catch(async (error: Error) => {
      const states = nodes.map(async (each) => [await each.stats(), await each.errors()]);
      const leases = [...(await after.leases())];
      throw new Error(`${error.message}; leases ${leases}; ${JSON.stringify(await Promise.all(states))}`);
    });
  }

  test('all records become right again: no user who stayed is reported offline, and watchers end with the right state', async () => {
    const [a, b, c] = (await several(3, {}, proxy.port)) as [NodeProcess, NodeProcess, NodeProcess];
    await Promise.all([a.register('a-', 200), b.register('b-', 200), c.register('c-', 200)]);
    const onlooker = observer(proxy.port);
    const everybody = [
      ...['a-', 'b-', 'c-'].flatMap((prefix) => users(prefix, 200)),
      ...users('new-', 50),
      ...users('late-', 50),
    ];
    const received: PresenceChange[] = [];
    const watch = await onlooker.watch(everybody, (change) => received.push(change));
    await settledIn();
    await partReplica();
    const truth = new Map<string, string>();
    for (const prefix of ['a-', 'b-', 'c-']) {
      for (const user of users(prefix, 200)) truth.set(user, `online socket-${user}`);
    }
    // The lost stretch: some leave, some come, some change, and a whole process is new.
    await a.ask('remove', { prefix: 'a-', count: 40 });
    for (const user of users('a-', 40)) truth.delete(user);
    await b.register('b-', 40, 'busy');
    for (const user of users('b-', 40)) truth.set(user, `busy socket-${user}`);
    await c.register('new-', 50);
    const late = await node({}, proxy.port);
    await late.register('late-', 50);
    for (const user of [...users('new-', 50), ...users('late-', 50)]) {
      truth.set(user, `online socket-${user}`);
    }
    await waitFor(() => received.length >= 40 + 40 + 50 + 50);
    const lost = received.length;

    const promoted = performance.now();
    proxy.switchTo(replica.port);
    await untilTrue(truth);
    report(
      'promotion to the truth, 4 nodes with 740 users, renewals every 0.67 s',
      performance.now() - promoted,
    );
    await after.afterRedisTime(2.5 * LEASE);
    await untilTrue(truth);
    expect(await after.usersWithEntries()).toEqual([...truth.keys()].sort());
    expect(await after.online()).toBe(truth.size);
    // Users who had left in the lost period leave again, and no others.
    expect(after.offline().sort()).toEqual(users('a-', 40).sort());
    expect((await after.leases()).size).toBe(4);
    for (const [user, { status }] of watch.current()) {
      expect(`${user} ${status}`).toBe(`${user} ${truth.get(user)?.split(' ')[0] ?? 'offline'}`);
    }
    // It had seen all of it before, and nothing of it changed.
    expect(summaries(received.slice(lost))).toEqual([]);
    for (const each of [a, b, c, late]) expect((await each.stats()).reapedNodes).toBe(0);
  });

  test('with all leases in it expired: no live process is treated as dead', async () => {
    // Two or three nodes: too few for self-preservation to forgive a mistake.
    const [a, b] = (await several(2, { sweepInterval: 50 }, proxy.port)) as [NodeProcess, NodeProcess];
    await Promise.all([a.register('a-', 100), b.register('b-', 100)]);
    await partReplica();
    await settledIn();
    proxy.switchTo(replica.port);
    await after.afterRedisTime(2 * LEASE);
    expect(after.offline()).toEqual([]);
    expect(await after.online()).toBe(200);
    for (const each of [a, b]) expect((await each.stats()).reapedNodes).toBe(0);
  });

  test('users whose move to another process was lost are registered on their new process', async () => {
    const [a, b] = (await several(2, { grace: 3_000 }, proxy.port)) as [NodeProcess, NodeProcess];
    await connectTo(a, users('moved-', 100), 'old');
    await b.register('b-', 10);
    await settledIn();
    await partReplica();
    await disconnectFrom(a, users('moved-', 100), 'old');
    await connectTo(b, users('moved-', 100), 'new');
    const promoted = performance.now();
    proxy.switchTo(replica.port);
    const truth = new Map(users('b-', 10).map((user) => [user, `online socket-${user}`]));
    for (const user of users('moved-', 100)) truth.set(user, `online new-${user}`);
    await untilTrue(truth);
    report('promotion to the truth about 100 who had moved', performance.now() - promoted);
    await after.afterRedisTime(3_000 + LEASE);
    await untilTrue(truth);
    expect(after.offline()).toEqual([]);
    expect(await after.waitedFor()).toBe(0);
  });

  test('a socket whose removal by another process was lost stays removed', async () => {
    const [owner, other] = (await several(2, {}, proxy.port)) as [NodeProcess, NodeProcess];
    await connectTo(owner, users('kicked-', 20), 'socket');
    await owner.register('stays-', 10);
    await settledIn();
    await partReplica();
    await disconnectFrom(other, users('kicked-', 20), 'socket');
    await waitFor(async () => (await owner.stats()).sockets === 10, { message: 'the owner to remove them' });
    proxy.switchTo(replica.port);
    const truth = new Map(users('stays-', 10).map((user) => [user, `online socket-${user}`]));
    await untilTrue(truth);
    expect(await after.usersWithEntries()).toEqual([...truth.keys()].sort());
  });

  test('watchers are corrected about changes that only the old master had', async () => {
    const [lives, dies] = (await several(2, {}, proxy.port)) as [NodeProcess, NodeProcess];
    await lives.register('lives-', 10);
    await dies.register('lost-', 20);
    await dies.ask('remove', { prefix: 'lost-', count: 20 });
    const onlooker = observer(proxy.port);
    const received: PresenceChange[] = [];
    const everybody = [...users('lives-', 10), ...users('lost-', 20)];
    const watch = await onlooker.watch(everybody, (change) => received.push(change));
    await settledIn();
    await partReplica();
    // Users connect to a process that dies together with the master, and one sets a status.
    await dies.register('lost-', 20);
    await lives.ask('call', { method: 'setStatus', args: ['lives-0', 'busy'] });
    await waitFor(() => received.length === 21);
    await dies.kill();
    const promoted = performance.now();
    proxy.switchTo(replica.port);
    await waitFor(() => received.length >= 42, {
      timeout: 2 * LEASE + SLACK,
      message: () => `21 changes back; ${received.length - 21} came`,
    });
    report('promotion to the watchers having 21 changes reverted', performance.now() - promoted);
    expect(summaries(received.slice(21))).toEqual(
      ['lives-0: busy -> online', ...users('lost-', 20).map((user) => `${user}: online -> offline`)].sort(),
    );
    for (const [user, { status }] of watch.current()) {
      expect(`${user} ${status}`).toBe(`${user} ${user.startsWith('lost-') ? 'offline' : 'online'}`);
    }
    // And learn on from there.
    await lives.register('lost-', 20);
    await waitFor(() => received.length >= 62);
  });
});

describe('a wall clock that steps', () => {
  test('by hours, in either direction: no user is reported offline or stays online wrongly, and versions grow', async () => {
    const [stepping, steady] = (await several(2)) as [NodeProcess, NodeProcess];
    await stepping.register('step-', 100);
    await steady.register('steady-', 100);
    await settledIn();
    let version = 0;
    const versions = new Map<string, number>();
    const look = async () => {
      version++;
      for (const { user, version: now } of wire.changes.splice(0)) {
        expect(now).toBeGreaterThan(versions.get(user) ?? 0);
        versions.set(user, now);
      }
    };
    const nodeId = (await stepping.stats()).nodeId;
    let offline = 0;
    for (const ms of [HOUR, -HOUR, 24 * HOUR, 0, -24 * HOUR]) {
      await stepping.ask('shiftClock', { ms });
      // The same sockets in another status, a user who comes, one who goes.
      await stepping.register('step-', 100, version % 2 === 0 ? 'busy' : 'online');
      await stepping.register(`comes${version}-`, 20);
      await stepping.ask('remove', { prefix: `comes${version}-`, count: 10 });
      // One and the same socket, resumed on the other and back.
      await connectTo(stepping, ['resumed'], 'socket');
      await connectTo(steady, ['resumed'], 'socket');
      await disconnectFrom(version % 2 === 0 ? stepping : steady, ['resumed'], 'socket');
      await wire.afterRedisTime(1.5 * LEASE);
      offline += 10;
      expect(wire.offline()).toEqual([...users(`comes${version}-`, 10)]);
      await look();
    }
    expect(version).toBe(5);
    expect(offline).toBe(50);
    expect(await wire.online()).toBe(100 + 100 + 5 * 10 + 1);
    expect(await wire.usersWithEntries()).toHaveLength(100 + 100 + 5 * 10 + 1);
    const stats = await Promise.all([stepping.stats(), steady.stats()]);
    expect(stats[0].nodeId).toBe(nodeId);
    for (const { reapedNodes, restored, suspectNodes } of stats) {
      expect({ reapedNodes, restored, suspectNodes }).toEqual({
        reapedNodes: 0,
        restored: 0,
        suspectNodes: [],
      });
    }
    // Its death is noticed as anybody else's.
    const killed = performance.now();
    await stepping.kill();
    const gone = await wire.untilOffline('step-', 100, LEASE + 2_000 + SLACK);
    report('SIGKILL of a process a day behind, to the last of its offline events', gone - killed);
    await waitFor(async () => (await wire.leases()).size === 1);
    await look();
    expect(
      (await wire.usersWithEntries()).filter((user) => !user.startsWith('steady-') && user !== 'resumed'),
    ).toEqual([]);
  });
});

describe('a process of 50,000 sockets that is killed', () => {
  const COUNT = 50_000;

  test('is reaped completely, in few messages, without blocking Redis', async () => {
    const [victim, survivor] = (await several(2)) as [NodeProcess, NodeProcess];
    for (let part = 0; part < 50; part++) {
      expect(await victim.register(`big${part}-`, COUNT / 50)).toEqual({ done: COUNT / 50 });
    }
    await survivor.register('other-', 10);
    await settledIn();
    expect(await wire.online()).toBe(COUNT + 10);
    await wire.run('CONFIG', 'SET', 'slowlog-log-slower-than', '5000');
    await wire.run('CONFIG', 'SET', 'slowlog-max-len', '1024');
    await wire.run('CONFIG', 'SET', 'latency-monitor-threshold', '5');
    await wire.run('CONFIG', 'RESETSTAT');
    await wire.run('SLOWLOG', 'RESET');
    const [changes, messages] = [wire.changes.length, wire.messages];
    const killed = performance.now();
    await victim.kill();
    await waitFor(() => wire.changes.length > changes, { timeout: LEASE + 2_000 + SLACK });
    const begun = performance.now();
    await waitFor(() => wire.changes.length >= changes + COUNT, { timeout: 40_000, interval: 20 });
    report('50,000 sockets: SIGKILL to the first offline event', begun - killed);
    report('50,000 sockets: from the first to the last', performance.now() - begun);
    await waitFor(async () => (await wire.leases()).size === 1, {
      message: 'the dead node to be struck off',
    });
    const sent = wire.messages - messages;
    const slow = (await wire.run('SLOWLOG', 'GET', '1024')) as [number, number, number, string[]][];
    const times = slow.map(([, , micros]) => micros / 1_000).sort((one, two) => two - one);
    console.log(
      `  ${sent} messages; ${times.length} commands over 5 ms, slowest ${times.slice(0, 5).join(', ')} ms`,
    );
    console.log(`  latency: ${JSON.stringify(await wire.run('LATENCY', 'LATEST'))}`);
    const stats = String(await wire.run('INFO', 'commandstats'));
    for (const line of stats.split('\r\n')) {
      if (/^cmdstat_(exec|evalsha|sscan|srandmember|smembers)/.test(line)) console.log(`  ${line}`);
    }
    const gone = wire.offline('big');
    expect(gone).toHaveLength(COUNT);
    expect(new Set(gone).size).toBe(COUNT);
    expect(await wire.online()).toBe(10);
    expect(await wire.usersWithEntries()).toEqual(users('other-', 10));
    expect(Number(await wire.run('EXISTS', `${BASE}:node:${String((await survivor.stats()).nodeId)}`))).toBe(
      1,
    );
    expect((await survivor.stats()).reapedSockets).toBe(COUNT);
    expect(sent).toBeLessThan(COUNT / 50);
    // In small transactions, 256 users each at most: the times above contain those in which the server waited for a processor.
    const [, transactions] = /^cmdstat_exec:calls=(\d+)/m.exec(stats) ?? [];
    expect(Number(transactions)).toBeGreaterThanOrEqual(COUNT / 256);
    expect(await survivor.errors()).toEqual([]);
  });
});

describe("a watcher's connection", () => {
  test('cut for longer than a lease while users connect and leave: the watcher gets the differences and ends with the right state', async () => {
    const proxy = await startFaultyProxy(server.port);
    undo.push(() => proxy.stop());
    const [owner, dies] = (await several(2)) as [NodeProcess, NodeProcess];
    await owner.register('stays-', 50);
    await owner.register('goes-', 50);
    await owner.register('blinks-', 50);
    await owner.register('turns-', 50);
    await dies.register('dies-', 50);
    await settledIn();
    const onlooker = observer(proxy.port);
    const received: PresenceChange[] = [];
    const everybody = ['stays-', 'goes-', 'blinks-', 'turns-', 'dies-', 'comes-', 'visits-'].flatMap(
      (prefix) => users(prefix, 50),
    );
    const watch = await onlooker.watch(everybody, (change) => received.push(change));
    expect(watch.current().size).toBe(250);

    proxy.cut();
    await owner.ask('remove', { prefix: 'goes-', count: 50 });
    await owner.ask('remove', { prefix: 'blinks-', count: 50 });
    await owner.register('blinks-', 50);
    await owner.register('turns-', 50, 'away');
    await owner.register('comes-', 50);
    await owner.register('visits-', 50);
    await owner.ask('remove', { prefix: 'visits-', count: 50 });
    await dies.kill();
    await wire.untilOffline('dies-', 50, LEASE + 2_000 + SLACK);
    await frozenFor(1_000);
    expect(received).toEqual([]);
    const restored = performance.now();
    proxy.restore();
    await waitFor(() => received.length >= 200, {
      timeout: SLACK + 2_000,
      message: () => `200 changes; ${received.length} came`,
    });
    report(
      'a watch cut for some seconds: from the connection to 200 differences reported',
      performance.now() - restored,
    );
    // And goes on from there.
    await owner.register('stays-', 1, 'busy');
    await waitFor(() => received.length >= 201);
    expect(summaries(received)).toEqual(
      [
        ...users('goes-', 50).map((user) => `${user}: online -> offline`),
        ...users('dies-', 50).map((user) => `${user}: online -> offline`),
        ...users('turns-', 50).map((user) => `${user}: online -> away`),
        ...users('comes-', 50).map((user) => `${user}: offline -> online`),
        'stays-0: online -> busy',
      ].sort(),
    );
    const seen = await wire.seen();
    for (const user of everybody) {
      expect(watch.current().get(user)?.status ?? 'offline').toBe(seen.get(user)?.split(' ')[0] ?? 'offline');
    }
    // It was cut off itself, and took no other node for dead.
    expect((await onlooker.stats()).reapedNodes).toBe(0);
    expect(await wire.online()).toBe(200);
  });
});

describe('rooms of a process that is killed', () => {
  test('are left by its users, once each; users with a socket on another process stay', async () => {
    const [victim, survivor] = (await several(2)) as [NodeProcess, NodeProcess];
    const join = (target: NodeProcess, room: string, some: readonly string[], socket: string) =>
      Promise.all(
        some.map((user) => target.ask('call', { method: 'join', args: [room, user, `${socket}-${user}`] })),
      );
    await connectTo(victim, users('gone-', 300), 'victim');
    await connectTo(victim, users('both-', 20), 'victim');
    await connectTo(survivor, users('both-', 20), 'survivor');
    await connectTo(survivor, users('stays-', 20), 'survivor');
    await join(survivor, 'lobby', users('both-', 20), 'survivor');
    await join(survivor, 'lobby', users('stays-', 20), 'survivor');
    await join(victim, 'lobby', users('gone-', 300), 'victim');
    await join(victim, 'lobby', users('both-', 20), 'victim');
    await join(victim, 'kitchen', users('gone-', 100), 'victim');
    const onlooker = observer();
    const events: RoomChange[] = [];
    const lobby = await onlooker.watchRoom('lobby', (event) => events.push(event));
    const kitchen = await onlooker.watchRoom('kitchen', (event) => events.push(event));
    expect(lobby.current().size).toBe(340);
    expect(kitchen.current().size).toBe(100);
    await settledIn();

    const killed = performance.now();
    await victim.kill();
    await waitFor(() => events.length >= 300 + 100 + 20, {
      timeout: LEASE + 2_000 + SLACK,
      message: () => `420 changes of rooms; ${events.length} came`,
    });
    report('SIGKILL to the last of 400 leaves', performance.now() - killed);
    await waitFor(async () => (await wire.leases()).size === 1, {
      message: 'the dead node to be struck off',
    });
    await onlooker.getRoomMembers('lobby');
    const list = events
      .map(({ type, room, userId, sockets }) => `${type} ${room} ${userId} ${sockets}`)
      .sort();
    expect(list).toEqual(
      [
        ...users('gone-', 300).map((user) => `leave lobby ${user} 0`),
        ...users('gone-', 100).map((user) => `leave kitchen ${user} 0`),
        ...users('both-', 20).map((user) => `update lobby ${user} 1`),
      ].sort(),
    );
    expect(await onlooker.getRoomCounts(['lobby', 'kitchen'])).toEqual(
      new Map([
        ['lobby', 40],
        ['kitchen', 0],
      ]),
    );
    expect(wire.offline().sort()).toEqual(users('gone-', 300).sort());
  });
});
