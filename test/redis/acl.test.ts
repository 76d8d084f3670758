import type { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { Cluster as IoredisCluster, Redis } from 'ioredis';
import { createClient, createCluster, createSentinel } from 'redis';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { historyKeys } from '../../src/history/keys.js';
import {
  CommandError,
  createRollcall,
  NotificationService,
  PresenceService,
  PubSubService,
  type RedisClient,
  type Rollcall,
} from '../../src/index.js';
import { createChaosDriver } from '../../src/testing/index.js';
import { period, timeLimit } from '../support/machine.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// The ACL rules of docs/topologies.md, word for word: everything works under them, nothing that is not
// allowed is tried, and nothing is allowed that is not needed.

const host = '127.0.0.1';
const login = { username: 'app', password: 'password' };

/** One `ACL SETUSER`, as its words. */
type Rule = readonly string[];

const page = readFileSync(new URL('../../docs/topologies.md', import.meta.url), 'utf8');
const [
  single = [],
  onCluster = [],
  ofIoredisCluster = [],
  ofNodeRedisSentinel = [],
  ofNotifications = [],
  ofHttpFallback = [],
  ofSocketIo = [],
] = [...page.matchAll(/```redis\n(ACL [\s\S]*?)\n```/g)].map(([, text = '']): Rule[] =>
  text.split('\n').map((line) => line.split(' ')),
);

const optional = commandsOf(single.slice(-1));

/** The commands that rules allow, as Redis counts them. */
function commandsOf(rules: readonly Rule[]): string[] {
  return rules.flat().flatMap((word) => (word.startsWith('+') ? [word.slice(1)] : []));
}

type Run = (...command: string[]) => Promise<string>;

async function allow(run: Run, rules: readonly Rule[]): Promise<void> {
  for (const rule of rules) await run(...rule);
  // As the page says: servers from 7.2 on log the name that clients send, and 7.0 does not know it.
  await run('ACL', 'SETUSER', 'app', '+client|setinfo').catch(() => {});
}

/** What was refused, as "reason object", one of each. */
async function refused(run: Run): Promise<string[]> {
  const lines = (await run('ACL', 'LOG', '128')).split('\n');
  const fields = (name: string) => lines.flatMap((line, at) => (line === name ? [lines[at + 1]] : []));
  const objects = fields('object');
  return [...new Set(fields('reason').map((reason, at) => `${reason} ${objects[at]}`))];
}

/** How often each command ran. */
async function callsOf(run: Run): Promise<Map<string, number>> {
  const calls = new Map<string, number>();
  for (const [, name = '', count] of (await run('INFO', 'commandstats')).matchAll(
    /^cmdstat_(\S+?):calls=(\d+)/gm,
  )) {
    calls.set(name, Number(count));
  }
  return calls;
}

type Maker = (port: number) => { client: RedisClient; end: () => void };

const makers: Readonly<Record<string, Maker>> = {
  'node-redis 6': (port) => {
    const client = createClient({ ...login, socket: { host, port, reconnectStrategy: 50 } });
    return { client, end: () => (client.isOpen ? client.destroy() : undefined) };
  },
  'ioredis 5': (port) => {
    const client = new Redis({ ...login, host, port, retryStrategy: () => 50 });
    return { client, end: () => client.disconnect() };
  },
};

function made(make: Maker, port: number): { client: RedisClient; end: () => void } {
  const one = make(port);
  // After rollcall has let go of a client, its errors are its owner's business again.
  (one.client as unknown as EventEmitter).on('error', () => {});
  return one;
}

/** What a flow works with: services as in two processes of an application, and a third that dies. */
interface AclFixture {
  readonly one: Rollcall;
  readonly two: Rollcall;
  /** A presence service, and how to cut it off from Redis. */
  readonly crashing: { presence: PresenceService; cut: () => void };
  /** A command of the tests themselves. */
  readonly run: Run;
}

const KEPT = { history: { size: 10, ttl: 60_000 } };

/** One flow per set of commands. Together they use every command of the rules. */
const flows: Readonly<Record<string, (stage: AclFixture) => Promise<void>>> = {
  'pub/sub, classic, sharded and by pattern, with probes': async ({ one, two, run }) => {
    const got: unknown[] = [];
    const handler = (message: unknown) => void got.push(message);
    const subscriptions = [
      await two.pubsub.subscribe('news:plain', handler),
      await two.pubsub.subscribe('news:{plain}', handler, { sharded: true }),
      await two.pubsub.psubscribe('news:*', handler),
    ];
    await one.pubsub.publish('news:plain', 1);
    await two.pubsub.publish('news:{plain}', 2, { sharded: true });
    await waitFor(() => got.length === 3, { message: () => `three messages; so far ${got}` });
    for (const list of ['CHANNELS', 'SHARDCHANNELS']) {
      await waitFor(async () => (await run('PUBSUB', list, 'rollcall:probe:*')) !== '', {
        message: 'a probe',
      });
    }
    await Promise.all(subscriptions.map(({ unsubscribe }) => unsubscribe()));
  },
  'histories: written once, trimmed, read forwards and backwards, recovered': async ({ one, two, run }) => {
    const got: unknown[] = [];
    const once = { ...KEPT, idempotencyKey: 'once' };
    const { position } = await one.pubsub.publish('news:kept', 0, once);
    expect(await one.pubsub.publish('news:kept', 0, once)).toMatchObject({ position });
    const channels = Array.from({ length: 25 }, (_, at) => one.pubsub.publish('news:kept', at + 1, KEPT));
    await Promise.all(channels);
    await two.pubsub.subscribe('news:kept', (message) => void got.push(message), { since: 'earliest' });
    await waitFor(() => got.includes(25), { message: () => `the last message; so far ${got}` });
    const { messages } = await two.pubsub.history('news:kept');
    expect(messages).toHaveLength(10);
    const since = messages[0]?.position as string;
    const { unrecovered } = await two.pubsub.recover({ channels: { 'news:kept': since } });
    expect(unrecovered).toEqual([]);
    // As rooms.removeMessages does.
    expect(await one.pubsub.replaceInHistory('news:kept', [since], 'null')).toBe(1);
    // The last position is read from the newest message when its key was evicted.
    await run('DEL', historyKeys('news:kept').lastPosition);
    await one.pubsub.publish('news:kept', 26, KEPT);
    await waitFor(() => got.includes(26), { message: () => `the message after the eviction; so far ${got}` });
  },
  'presence of users, rooms, statuses, watches and a lookup cache': async ({ one, two, run }) => {
    const seen: string[] = [];
    await two.presence.subscribe(({ userId, status }) => void seen.push(`${userId} ${status}`));
    await two.presence.watch(['ann'], ({ status }) => void seen.push(`watched ${status}`));
    await two.presence.watchRoom('lobby', ({ type }) => void seen.push(`room ${type}`));
    await one.presence.setPresence('ann', 's1');
    await one.presence.setPresence('ann', 's2');
    await one.presence.join('lobby', 'ann', 's1', null, { grace: 60_000 });
    await one.presence.setStatus('ann', 'busy');
    await one.presence.setStatus('ann', null);
    await one.presence.touch('ann', 's1');
    expect((await two.presence.getPresence('ann'))?.socketIds.sort()).toEqual(['s1', 's2']);
    expect((await two.presence.getMultiplePresence(['ann', 'bob'])).size).toBe(1);
    const many = ['ann', ...Array.from({ length: 10 }, (_, at) => `nobody-${at}`)];
    for (let round = 0; round < 2; round++)
      expect((await two.presence.getMultiplePresence(many)).size).toBe(1);
    expect(await two.presence.getOnlineCount()).toBe(1);
    expect((await two.presence.getRoomMembers('lobby')).length).toBe(1);
    expect(await two.presence.getRoomCounts(['lobby'])).toEqual(new Map([['lobby', expect.anything()]]));
    for await (const member of two.presence.listRoomMembers('lobby')) expect(member.userId).toBe('ann');
    for await (const user of two.presence.listOnlineUsers()) expect(user).toBe('ann');
    // A renewal of the lease checks that the entries are still there.
    await waitFor(async () => (await callsOf(run)).has('hexists'), { message: 'a renewal' });
    // A socket of another process: its owner is notified.
    await two.presence.removeSocket('ann', 's2');
    await one.presence.removeSocket('ann', 's1');
    // Ends the grace.
    await one.presence.disconnectUser('ann');
    await one.presence.forget('ann');
    await waitFor(() => seen.includes('ann offline') && seen.includes('room leave'), {
      message: () => `offline; so far ${seen}`,
    });
  },
  'presence of a dead process, and after a loss of all data': async ({ one, two, crashing, run }) => {
    await crashing.presence.setPresence('zoe', 's1');
    await crashing.presence.join('lobby', 'zoe', 's1');
    crashing.cut();
    const status = async (user: string) => (await two.presence.getPresence(user))?.status;
    await waitFor(async () => (await status('zoe')) === 'offline', {
      timeout: 10_000,
      message: 'zoe offline',
    });
    await one.presence.setPresence('ann', 's1');
    await run('FLUSHALL');
    await waitFor(async () => (await status('ann')) === 'online', {
      timeout: 10_000,
      message: 'ann is back',
    });
  },
};

describe.each(Object.entries(makers))('under the rules, with %s', (_name, make) => {
  let server: RedisServer;
  let stage: AclFixture;
  let errors: string[] = [];
  const ends: (() => unknown)[] = [];
  const run: Run = (...command) => server.cli(...command);

  beforeAll(async () => {
    server = await startRedis();
    await allow(run, single);
    await run('CONFIG', 'RESETSTAT');
    const presence = { lease: period(900), sweepInterval: 50 };
    const onError = (error: Error, { stage }: { stage: string }) =>
      void errors.push(`${stage}: ${error.message}`);
    const open = () => {
      const { client, end } = made(make, server.port);
      const rollcall = createRollcall({
        redis: client,
        onError,
        presence: { ...presence, lookupCache: {} },
        pubsub: { probeInterval: 100 },
      });
      ends.push(async () => {
        await rollcall.close();
        end();
      });
      return rollcall;
    };
    const { client, end } = made(make, server.port);
    const chaos = createChaosDriver(client);
    const options = { ...presence, timeout: timeLimit(600), onError: () => {} };
    const crashing = new PresenceService({ redis: chaos, ...options });
    ends.push(async () => {
      await crashing.close();
      end();
    });
    stage = { one: open(), two: open(), crashing: { presence: crashing, cut: () => chaos.cut() }, run };
  });
  afterAll(async () => {
    for (const end of ends) await end();
    await server.stop();
  });

  test.each(Object.entries(flows))('%s: nothing is refused', async (_title, flow) => {
    await run('ACL', 'LOG', 'RESET');
    errors = [];
    await flow(stage);
    expect(await refused(run)).toEqual([]);
    expect(errors).toEqual([]);
  });

  test('the flows together use every command of the rules', async () => {
    // The message is stored before it is published, so a channel that is not allowed needs a removal.
    await expect(stage.one.pubsub.publish('mail:1', 1, KEPT)).rejects.toThrow(CommandError);
    const calls = await callsOf(run);
    expect(commandsOf(single).filter((name) => !calls.has(name))).toEqual([]);
  });
});

let visits = 0;

/** A little of everything, under rollcall's own prefix and on channels that begin with `news:`. */
async function visit(
  make: () => { client: RedisClient; end: () => unknown },
  runs: readonly Run[],
): Promise<void> {
  const errors: string[] = [];
  const classic = `news:${++visits}`;
  const sharded = `news:{${visits}}`;
  const opened = Array.from({ length: 2 }, () => {
    const { client, end } = make();
    (client as unknown as EventEmitter).on('error', () => {});
    const service = createRollcall({
      redis: client,
      onError: (error, { stage }) => errors.push(`${stage}: ${error.message}`),
      pubsub: { probeInterval: 100 },
    });
    return { ...service, end };
  });
  const [one, two] = opened as [(typeof opened)[0], (typeof opened)[0]];
  try {
    const received: unknown[] = [];
    const got = (message: unknown) => void received.push(message);
    await Promise.all([
      two.pubsub.subscribe(classic, got, { since: 'latest' }),
      two.pubsub.subscribe(sharded, got, { sharded: true, since: 'latest' }),
      two.pubsub.psubscribe('news:*', got),
      two.presence.subscribe(({ userId, status }) => got(`${userId} ${status}`)),
      two.presence.watchRoom('lobby', ({ type }) => got(type)),
    ]);
    const history = { size: 10, ttl: 60_000 };
    await one.pubsub.publish(classic, 'classic', { history, idempotencyKey: 'a' });
    await one.pubsub.publish(sharded, 'sharded', { sharded: true, history });
    await one.presence.setPresence('ann', 's1');
    await one.presence.setPresence('ann', 's2');
    await one.presence.join('lobby', 'ann', 's1');
    expect(await two.presence.getOnlineCount()).toBe(1);
    expect((await two.presence.getMultiplePresence(['ann', 'bob'])).size).toBe(1);
    expect((await two.presence.getRoomMembers('lobby')).length).toBe(1);
    const listed: string[] = [];
    for await (const user of two.presence.listOnlineUsers()) listed.push(user);
    expect(listed).toEqual(['ann']);
    await two.presence.removeSocket('ann', 's2');
    expect((await one.pubsub.history(classic)).messages).toHaveLength(1);
    for (const list of ['CHANNELS', 'SHARDCHANNELS']) {
      const names = () => Promise.all(runs.map((run) => run('PUBSUB', list, 'rollcall:probe:*')));
      await waitFor(async () => (await names()).some((found) => found !== ''), { message: 'a probe' });
    }
    await one.presence.removeSocket('ann', 's1');
    const all = ['classic', 'classic', 'sharded', 'ann online', 'join', 'leave', 'ann offline'];
    await waitFor(() => received.length >= all.length, {
      message: () => `all of it; so far ${received.join(', ')}`,
    });
    expect(received.map(String).sort()).toEqual(all.sort());
  } finally {
    await Promise.all(opened.map((service) => service.close()));
    for (const { end } of opened) await end();
  }
  expect(errors).toEqual([]);
}

interface AclServer {
  readonly ports: readonly number[];
  cli(port: number, ...args: string[]): Promise<string>;
}

/** PING is for nodes that are in doubt. ioredis sends READONLY when a replica has answered, which may be too late here. */
const SOMETIMES = ['ping', 'readonly'];

/** Visits under the rule and `more`; what was refused meanwhile, on any server, or not needed of `more`. */
async function visited(
  aclServer: AclServer,
  more: readonly Rule[],
  make: () => { client: RedisClient; end: () => unknown },
): Promise<string[]> {
  const runs = aclServer.ports.map(
    (port): Run =>
      (...command) =>
        aclServer.cli(port, ...command),
  );
  for (const run of runs) {
    await allow(run, [...single, ...more]);
    await run('ACL', 'LOG', 'RESET');
    await run('CONFIG', 'RESETSTAT');
  }
  await visit(make, runs);
  const called = new Set((await Promise.all(runs.map(callsOf))).flatMap((calls) => [...calls.keys()]));
  const unused = commandsOf(more).filter((name) => !SOMETIMES.includes(name) && !called.has(name));
  return [...(await Promise.all(runs.map(refused))).flat(), ...unused.map((name) => `unused ${name}`)];
}

describe('the documented rule', () => {
  let server: RedisServer;
  const run: Run = (...command) => server.cli(...command);
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  test.each(Object.entries(makers))('lets %s work, presence and probes included', async (_name, make) => {
    await allow(run, single);
    await run('ACL', 'LOG', 'RESET');
    await visit(() => make(server.port), [run]);
    expect(await refused(run)).toEqual([]);
  });

  test.each(Object.entries(makers))('without what is optional, %s works too', async (_name, make) => {
    await allow(run, single);
    await allow(run, [['ACL', 'SETUSER', 'app', ...optional.map((command) => `-${command}`)]]);
    // ioredis complains on the console that it may not ask INFO.
    const warnings = vi.spyOn(console, 'warn').mockImplementation(() => {});
    await run('ACL', 'LOG', 'RESET');
    await visit(() => make(server.port), [run]);
    warnings.mockRestore();
    expect((await refused(run)).sort()).toEqual(optional.map((command) => `command ${command}`).sort());
  });

  test('its first four lines are enough for pub/sub without history', async () => {
    await allow(run, single.slice(0, 4));
    await run('ACL', 'LOG', 'RESET');
    const { client, end } = made(makers['node-redis 6'] as Maker, server.port);
    const pubsub = new PubSubService({ redis: client });
    try {
      const received: unknown[] = [];
      const got = (message: unknown) => void received.push(message);
      await pubsub.subscribe('news:1', got);
      await pubsub.subscribe('news:1', got, { sharded: true });
      const { unsubscribe } = await pubsub.psubscribe('news:*', got);
      await Promise.all([pubsub.publish('news:1', 1), pubsub.publish('news:1', 2, { sharded: true })]);
      await waitFor(() => received.length === 3, { message: () => `three messages; so far ${received}` });
      await unsubscribe();
    } finally {
      await pubsub.close();
      end();
    }
    // The role of the server is asked for, and not again once that was refused.
    expect(await refused(run)).toEqual(['command info']);
  });

  test.each(Object.entries(makers))(
    '%s: notifications, the HTTP fallback and Socket.IO need their lines',
    async (_name, make) => {
      await allow(run, single);
      await run('ACL', 'SETUSER', 'app', '&room:*', '&user:*');
      await run('ACL', 'LOG', 'RESET');
      const { client, end } = made(make, server.port);
      const { pubsub, rooms, close } = createRollcall({ redis: client, rooms: KEPT });
      const notifications = new NotificationService({ rooms });
      const use = async () => {
        await notifications.notify('ann', 'hello');
        // What createHttpHandler and trackPresence subscribe to.
        for (const name of ['rollcall:http:node', 'rollcall:socket.io:revoked']) {
          const subscription = await pubsub.subscribe(name, () => {});
          await subscription.unsubscribe();
        }
      };
      try {
        // Servers from 8.0 on word it differently within scripts.
        await expect(use()).rejects.toThrow(/publish to the channel|access a channel/);
        await allow(run, ofNotifications);
        await expect(use()).rejects.toThrow('NOPERM');
        await allow(run, ofHttpFallback);
        await expect(use()).rejects.toThrow('NOPERM');
        await allow(run, ofSocketIo);
        await use();
        expect((await notifications.list('ann')).notifications.length).toBeGreaterThan(0);
      } finally {
        await close();
        end();
      }
      expect((await refused(run)).sort()).toEqual([
        'channel notifications:ann',
        'channel rollcall:http:node',
        'channel rollcall:socket.io:revoked',
      ]);
    },
  );

  test.each(Object.entries(makers))('keeps %s from other channels', async (_name, make) => {
    await allow(run, single);
    await run('ACL', 'LOG', 'RESET');
    const { client, end } = made(make, server.port);
    const pubsub = new PubSubService({ redis: client });
    try {
      const attempts = [
        () => pubsub.subscribe('mail:1', () => {}),
        () => pubsub.subscribe('mail:{1}', () => {}, { sharded: true }),
        // Patterns are compared as texts: narrower ones are others.
        () => pubsub.psubscribe('news:a*', () => {}),
        () => pubsub.publish('mail:1', 1),
        () => pubsub.publish('mail:{1}', 1, { sharded: true }),
      ];
      for (const attempt of attempts) {
        await expect(attempt()).rejects.toThrow(CommandError);
        await expect(attempt()).rejects.toThrow('NOPERM');
      }
      expect(await pubsub.publish('news:1', 1)).toEqual({ receivers: 0 });
    } finally {
      await pubsub.close();
      end();
    }
    expect((await refused(run)).sort()).toEqual(['channel mail:1', 'channel mail:{1}', 'channel news:a*']);
  });
});

describe('on a cluster', () => {
  const cluster = startLater(() => startRedisCluster({ replicas: 1 }));

  const clients: Readonly<Record<string, () => { client: RedisClient; end: () => unknown }>> = {
    'node-redis 6': () => {
      const rootNodes = cluster().ports.map((port) => ({ socket: { host, port } }));
      const client = createCluster({ rootNodes, defaults: login });
      return { client, end: () => client.destroy() };
    },
    'ioredis 5': () => {
      const client = new IoredisCluster(
        cluster().ports.map((port) => ({ host, port })),
        { redisOptions: login },
      );
      return { client, end: () => client.disconnect() };
    },
  };
  test.each(Object.entries(clients))('%s works under the longer rule', async (name, make) => {
    const more = name.startsWith('ioredis') ? [...onCluster, ...ofIoredisCluster] : onCluster;
    expect(await visited(cluster(), more, make)).toEqual([]);
  });
});

describe('with sentinels', () => {
  const fixture = startLater(() => startRedisSentinel({ replicas: 1 }));
  const sentinels = () => fixture().sentinels.map((port) => ({ host, port }));

  const clients: Readonly<Record<string, () => { client: RedisClient; end: () => unknown }>> = {
    'node-redis 6': () => {
      const client = createSentinel({
        name: fixture().name,
        sentinelRootNodes: sentinels(),
        nodeClientOptions: login,
      });
      return { client, end: () => client.destroy() };
    },
    'ioredis 5': () => {
      const client = new Redis({ ...login, sentinels: sentinels(), name: fixture().name });
      return { client, end: () => client.disconnect() };
    },
  };
  test.each(Object.entries(clients))('%s works under the longer rule', async (name, make) => {
    const more = name.startsWith('node-redis') ? ofNodeRedisSentinel : [];
    expect(await visited(fixture(), more, make)).toEqual([]);
  });
});

/** Starts something before the tests of a group, and stops it after them. */
function startLater<T extends { stop(): Promise<void> }>(start: () => Promise<T>): () => T {
  let started: T | undefined;
  beforeAll(async () => {
    started = await start();
  });
  afterAll(() => started?.stop());
  return () => started as T;
}
