import type { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { Cluster as IoredisCluster, Redis } from 'ioredis';
import { createClient, createCluster, createSentinel } from 'redis';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { CommandError, createRollcall, PubSubService, type RedisClient } from '../../src/index.js';
import { type HistoryBackend, historyBehaviour } from '../shared/history-behaviour.js';
import { presenceBehaviour } from '../shared/presence-behaviour.js';
import type { PresenceBackend } from '../shared/presence-fixture.js';
import { type Backend, pubsubBehaviour } from '../shared/pubsub-behaviour.js';
import { userStatusBehaviour } from '../shared/user-status-behaviour.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { RespConnection } from '../support/resp.js';
import { waitFor } from '../support/wait.js';

// The ACL rules of docs/topologies.md, word for word: everything works under them, nothing that is not
// allowed is tried, and nothing is allowed that is not needed.

const COMMAND_MS = 5_000;
const host = '127.0.0.1';
const login = { username: 'app', password: 'password' };

/** One `ACL SETUSER`, as its words. */
type Rule = readonly string[];

const page = readFileSync(new URL('../../docs/topologies.md', import.meta.url), 'utf8');
const [single = [], onCluster = [], ofIoredisCluster = [], ofNodeRedisSentinel = []] = [
  ...page.matchAll(/```redis\n(ACL [\s\S]*?)\n```/g),
].map(([, text = '']): Rule[] => text.split('\n').map((line) => line.split(' ')));

const optional = commandsOf(single.slice(-1));

/** The commands that rules allow, as Redis counts them. */
function commandsOf(rules: readonly Rule[]): string[] {
  return rules.flat().flatMap((word) => (word.startsWith('+') ? [word.slice(1)] : []));
}

/** The rule of the page for presence under other prefixes, and for channels of any name. */
function adapted(rules: readonly Rule[]): Rule[] {
  const changes: Record<string, string> = {
    '~{rollcall:*': '~{scene-*',
    '&{rollcall:*': '&{scene-*',
    '&news:*': '&*',
  };
  return rules.map((rule) => rule.map((word) => changes[word] ?? word));
}

type Run = (...command: string[]) => Promise<string>;

async function allow(run: Run, rules: readonly Rule[]): Promise<void> {
  for (const rule of rules) await run(...rule);
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

/** A server, and what the tests themselves ask of it, which is not what is counted. */
class Watched {
  readonly own = new Map<string, number>();

  private constructor(readonly server: RedisServer) {}

  static async start(): Promise<Watched> {
    const server = await startRedis();
    await allow((...command) => server.cli(...command), adapted(single));
    await server.cli('CONFIG', 'RESETSTAT');
    return new Watched(server);
  }

  async run(...command: string[]): Promise<string> {
    this.count(command);
    return this.server.cli(...command);
  }

  count([name = '', subcommand = '']: readonly string[]): void {
    for (const key of [name, `${name}|${subcommand}`]) {
      const lower = key.toLowerCase();
      this.own.set(lower, (this.own.get(lower) ?? 0) + 1);
    }
  }

  async raw(got: (reply: string[]) => void): Promise<RespConnection> {
    return RespConnection.open(this.server.port, COMMAND_MS, (reply) => got(reply as string[]));
  }

  async send(connection: RespConnection, ...command: string[]): Promise<void> {
    this.count(command);
    await connection.send(command, COMMAND_MS);
  }

  /** Those of `commands` that nobody but the tests themselves has used. */
  async unused(commands: readonly string[]): Promise<string[]> {
    const calls = await callsOf((...command) => this.server.cli(...command));
    return commands.filter((name) => (calls.get(name) ?? 0) <= (this.own.get(name) ?? 0));
  }
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

describe.each(Object.entries(makers))('under the rule, with %s', (name, make) => {
  let watched: Watched;
  beforeAll(async () => {
    watched = await Watched.start();
  });
  afterAll(() => watched.server.stop());

  const clients = () => {
    const ends: (() => void)[] = [];
    return {
      client: () => {
        const { client, end } = made(make, watched.server.port);
        ends.push(end);
        return client;
      },
      ends,
    };
  };

  const world = async (): Promise<PresenceBackend> => {
    await watched.run('FLUSHALL');
    const { client, ends } = clients();
    return {
      client,
      flush: async () => void (await watched.run('FLUSHALL')),
      end: async () => {
        for (const end of ends) end();
      },
    };
  };
  describe('presence', () => {
    presenceBehaviour(world);
    userStatusBehaviour(world);
  });

  const backend = async (): Promise<Backend> => {
    const ends = new Map<RedisClient, () => void>();
    return {
      client: () => {
        const { client, end } = made(make, watched.server.port);
        ends.set(client, end);
        return client;
      },
      end: (client) => ends.get(client)?.(),
      raw: async () => {
        const listeners: ((reply: string[]) => void)[] = [];
        const publisher = await watched.raw(() => {});
        const subscriber = await watched.raw((reply) => {
          for (const listener of listeners) listener(reply);
        });
        return {
          publish: (channel, payload) => watched.send(publisher, 'PUBLISH', channel, payload),
          subscribe: async (channel, got) => {
            listeners.push(
              ([kind, from, payload]) => kind === 'message' && from === channel && got(payload as string),
            );
            await watched.send(subscriber, 'SUBSCRIBE', channel);
          },
          psubscribe: async (pattern, got) => {
            listeners.push(
              ([kind, from, channel, payload]) =>
                kind === 'pmessage' && from === pattern && got(payload as string, channel as string),
            );
            await watched.send(subscriber, 'PSUBSCRIBE', pattern);
          },
          close: async () => {
            publisher.close();
            subscriber.close();
          },
        };
      },
      channels: async () => (await watched.run('PUBSUB', 'CHANNELS')).split('\n'),
      connections: async () =>
        (await watched.run('CLIENT', 'LIST')).split('\n').filter((line) => line !== '').length,
      close: async () => {
        for (const end of ends.values()) end();
      },
    };
  };
  pubsubBehaviour(name, backend, { sharded: true });

  const history = async (): Promise<HistoryBackend> => {
    const { client, ends } = clients();
    return {
      client,
      listen: async (channel, got) => {
        const connection = await watched.raw(([kind, from, payload]) => {
          if (kind === 'message' && from === channel) got(payload as string);
        });
        ends.push(() => connection.close());
        await watched.send(connection, 'SUBSCRIBE', channel);
      },
      run: (...args) => watched.run(...args),
      end: async () => {
        for (const end of ends) end();
      },
    };
  };
  historyBehaviour(name, history, { embedded: false });

  test('after all of that, nothing was refused, and every command was needed', async () => {
    expect(await refused((...command) => watched.server.cli(...command))).toEqual([]);
    expect(await watched.unused(commandsOf(single))).toEqual([]);
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
    const heard: unknown[] = [];
    const got = (message: unknown) => void heard.push(message);
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
    await waitFor(() => heard.length >= all.length, {
      message: () => `all of it; so far ${heard.join(', ')}`,
    });
    expect(heard.map(String).sort()).toEqual(all.sort());
  } finally {
    await Promise.all(opened.map((service) => service.close()));
    for (const { end } of opened) await end();
  }
  expect(errors).toEqual([]);
}

interface Place {
  readonly ports: readonly number[];
  cli(port: number, ...args: string[]): Promise<string>;
}

/** Visits under the rule and `more`; what was refused meanwhile, on any server, or not needed of `more`. */
async function visited(
  place: Place,
  more: readonly Rule[],
  make: () => { client: RedisClient; end: () => unknown },
): Promise<string[]> {
  const runs = place.ports.map(
    (port): Run =>
      (...command) =>
        place.cli(port, ...command),
  );
  for (const run of runs) {
    await allow(run, [...single, ...more]);
    await run('ACL', 'LOG', 'RESET');
    await run('CONFIG', 'RESETSTAT');
  }
  await visit(make, runs);
  const called = new Set((await Promise.all(runs.map(callsOf))).flatMap((calls) => [...calls.keys()]));
  const unused = commandsOf(more).filter((name) => name !== 'ping' && !called.has(name));
  return [...(await Promise.all(runs.map(refused))).flat(), ...unused.map((name) => `unused ${name}`)];
}

describe('the rule as it stands', () => {
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
      const heard: unknown[] = [];
      const got = (message: unknown) => void heard.push(message);
      await pubsub.subscribe('news:1', got);
      await pubsub.subscribe('news:1', got, { sharded: true });
      const { unsubscribe } = await pubsub.psubscribe('news:*', got);
      await Promise.all([pubsub.publish('news:1', 1), pubsub.publish('news:1', 2, { sharded: true })]);
      await waitFor(() => heard.length === 3, { message: () => `three messages; so far ${heard}` });
      await unsubscribe();
    } finally {
      await pubsub.close();
      end();
    }
    // The role of the server is asked for, and not again once that was refused.
    expect(await refused(run)).toEqual(['command info']);
  });

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
    // PING is for nodes that are in doubt.
    const more = name.startsWith('ioredis') ? [...onCluster, ...ofIoredisCluster] : onCluster;
    expect(await visited(cluster(), more, make)).toEqual([]);
  });
});

describe('with sentinels', () => {
  const world = startLater(() => startRedisSentinel({ replicas: 1 }));
  const sentinels = () => world().sentinels.map((port) => ({ host, port }));

  const clients: Readonly<Record<string, () => { client: RedisClient; end: () => unknown }>> = {
    'node-redis 6': () => {
      const client = createSentinel({
        name: world().name,
        sentinelRootNodes: sentinels(),
        nodeClientOptions: login,
      });
      return { client, end: () => client.destroy() };
    },
    'ioredis 5': () => {
      const client = new Redis({ ...login, sentinels: sentinels(), name: world().name });
      return { client, end: () => client.disconnect() };
    },
  };
  test.each(Object.entries(clients))('%s works under the longer rule', async (name, make) => {
    const more = name.startsWith('node-redis') ? ofNodeRedisSentinel : [];
    expect(await visited(world(), more, make)).toEqual([]);
  });
});

/** Starts something before the tests of a group, and stops it after them. */
function startLater<T extends { stop(): Promise<void> }>(start: () => Promise<T>): () => T {
  let started: T | undefined;
  beforeAll(async () => {
    started = await start();
  }, 60_000);
  afterAll(() => started?.stop());
  return () => started as T;
}
