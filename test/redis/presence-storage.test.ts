import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CommandError, ConfigurationError, type PresenceService } from '../../src/index.js';
import {
  claimNodeScript,
  readLeasesScript,
  removeNodeScript,
  renewLeaseScript,
  updateUsersScript,
} from '../../src/presence/scripts.js';
import { driverFor } from '../../src/redis/detect.js';
import type { Driver, Reply, Script } from '../../src/redis/driver.js';
import { PresenceFixture } from '../shared/presence-fixture.js';
import { backendOn, ioredis, type Maker, nodeRedis } from '../shared/redis-clients.js';
import { NodeProcess } from '../support/node-process.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

let server: RedisServer;
let fixture: PresenceFixture;
let base: string;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

function sceneOn(make: Maker): PresenceFixture {
  return new PresenceFixture(backendOn(server, make));
}

async function start(make: Maker): Promise<void> {
  await server.cli('FLUSHALL');
  fixture = sceneOn(make);
  base = `{${fixture.prefix}:0}`;
}

const list = (text: string): string[] => text.split('\n').filter((line) => line !== '');

async function scores(key: string): Promise<Record<string, number>> {
  const flat = list(await server.cli('ZRANGE', key, '0', '-1', 'WITHSCORES'));
  return Object.fromEntries(
    flat.flatMap((member, at) => (at % 2 === 0 ? [[member, Number(flat[at + 1])]] : [])),
  );
}

/** Every key, and its PTTL. */
async function ttls(): Promise<Record<string, number>> {
  const keys = list(await server.cli('KEYS', '*')).sort();
  const found: Record<string, number> = {};
  for (const key of keys) found[key.slice(base.length + 1)] = Number(await server.cli('PTTL', key));
  return found;
}

async function redisNow(): Promise<number> {
  const [seconds, micros] = list(await server.cli('TIME'));
  return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
}

/** A record's status and sockets as "owner"socket", derived from the socket entries. */
async function derived(user: string): Promise<{ status: string; sockets: string[] }> {
  const flat = list(await server.cli('HGETALL', `${base}:sockets:${user}`));
  const sockets: string[] = [];
  const statuses: string[] = [];
  for (let at = 0; at < flat.length; at += 2) {
    const [owner, socket] = String(flat[at]).split('"') as [string, string];
    // Entries of the user, not of a socket, have no owner.
    if (owner === '') continue;
    sockets.push(socket);
    statuses.push(String(flat[at + 1]).split('"')[1] || 'online');
  }
  const rank = ['busy', 'online', 'away', 'offline'];
  statuses.sort((a, b) => rank.indexOf(a) - rank.indexOf(b));
  return { status: statuses[0] ?? 'offline', sockets: sockets.sort() };
}

const both: [string, Maker][] = [
  ['node-redis', nodeRedis],
  ['ioredis', ioredis],
];

describe.each(both)('commands with %s', (_name, make) => {
  beforeEach(() => start(make));
  afterEach(() => fixture.end());

  /** The commands clients sent while `work` ran, by name: what runs inside scripts is left out. */
  /** Without INFO, the check of the server's role every two seconds. */
  async function sent(work: () => Promise<unknown>): Promise<string[]> {
    const monitor = await server.monitor();
    await work();
    const lines = await monitor.stop();
    return lines
      .filter((line) => !/\[\d+ lua\]/.test(line))
      .map((line) => /\] "([^"]+)"/.exec(line)?.[1]?.toUpperCase() ?? line)
      .filter((command) => command !== 'INFO');
  }

  const quiet = { sweepInterval: 15_000, lease: 60_000, keyTtl: 3_600_000 };

  test('a single change is one script call', async () => {
    const presence = fixture.service(quiet);
    await presence.setPresence('warm', 's');
    expect(await sent(() => presence.setPresence('ann', 's1'))).toEqual(['EVALSHA']);
    expect(await sent(() => presence.removeSocket('ann', 's1'))).toEqual(['EVALSHA']);
  });

  test('a status, and the removal of a socket of another process, are one script call each', async () => {
    const [presence, other] = [fixture.service(quiet), fixture.service(quiet)];
    await presence.setPresence('ann', 's1');
    await other.setPresence('warm', 's');
    expect(await sent(() => other.setStatus('ann', 'busy'))).toEqual(['EVALSHA']);
    // The owner is notified and may have sent its own by then.
    const commands = await sent(() => other.removeSocket('ann', 's1'));
    expect(commands[0]).toBe('EVALSHA');
    expect(new Set(commands)).toEqual(new Set(['EVALSHA']));
  });

  test('a thousand concurrent changes are a few script calls', async () => {
    const presence = fixture.service(quiet);
    await presence.setPresence('warm', 's');
    const users = Array.from({ length: 1_000 }, (_, index) => `u${index}`);
    const commands = await sent(() => Promise.all(users.map((user) => presence.setPresence(user, 's'))));
    expect(new Set(commands)).toEqual(new Set(['EVALSHA']));
    expect(commands.length).toBeLessThanOrEqual(6);
  });

  test('a lookup of a thousand users is one MGET, and nothing else', async () => {
    const presence = fixture.service(quiet);
    const users = Array.from({ length: 1_000 }, (_, index) => `u${index}`);
    await Promise.all(users.map((user) => presence.setPresence(user, 's')));
    const reader = fixture.service(quiet);
    await reader.connect();
    expect(await sent(() => reader.getMultiplePresence(users))).toEqual(['MGET']);
    expect(await sent(() => reader.getMultiplePresence([...users, 'more']))).toEqual(['MGET', 'MGET']);
    expect(await sent(() => reader.getMultiplePresence([]))).toEqual([]);
    expect(await sent(() => reader.getPresence('u1'))).toEqual(['MGET']);
    expect(await sent(() => reader.getOnlineCount())).toEqual(['SCARD']);
    const listing = await sent(async () => {
      for await (const _ of reader.listOnlineUsers({ pageSize: 600 }));
    });
    expect(new Set(listing)).toEqual(new Set(['SSCAN']));
    expect(listing.length).toBeLessThanOrEqual(3);
  });

  test('after SCRIPT FLUSH under load no call fails, and every record is right', async () => {
    const [, changes] = await fixture.observer();
    const services = [fixture.service(), fixture.service()];
    const users = Array.from({ length: 40 }, (_, index) => `u${index}`);
    const statuses = ['online', 'away', 'busy'];
    let flushes = 0;
    let loading = true;
    const flushing = (async () => {
      while (loading) {
        await server.cli('SCRIPT', 'FLUSH', 'SYNC');
        flushes++;
      }
    })();
    try {
      for (let round = 0; round < 60; round++) {
        await Promise.all(
          services.flatMap((service, index) =>
            users.map((user, at) => {
              const turn = round * 31 + index * 17 + at * 7;
              const socket = `s${turn % 3}`;
              return turn % 4 === 0
                ? service.removeSocket(user, socket)
                : service.setPresence(user, socket, statuses[turn % 3]);
            }),
          ),
        );
      }
    } finally {
      loading = false;
      await flushing;
    }
    expect(flushes).toBeGreaterThan(20);
    const records = await (services[0] as PresenceService).getMultiplePresence(users);
    for (const user of users) {
      const expected = await derived(user);
      const record = records.get(user);
      expect({ status: record?.status, sockets: record?.socketIds.sort() }, user).toEqual({
        status: expected.status,
        sockets: [...new Set(expected.sockets)],
      });
    }
    await changes.settled();
    changes.expectUnbroken();
    console.log(`  4,800 calls, ${flushes} flushes`);
  });

  test('with connections killed under load every call settles, and the final state is right', async () => {
    const services = [fixture.service(), fixture.service()];
    await Promise.all(services.map((service) => service.connect()));
    const users = Array.from({ length: 60 }, (_, index) => `u${index}`);
    let kills = 0;
    let loading = true;
    const killing = (async () => {
      while (loading) {
        kills += Number(await server.cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
        const reads = services.map((service) => service.getOnlineCount());
        await Promise.all(reads);
      }
    })();
    try {
      for (let round = 0; round < 20; round++) {
        const calls = services.flatMap((service, index) =>
          users.map((user, at) =>
            (round + index + at) % 3 === 0
              ? service.removeSocket(user, `s${index}`)
              : service.setPresence(user, `s${index}`, 'online', round),
          ),
        );
        // All of it is idempotent, so all of it is sent again: no call is left in doubt.
        await Promise.all(calls);
      }
    } finally {
      loading = false;
      await killing;
    }
    expect(kills).toBeGreaterThan(5);
    const reader = fixture.service();
    for (const [at, user] of users.entries()) {
      const expected = [0, 1].filter((index) => (19 + index + at) % 3 !== 0).map((index) => `s${index}`);
      expect((await derived(user)).sockets, user).toEqual(expected);
      const record = await reader.getPresence(user);
      expect(record?.socketIds.sort(), user).toEqual(expected);
      for (const socket of record?.sockets ?? []) expect(socket.meta).toBe(19);
    }
    console.log(`  2,400 calls, ${kills} connections killed`);
    // A renewal or sweep that met a kill may have reported it.
    fixture.errors.length = 0;
  });

  test('without memory a change is rejected as a whole, and works later', async () => {
    const [presence, changes] = await fixture.observer(quiet);
    await presence.setPresence('ann', 's1');
    const before = await server.cli('KEYS', '*');
    const entries = await server.cli('HGETALL', `${base}:sockets:ann`);
    await server.cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await server.cli('CONFIG', 'SET', 'maxmemory', '1');
    try {
      for (const call of [
        presence.setPresence('ann', 's1', 'busy'),
        presence.setPresence('ann', 's2'),
        presence.setPresence('bob', 's1'),
      ]) {
        await expect(call).rejects.toThrow(CommandError);
        await expect(call).rejects.toThrow(/OOM/);
        await expect(call).rejects.toMatchObject({ code: 'ERR_COMMAND', outcome: 'failed' });
      }
      expect(await server.cli('KEYS', '*')).toBe(before);
      expect(await server.cli('HGETALL', `${base}:sockets:ann`)).toBe(entries);
      expect(await presence.getPresence('ann')).toMatchObject({ status: 'online', socketIds: ['s1'] });
      expect(await presence.getPresence('bob')).toBeNull();
      expect(presence.stats().sockets).toBe(1);
    } finally {
      await server.cli('CONFIG', 'SET', 'maxmemory', '0');
    }
    await presence.setPresence('bob', 's1');
    await presence.setPresence('ann', 's1', 'busy');
    await changes.settled();
    expect(changes.of('bob')).toEqual(['offline > online']);
    expect(changes.of('ann')).toEqual(['offline > online', 'online > busy']);
  });

  test("a user's key of another type fails only that user's calls", async () => {
    const [presence, changes] = await fixture.observer(quiet);
    await server.cli('SET', `${base}:sockets:odd`, 'not a hash');
    const users = Array.from({ length: 100 }, (_, index) => (index === 50 ? 'odd' : `u${index}`));
    const outcomes = await Promise.allSettled(users.map((user) => presence.setPresence(user, 's')));
    const failed = users.filter((_, at) => outcomes[at]?.status === 'rejected');
    expect(failed).toEqual(['odd']);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(CommandError);
    }
    expect(presence.stats().sockets).toBe(99);
    expect(await presence.getOnlineCount()).toBe(99);
    await changes.settled();
    for (const user of users) {
      expect(changes.of(user)).toEqual(failed.includes(user) ? [] : ['offline > online']);
    }
    await server.cli('DEL', `${base}:sockets:odd`);
    expect((await presence.setPresence('odd', 's')).status).toBe('online');
  });

  test('a service with another number of partitions does not start', async () => {
    await server.cli('SET', `${base}:layout`, 'f2 64 abc');
    const presence = fixture.service();
    await expect(presence.connect()).rejects.toThrow(ConfigurationError);
    const refused = presence.setPresence('ann', 's1');
    await expect(refused).rejects.toThrow(ConfigurationError);
    await expect(refused).rejects.toThrow(/64 partitions/);
    expect(list(await server.cli('KEYS', '*'))).toEqual([`${base}:layout`]);
    await server.cli('DEL', `${base}:layout`);
    await presence.connect();
    expect(await server.cli('GET', `${base}:layout`)).toMatch(/^f2 1 \S+$/);
  });
});

describe('data in Redis', () => {
  const MINUTE = 60_000;
  const options = { lease: 9_000, sweepInterval: 4_000, keyTtl: 30 * MINUTE, lastSeenTtl: 90 * MINUTE };

  beforeEach(() => start(nodeRedis));
  afterEach(() => fixture.end());

  /** A TTL that was started a moment ago. */
  const fresh = (ms: number) =>
    expect.toSatisfy((ttl: number) => ttl > ms - 10_000 && ttl <= ms, `about ${ms}`);
  const none = -1;

  test('has the documented keys, fields and TTLs after each kind of change', async () => {
    const presence = fixture.service(options);
    await presence.connect();
    expect(await ttls()).toEqual({ layout: none });

    const first = await presence.setPresence('ann', 's1', 'away', { a: 1 });
    const id = presence.stats().nodeId;
    const since = first.sockets[0]?.connectedAt.getTime().toString(36);
    expect(await ttls()).toEqual({
      layout: none,
      nodes: none,
      online: fresh(90 * MINUTE),
      'sockets:ann': fresh(30 * MINUTE),
      'user:ann': fresh(30 * MINUTE),
      [`node:${id}`]: fresh(90 * MINUTE),
    });
    expect(await server.cli('HGETALL', `${base}:sockets:ann`)).toBe(`${id}"s1\n${since}"away"{"a":1}`);
    expect(await server.cli('SMEMBERS', `${base}:node:${id}`)).toBe('ann"s1');
    expect(await server.cli('SMEMBERS', `${base}:online`)).toBe('ann');
    const lease = (await scores(`${base}:nodes`))[id] as number;
    expect(lease).toBeGreaterThan((await redisNow()) + 8_000);
    // Leases have microseconds.
    expect(lease).toBeLessThan((await redisNow()) + 9_001);
    expect(await server.cli('GET', `${base}:user:ann`)).toBe(
      `2away"${first.version}"\ns1"${id}"${since}"away"{"a":1}`,
    );
    expect(first.lastSeen.getTime()).toBe(Math.floor(first.version / 1_000));

    const offline = await presence.removeSocket('ann', 's1');
    expect(await ttls()).toEqual({ layout: none, nodes: none, 'user:ann': fresh(90 * MINUTE) });
    expect(await server.cli('GET', `${base}:user:ann`)).toBe(`2offline"${offline?.version}"`);

    await presence.setPresence('ann', 's1');
    expect(await ttls()).toMatchObject({ 'user:ann': fresh(30 * MINUTE) });
    await presence.close();
    expect(await ttls()).toEqual({ layout: none, 'user:ann': fresh(90 * MINUTE) });
  });

  test('a change leaves TTLs to the renewals, and lists an entry again that was lost with its member of the owner set', async () => {
    const presence = fixture.service(options);
    await presence.setPresence('ann', 's1');
    await presence.setPresence('bob', 's1');
    const set = `${base}:node:${presence.stats().nodeId}`;
    for (const key of ['sockets:ann', 'user:ann']) {
      await server.cli('PEXPIRE', `${base}:${key}`, String(20 * MINUTE));
    }
    await server.cli('DEL', `${base}:sockets:bob`, set);
    // In one transaction, because the first entry of each is listed in any case.
    await Promise.all(['ann', 'bob'].map((user) => presence.setPresence(user, 's1', 'busy')));
    expect(list(await server.cli('SMEMBERS', set)).sort()).toEqual(['ann"s1', 'bob"s1']);
    expect(await ttls()).toMatchObject({
      [`node:${presence.stats().nodeId}`]: fresh(90 * MINUTE),
      'sockets:ann': fresh(20 * MINUTE),
      'user:ann': fresh(20 * MINUTE),
      'sockets:bob': fresh(30 * MINUTE),
      'user:bob': fresh(30 * MINUTE),
    });
  });

  test('has the end of a grace period, and the record during it', async () => {
    const presence = fixture.service({ ...options, grace: 2 * MINUTE });
    await presence.setPresence('ann', 's1', 'busy');
    await presence.removeSocket('ann', 's1');
    expect(await ttls()).toEqual({
      layout: none,
      nodes: none,
      online: fresh(90 * MINUTE),
      due: none,
      'sockets:ann': fresh(30 * MINUTE),
      'user:ann': fresh(30 * MINUTE),
    });
    const graceEnds = (await scores(`${base}:due`))['ann'];
    expect(await server.cli('HGETALL', `${base}:sockets:ann`)).toBe(`"grace\n${graceEnds}"${2 * MINUTE}`);
    const due = (await scores(`${base}:due`))['ann'] as number;
    expect(due).toBeGreaterThan((await redisNow()) + 2 * MINUTE - 1_000);
    expect(due).toBeLessThanOrEqual((await redisNow()) + 2 * MINUTE);
    // A second goodbye changes nothing.
    await presence.removeSocket('ann', 's1');
    expect(await scores(`${base}:due`)).toEqual({ ann: due });
    await presence.setPresence('ann', 's2', 'busy');
    expect(await ttls()).toEqual({
      layout: none,
      nodes: none,
      online: fresh(90 * MINUTE),
      'sockets:ann': fresh(30 * MINUTE),
      'user:ann': fresh(30 * MINUTE),
      [`node:${presence.stats().nodeId}`]: fresh(90 * MINUTE),
    });
  });

  test('keys of users who stay online never expire', async () => {
    const keyTtl = 2_400;
    const presence = fixture.service({ lease: 600, sweepInterval: 100, keyTtl: keyTtl });
    const users = Array.from({ length: 200 }, (_, index) => `u${index}`);
    await Promise.all(users.map((user) => presence.setPresence(user, 's')));
    await presence.join('quiet room', 'u0', 's');
    const end = (await redisNow()) + 2 * keyTtl;
    let lowest = keyTtl;
    await waitFor(
      async () => {
        for (const [key, ttl] of Object.entries(await ttls())) {
          if (ttl !== none) lowest = Math.min(lowest, ttl);
          expect(key).not.toBe('due');
        }
        return (await redisNow()) > end;
      },
      { timeout: 15_000, interval: 100 },
    );
    console.log(`  backstop ${keyTtl} ms, the lowest TTL seen ${lowest} ms`);
    expect(lowest).toBeGreaterThan(keyTtl / 8);
    expect(await presence.getOnlineCount()).toBe(200);
    expect((await presence.getRoomCounts(['quiet room'])).get('quiet room')).toBe(1);
    for (const user of users) expect((await derived(user)).sockets).toEqual(['s']);
    // They were refreshed, not lost and written again.
    expect(presence.stats().restored).toBe(0);
  });
});

describe('the scripts', () => {
  let driver: Driver;
  let end: () => void;
  const B = '{scripts:0}';
  const keys = { nodes: `${B}:nodes`, online: `${B}:online`, due: `${B}:due` };

  beforeEach(async () => {
    await server.cli('FLUSHALL');
    const made = nodeRedis(server.port);
    end = made.end;
    driver = driverFor(made.client);
    driver.attach({ message() {}, connection() {}, dropped() {} });
    await driver.connect();
  });

  afterEach(async () => {
    await driver.close();
    end();
  });

  async function call(script: Script, names: string[], args: (string | number)[]): Promise<Reply> {
    const [reply] = await driver.execute([{ script, keys: names, args: args.map(String) }]);
    if (reply instanceof Error) throw reply;
    return reply as Reply;
  }

  function near(time: number) {
    return expect.toSatisfy((value: unknown) => Math.abs(Number(value) - time) < 5_000, `about ${time}`);
  }

  function renew({
    known = 0,
    probe = ['', '', ''],
    users = 0,
    items = [],
    entries = [],
  }: {
    known?: number;
    probe?: string[];
    users?: number;
    items?: string[];
    entries?: string[];
  } = {}): Promise<Reply> {
    const names = [keys.nodes, `${B}:node:n`, keys.online, `${B}:user:${probe[1]}`, ...items];
    return call(renewLeaseScript, names, ['n', 9_000, 60_000, 90_000, known, users, ...probe, ...entries]);
  }

  describe('renew-lease.lua', () => {
    test('does not restore a lease that is gone', async () => {
      await server.cli('SADD', `${B}:node:n`, '1');
      expect(await renew()).toEqual(['', '']);
      expect(await server.cli('EXISTS', keys.nodes)).toBe('0');
      expect(await server.cli('PTTL', `${B}:node:n`)).toBe('-1');
    });

    test('does not touch a lease that a reaper claimed', async () => {
      await server.cli('ZADD', keys.nodes, '-123456', 'n');
      expect(await renew()).toEqual(['-123456', '']);
      expect(await scores(keys.nodes)).toEqual({ n: -123456 });
    });

    test('sets the lease by the clock of Redis, refreshes TTLs, and returns the entries that are missing', async () => {
      await server.cli('ZADD', keys.nodes, '1000', 'n', '2000', 'other');
      await server.cli('SADD', `${B}:node:n`, 'ann"s', 'bob"s', '"lobby', '"yard');
      await server.cli('SADD', keys.online, 'ann', 'bob');
      await server.cli('HSET', `${B}:sockets:ann`, 'n"s', 'abc');
      await server.cli('SET', `${B}:user:ann`, '2online"5"\ns"n"abc');
      // Written by another node since it was evicted: the node's own entry is missing.
      await server.cli('HSET', `${B}:sockets:bob`, 'm"s', 'abc');
      await server.cli('SET', `${B}:user:bob`, '2online"5"\ns"m"abc');
      await server.cli('HSET', `${B}:room:lobby`, ':ann', '25\nm"s"1\nn"s"1');
      await server.cli('HSET', `${B}:room:yard`, ':ann', '25\nm"s"1');
      const now = await redisNow();
      const names = ['ann', 'bob'].flatMap((user) => [`${B}:sockets:${user}`, `${B}:user:${user}`]);
      const reply = await renew({
        probe: ['ann"s', 'ann', '"lobby'],
        items: [...names, `${B}:room:lobby`, `${B}:room:yard`],
        users: 2,
        entries: ['n"s', 'ann', 'n"s', 'bob', ':ann', 'n"s"', ':ann', 'n"s"'],
      });
      expect(reply).toEqual(['1000', near(now + 9_000), '', 2, 4]);
      expect(await scores(keys.nodes)).toEqual({ n: Number((reply as string[])[1]), other: 2000 });
      for (const key of [`${B}:sockets:ann`, `${B}:user:ann`, `${B}:room:lobby`]) {
        expect(Number(await server.cli('PTTL', key))).toEqual(near(60_000));
      }
      for (const key of [`${B}:node:n`, keys.online]) {
        expect(Number(await server.cli('PTTL', key))).toEqual(near(90_000));
      }
      expect(await server.cli('PTTL', keys.nodes)).toBe('-1');
    });

    test.each([
      ['the owner set', `${B}:node:n`],
      ['the index', `${B}:online`],
    ])('reports that %s has lost its oldest member', async (_, key) => {
      await server.cli('ZADD', keys.nodes, '1000', 'n');
      await server.cli('SADD', `${B}:node:n`, 'ann"s');
      await server.cli('SADD', keys.online, 'ann');
      await server.cli('SET', `${B}:user:ann`, '2online"5"\ns"n"abc');
      const lost = async () => ((await renew({ probe: ['ann"s', 'ann', ''] })) as Reply[])[2];
      expect(await lost()).toBe('');
      await server.cli('DEL', key);
      await server.cli('SADD', key, 'written since');
      expect(await lost()).toBe('1');
    });

    test('reports that the owner set has lost its oldest room, also if its sockets were written since', async () => {
      await server.cli('ZADD', keys.nodes, '1000', 'n');
      await server.cli('SADD', keys.online, 'ann');
      await server.cli('SADD', `${B}:node:n`, 'ann"s', '"lobby', '"yard');
      const lost = async (...probe: string[]) => ((await renew({ probe })) as Reply[])[2];
      expect(await lost('ann"s', 'ann', '"lobby')).toBe('');
      expect(await lost('', '', '"lobby')).toBe('');
      await server.cli('SREM', `${B}:node:n`, '"lobby');
      expect(await lost('ann"s', 'ann', '"lobby')).toBe('1');
      expect(await lost('', '', '"lobby')).toBe('1');
    });

    test('a user who is offline or invisible is not in the index', async () => {
      await server.cli('ZADD', keys.nodes, '1000', 'n');
      await server.cli('SADD', `${B}:node:n`, 'ann"s');
      await server.cli('SET', `${B}:user:ann`, '2offline"5""h\ns"n"abc');
      expect(((await renew({ probe: ['ann"s', 'ann', ''] })) as Reply[])[2]).toBe('');
    });
  });

  describe('a lease that reveals a loss', () => {
    test('is not renewed, so that it still reveals the loss', async () => {
      await server.cli('ZADD', keys.nodes, '1000', 'n');
      expect(await renew({ known: 1_001 })).toEqual(['1000', '1000']);
      expect(await scores(keys.nodes)).toEqual({ n: 1000 });
      const now = await redisNow();
      expect(await renew({ known: 1_000 })).toEqual(['1000', near(now + 9_000), '']);
    });
  });

  test('each renewal leaves a later lease, also within a millisecond: the loss of any one of them shows', async () => {
    await server.cli('ZADD', keys.nodes, '1000', 'n');
    const leases = [1_000];
    for (let count = 0; count < 100; count++) {
      const [before, after] = (await renew({ known: leases.at(-1) as number })) as string[];
      expect(Number(before)).toBe(leases.at(-1));
      leases.push(Number(after));
    }
    expect(leases).toEqual([...new Set(leases)].sort((a, b) => a - b));
  });

  describe('claim-node.lua', () => {
    test('takes a lease that is unchanged since it was found expired, and makes it negative', async () => {
      await server.cli('ZADD', keys.nodes, '1000', 'n');
      const now = await redisNow();
      const claim = await call(claimNodeScript, [keys.nodes], ['n', 1000, 3_000, 0, 18_000]);
      expect(Number(claim)).toEqual(near(-(now + 3_000)));
      expect(Number(claim)).toBeLessThan(0);
      expect(await scores(keys.nodes)).toEqual({ n: Number(claim) });
    });

    test.each([
      ['was renewed since', '2000', 1000],
      ['is gone', undefined, 1000],
      ['was claimed since', '-1000', 1000],
    ])('does not take one that %s', async (_, score, judged) => {
      if (score !== undefined) await server.cli('ZADD', keys.nodes, score, 'n');
      expect(await call(claimNodeScript, [keys.nodes], ['n', judged, 3_000, 0, 18_000])).toBeNull();
      expect(await scores(keys.nodes)).toEqual(score === undefined ? {} : { n: Number(score) });
    });

    test('does not take a lease that has not expired', async () => {
      const lease = (await redisNow()) + 9_000;
      await server.cli('ZADD', keys.nodes, String(lease), 'n');
      expect(await call(claimNodeScript, [keys.nodes], ['n', lease, 3_000, 0, 18_000])).toBeNull();
      expect(await scores(keys.nodes)).toEqual({ n: lease });
    });

    test('takes a lease that ends further in the future than a lease can', async () => {
      const lease = (await redisNow()) + 3_600_000;
      await server.cli('ZADD', keys.nodes, String(lease), 'n');
      expect(await call(claimNodeScript, [keys.nodes], ['n', lease, 3_000, 0, 18_000])).not.toBeNull();
    });

    test('a claim can be taken over when it has ended, not before, and its holder can extend it at any time', async () => {
      await server.cli('ZADD', keys.nodes, '-1000', 'n');
      const taken = String(await call(claimNodeScript, [keys.nodes], ['n', -1000, 3_000, 0, 18_000]));
      expect(await call(claimNodeScript, [keys.nodes], ['n', taken, 3_000, 0, 18_000])).toBeNull();
      const now = await redisNow();
      const prolonged = await call(claimNodeScript, [keys.nodes], ['n', taken, 30_000, 1, 18_000]);
      expect(Number(prolonged)).toEqual(near(-(now + 30_000)));
      expect(await call(claimNodeScript, [keys.nodes], ['n', taken, 3_000, 1, 18_000])).toBeNull();
      expect(await scores(keys.nodes)).toEqual({ n: Number(prolonged) });
    });
  });

  describe('remove-node.lua', () => {
    test('removes a node that owns nothing, and only such a node', async () => {
      await server.cli('ZADD', keys.nodes, '1000', 'n', '1000', 'other');
      await server.cli('SADD', `${B}:node:n`, 'ann"s1');
      expect(await call(removeNodeScript, [keys.nodes, `${B}:node:n`, `${B}:inbox:n`], ['n'])).toBe(0);
      expect(await scores(keys.nodes)).toEqual({ n: 1000, other: 1000 });
      await server.cli('SREM', `${B}:node:n`, 'ann"s1');
      expect(await call(removeNodeScript, [keys.nodes, `${B}:node:n`, `${B}:inbox:n`], ['n'])).toBe(1);
      expect(await scores(keys.nodes)).toEqual({ other: 1000 });
      expect(await call(removeNodeScript, [keys.nodes, `${B}:node:n`, `${B}:inbox:n`], ['n'])).toBe(1);
    });
  });

  describe('read-leases.lua', () => {
    test('returns the time, all leases, and the users whose grace is over', async () => {
      const now = await redisNow();
      await server.cli('SET', `${B}:layout`, '1 abc');
      await server.cli('ZADD', keys.nodes, '-5', 'claimed', '1000', 'old', String(now + 60_000), 'young');
      await server.cli('ZADD', keys.due, '1', 'ann', '2', 'bob', '3', 'cleo', String(now + 60_000), 'dan');
      expect(await call(readLeasesScript, [keys.nodes, keys.due, `${B}:layout`], [2])).toEqual([
        near(now),
        ['claimed', '-5', 'old', '1000', 'young', String(now + 60_000)],
        ['ann', 'bob'],
        '1 abc',
      ]);
      expect(await server.cli('ZCARD', keys.due)).toBe('4');
    });

    test('returns empty lists without nodes', async () => {
      expect(await call(readLeasesScript, [keys.nodes, keys.due, `${B}:layout`], [256])).toEqual([
        expect.any(String),
        [],
        [],
        '',
      ]);
      expect(await server.cli('DBSIZE')).toBe('0');
    });
  });

  describe('update-users.lua', () => {
    const socketsKey = `${B}:sockets:ann`;
    const record = `${B}:user:ann`;

    function settle(
      {
        node = '',
        grace = 0,
        restoring = 0,
        known = 0,
        written = [],
      }: {
        node?: string;
        grace?: number | string;
        restoring?: number;
        known?: number;
        written?: string[][];
      } = {},
      users = ['ann'],
    ): Promise<Reply> {
      return call(
        updateUsersScript,
        [
          keys.nodes,
          keys.online,
          keys.due,
          `${B}:node:${node}`,
          ...users.flatMap((user) => [`${B}:sockets:${user}`, `${B}:user:${user}`]),
        ],
        [
          node,
          node === '' ? 0 : 9_000,
          60_000,
          90_000,
          `${B}:events`,
          `${B}:sockets:`.length,
          restoring,
          ',busy,online,away,',
          known,
          'PUBLISH',
          users.map((_, at) => `${grace}\n${written[at]?.join('\n') ?? '\n'}\n`).join(''),
        ],
      );
    }

    /** Runs `work`, and returns the messages published meanwhile. */
    async function published(work: () => Promise<unknown>): Promise<unknown[]> {
      const monitor = await server.monitor();
      await work();
      const lines = await monitor.stop();
      return lines.flatMap((line) => {
        const match = /\] "PUBLISH" ("(?:[^"\\]|\\.)*") ("(?:[^"\\]|\\.)*")/i.exec(line);
        return match === null ? [] : [JSON.parse(JSON.parse(match[2] as string) as string)];
      });
    }

    test('a user without sockets or record: nothing is written', async () => {
      expect(await settle()).toEqual(['', '', null]);
      expect(await server.cli('DBSIZE')).toBe('0');
    });

    test('lists the node that wrote, and returns its lease before and after', async () => {
      const now = await redisNow();
      expect(await settle({ node: 'n' })).toEqual(['', near(now + 9_000), null]);
      const [[first]] = [Object.values(await scores(keys.nodes))] as [[number]];
      const [before, ...rest] = (await settle({ node: 'n' })) as string[];
      expect(Number(before)).toBe(first);
      expect(rest).toEqual([near(now + 9_000), null]);
      await server.cli('ZADD', keys.nodes, '-77', 'n');
      expect(await settle({ node: 'n' })).toEqual(['-77', '-77', null]);
      expect(await scores(keys.nodes)).toEqual({ n: -77 });
    });

    test('returns a lease that reveals a loss unchanged', async () => {
      // Gone, although the node knows one: one long expired takes its place.
      expect(await settle({ node: 'n', known: 5_000 })).toEqual(['', '1', null]);
      expect(await scores(keys.nodes)).toEqual({ n: 1 });
      await server.cli('ZADD', keys.nodes, '4999', 'n');
      expect(await settle({ node: 'n', known: 5_000 })).toEqual(['4999', '4999', null]);
      const now = await redisNow();
      expect(await settle({ node: 'n', known: 4_999 })).toEqual(['4999', near(now + 9_000), null]);
    });

    test('one user with a key of another type: nothing is written for the others either', async () => {
      await server.cli('HSET', socketsKey, 'n"s', '1"busy');
      await server.cli('SET', `${B}:sockets:odd`, 'not a hash');
      await expect(settle({}, ['ann', 'odd'])).rejects.toThrow(/WRONGTYPE/);
      // Were his record there without index and event, the repetition without the odd one would add neither.
      expect(await server.cli('EXISTS', record)).toBe('0');
      expect(await published(() => settle())).toHaveLength(1);
      expect(await server.cli('SMEMBERS', keys.online)).toBe('ann');
    });

    test('writes, indexes and announces a change, and nothing the second time', async () => {
      await server.cli('SET', record, '2offline"5"4');
      await server.cli('HSET', socketsKey, 'n"s1', '5"away', 'm"s2', '7""{"x":1}');
      const now = await redisNow();
      let reply: Reply = null;
      const messages = await published(async () => {
        reply = await settle();
      });
      const text = String((reply as unknown as Reply[])[2]);
      const version = Number(/^2online"(\d+)""?\n/.exec(text.replace('"\n', '""\n'))?.[1]);
      const seen = Math.floor(version / 1_000);
      expect(text).toBe(`2online"${version}"\ns1"n"5"away\ns2"m"7""{"x":1}`);
      expect(seen).toEqual(near(now));
      expect(messages).toEqual([[['ann', 'online', 'offline', seen, version, 2]]]);
      expect(await server.cli('GET', record)).toBe(text);
      expect(await server.cli('SMEMBERS', keys.online)).toBe('ann');
      expect(Number(await server.cli('PTTL', record))).toBeLessThanOrEqual(60_000);

      expect(await published(() => settle())).toEqual([]);
      expect(await server.cli('GET', record)).toBe(text);

      // Gone: offline, remembered for longer than the backstop.
      await server.cli('DEL', socketsKey);
      const [[gone]] = (await published(() => settle())) as [[[...unknown[], number, number]]];
      expect(gone.slice(0, 3)).toEqual(['ann', 'offline', 'online']);
      expect(Number(gone[4])).toBeGreaterThan(version);
      expect(await server.cli('EXISTS', keys.online)).toBe('0');
      expect(Number(await server.cli('PTTL', record))).toBeGreaterThan(60_000);
    });

    test('writes and removes socket entries of the node, completely or not at all without memory', async () => {
      const mine = `${B}:node:n`;
      expect(
        await settle({ node: 'n', written: [['s1', '1"busy"{"a":"\\n"}', '', 's2', '2"away']] }),
      ).toEqual(['', near((await redisNow()) + 9_000), expect.stringMatching(/^2busy"/)]);
      expect(await server.cli('HGETALL', socketsKey)).toBe('n"s1\n1"busy"{"a":"\\n"}\nn"s2\n2"away');
      expect(list(await server.cli('SMEMBERS', mine)).sort()).toEqual(['ann"s1', 'ann"s2']);
      expect(Number(await server.cli('PTTL', socketsKey))).toEqual(near(60_000));
      expect(Number(await server.cli('PTTL', mine))).toEqual(near(90_000));

      await server.cli('CONFIG', 'SET', 'maxmemory', '1');
      try {
        await expect(settle({ node: 'n', written: [['s1', '']] })).rejects.toThrow(/OOM/);
        await expect(settle({ node: 'n', written: [['s3', '3"busy']] })).rejects.toThrow(/OOM/);
      } finally {
        await server.cli('CONFIG', 'SET', 'maxmemory', '0');
      }
      expect(list(await server.cli('HKEYS', socketsKey))).toEqual(['n"s1', 'n"s2']);
      expect(list(await server.cli('SMEMBERS', mine)).sort()).toEqual(['ann"s1', 'ann"s2']);

      await settle({ node: 'n', written: [['s1', '', '', 'unknown', '']] });
      expect(list(await server.cli('HKEYS', socketsKey))).toEqual(['n"s2']);
      expect(list(await server.cli('SMEMBERS', mine))).toEqual(['ann"s2']);
      expect(await server.cli('GET', record)).toMatch(/^2away"\d+"\ns2"n"2"away$/);
    });

    test('a key of another type ends the script before anything is written', async () => {
      await server.cli('SET', `${B}:sockets:odd`, 'not a hash');
      await server.cli('HSET', `${B}:sockets:cleo`, 'n"s', '1');
      await server.cli('SADD', `${B}:node:n`, 'cleo"s');
      const written = [
        ['s', '1'],
        ['s', '1'],
        ['s', ''],
      ];
      const events = await published(async () => {
        await expect(settle({ node: 'n', written }, ['ann', 'odd', 'cleo'])).rejects.toThrow(/WRONGTYPE/);
      });
      expect(events).toEqual([]);
      expect(await server.cli('EXISTS', record, keys.online)).toBe('0');
      expect(list(await server.cli('SMEMBERS', `${B}:node:n`))).toEqual(['cleo"s']);
      expect(await server.cli('EXISTS', socketsKey)).toBe('0');
      expect(Object.keys(await scores(keys.nodes))).toEqual(['n']);
    });

    test('publishes one message for a batch', async () => {
      for (const user of ['ann', 'bob', 'cleo']) await server.cli('HSET', `${B}:sockets:${user}`, 'n"s', '1');
      const messages = await published(() => settle({}, ['ann', 'bob', 'nobody', 'cleo']));
      expect(messages).toHaveLength(1);
      expect((messages[0] as [string][]).map(([user]) => user)).toEqual(['ann', 'bob', 'cleo']);
      expect(list(await server.cli('SMEMBERS', keys.online)).sort()).toEqual(['ann', 'bob', 'cleo']);
    });

    test('a version that is ahead of the clock still grows', async () => {
      const ahead = 4_000_000_000_000_000;
      await server.cli('SET', record, `2online"${ahead}"1\ns"n"1`);
      await server.cli('HSET', socketsKey, 'n"s', '1"busy');
      await settle();
      expect(await server.cli('GET', record)).toContain(`2busy"${ahead + 1}"`);
      await server.cli('HSET', socketsKey, 'n"s', '1"away');
      await settle();
      expect(await server.cli('GET', record)).toContain(`2away"${ahead + 2}"`);
    });

    test.each(['junk', '["busy",5,1,[["s","n","busy",1]]]', '3busy"5"'])(
      'a record that cannot be read, %s, is derived again, which is no change of status',
      async (text) => {
        await server.cli('SET', record, text);
        await server.cli('HSET', socketsKey, 'n"s', '1"busy');
        const messages = await published(() => settle());
        expect(messages).toEqual([[['ann', 'busy', 'busy', expect.any(Number), expect.any(Number), 1]]]);
      },
    );

    test('while restoring, a missing record is indexed without a change, a different one is a change', async () => {
      await server.cli('HSET', socketsKey, 'n"s', '1"busy');
      // A message that says that nothing changed is for those only who knew something else of him.
      expect(await published(() => settle({ restoring: 1 }))).toEqual([
        [['ann', 'busy', 'busy', expect.any(Number), expect.any(Number), 1]],
      ]);
      expect(await server.cli('SMEMBERS', keys.online)).toBe('ann');
      await server.cli('HSET', socketsKey, 'n"s', '1"away');
      expect(await published(() => settle({ restoring: 1 }))).toEqual([
        [['ann', 'away', 'busy', expect.any(Number), expect.any(Number), 1]],
      ]);
    });

    test.each([
      ['0: offline at once, even where one runs', 0, 60_000, 'offline', false],
      ['0: offline at once', 0, undefined, 'offline', false],
      ['above 0: from now on', 5_000, undefined, 'busy', true],
      ['above 0: one that runs goes on as it is', 5_000, 60_000, 'busy', true],
      ['above 0: one that is over is over', 5_000, -1, 'offline', false],
      ['-1: none is begun', -1, undefined, 'offline', false],
      ['-1: one that runs goes on', -1, 60_000, 'busy', true],
      ['-1: one that is over is over', -1, -1, 'offline', false],
    ])('grace %s', async (_, grace, ends, status, due) => {
      const now = await redisNow();
      await server.cli('SET', record, '2busy"5"1');
      await server.cli('SADD', keys.online, 'ann');
      if (ends !== undefined) {
        await server.cli('HSET', socketsKey, '"grace', `${now + ends}"60000`);
        await server.cli('ZADD', keys.due, String(now + ends), 'ann');
      }
      await settle({ grace });
      expect(await server.cli('GET', record)).toContain(`2${status}"`);
      expect(await server.cli('SISMEMBER', keys.online, 'ann')).toBe(status === 'offline' ? '0' : '1');
      const score = await server.cli('ZSCORE', keys.due, 'ann');
      expect((await server.cli('HGET', socketsKey, '"grace')).split('"')[0]).toBe(score);
      if (!due) expect(score).toBe('');
      else expect(Number(score)).toEqual(near(now + (ends ?? grace)));
    });

    test('a grace that ends later than possible, because the clock stepped back, starts again', async () => {
      const now = await redisNow();
      await server.cli('SET', record, '2busy"5"1');
      await server.cli('HSET', socketsKey, '"grace', `${now + 3_600_000}"5000`);
      await server.cli('ZADD', keys.due, String(now + 3_600_000), 'ann');
      await settle({ grace: -1 });
      expect(Number(await server.cli('ZSCORE', keys.due, 'ann'))).toEqual(near(now + 5_000));
      expect(await server.cli('GET', record)).toBe('2busy"5"1');
    });

    test('lastSeen of a user whose node died is when the node was last alive', async () => {
      await server.cli('SET', record, '2online"5"4000\ns"n"1');
      await settle({ grace: '0@7000' });
      expect(await server.cli('GET', record)).toMatch(/^2offline"\d+"7000$/);
      await server.cli('SET', record, '2online"5"9000\ns"n"1');
      await settle({ grace: '0@7000' });
      expect(await server.cli('GET', record)).toMatch(/^2offline"\d+"9000$/);
      await server.cli('DEL', record);
      await settle({ grace: '-3@7000' });
      expect(await server.cli('GET', record)).toMatch(/^2offline"\d+"7000$/);
    });

    test('lastSeen of a user who connected and left within the transaction is set', async () => {
      const now = await redisNow();
      expect(await published(() => settle({ grace: 'v0' }))).toEqual([]);
      const version = /^2offline"(\d+)"$/.exec(await server.cli('GET', record))?.[1];
      expect(Number(version) / 1_000).toEqual(near(now));
    });

    test('activity of an invisible user does not change the version or lastSeen', async () => {
      await server.cli('SET', record, '2offline"5"4');
      await server.cli('HSET', socketsKey, 'n"s', '1', '"status', 'invisible"0');
      // The owner of the socket gets a message in its inbox; nothing goes to the channel of changes.
      expect(await published(() => settle())).toEqual([['ann']]);
      expect(await server.cli('GET', record)).toBe('3offline"5"4"h"sinvisible"0\ns"n"1');
      await server.cli('HSET', socketsKey, 'n"s', '1"busy');
      await settle({ grace: -2 });
      expect(await server.cli('GET', record)).toBe('3offline"5"4"h"sinvisible"0\ns"n"1"busy');
      await server.cli('HDEL', socketsKey, 'n"s');
      await settle();
      expect(await server.cli('GET', record)).toBe('3offline"5"4"sinvisible"0');
      await server.cli('DEL', record);
      await server.cli('HSET', socketsKey, 'n"s', '1');
      await settle();
      expect(await server.cli('GET', record)).toBe('3offline"0"0"h"sinvisible"0\ns"n"1');
    });

    test('layers of a status that the release before wrote or ended are read, and those that have ended go together', async () => {
      const now = await redisNow();
      const later = now + 60_000;
      await server.cli('SET', record, '2online"5"4\ns"n"1');
      const layers = `a"${now - 2}\tb"${now - 1}"{"x":"\\t"}\tc"${later}"1\td"0`;
      await server.cli('HSET', socketsKey, 'n"s', '1', '"status', layers);
      const [[change]] = (await published(() => settle({ grace: -1 }))) as [[unknown[]]];
      expect(change.slice(0, 3)).toEqual(['ann', 'c', 'online']);
      expect(await server.cli('HGET', socketsKey, '"status')).toBe(`c"${later}"1\td"0`);
      expect(await server.cli('GET', record)).toMatch(new RegExp(`^3c"\\d+""sc"${later}"1\td"0\ns"n"1$`));
      expect(Number(await server.cli('ZSCORE', keys.due, 'ann'))).toBe(later);
      // As the release before leaves it: the record without layers, the field without the end.
      await server.cli('SET', record, '2busy"5"4\ns"n"1');
      await server.cli('HSET', socketsKey, '"status', 'busy"0');
      expect(await published(() => settle({ grace: -1 }))).toEqual([]);
      expect(await server.cli('GET', record)).toMatch(/^3busy"\d+""sbusy"0\ns"n"1$/);
    });

    test('a user whose record cannot be read goes offline with an event when another node removes their last socket', async () => {
      await server.cli('SET', record, 'not of this format');
      const [[change]] = (await published(() => settle({ grace: 'd0' }))) as [[unknown[]]];
      expect(change.slice(0, 3)).toEqual(['ann', 'offline', 'online']);
      await server.cli('SET', record, 'not of this format');
      expect(await published(() => settle({ grace: 0 }))).toEqual([]);
    });

    test('the status invisible that Redis lost is written back, unless it was removed or has ended', async () => {
      const now = await redisNow();
      const ends = now + 60_000;
      await server.cli('SET', record, `2offline"5"4"h${ends}\ns"n"1`);
      await server.cli('HSET', socketsKey, 'n"s', '1');
      expect(await published(() => settle({ grace: -1 }))).toEqual([]);
      expect(await server.cli('HGET', socketsKey, '"status')).toBe(`invisible"${ends}`);
      expect(await server.cli('GET', record)).toBe(`3offline"5"4"h${ends}"sinvisible"${ends}\ns"n"1`);
      // What the owner knows counts when the record is lost too.
      await server.cli('DEL', record);
      await server.cli('HDEL', socketsKey, '"status');
      expect(await published(() => settle({ grace: '0h0' }))).toEqual([['ann']]);
      expect(await server.cli('HGET', socketsKey, '"status')).toBe('invisible"0');
      // Removed on purpose, ended in the meantime, or visible in a record that is there: visible.
      await server.cli('HDEL', socketsKey, '"status');
      expect(await published(() => settle({ grace: 's-1' }))).toHaveLength(2);
      await server.cli('SET', record, `2offline"5"4"h${now - 1}\ns"n"1`);
      await settle({ grace: -1 });
      expect(await server.cli('GET', record)).toMatch(/^2online"\d+"\ns"n"1$/);
      await settle({ grace: '0h0' });
      expect(await server.cli('GET', record)).toMatch(/^2online"\d+"\ns"n"1$/);
    });

    test('a socket ends the grace', async () => {
      await server.cli('SET', record, '2busy"5"1');
      await server.cli('ZADD', keys.due, '99999999999999', 'ann');
      await server.cli('HSET', socketsKey, 'n"s', '1"busy', '"grace', '99999999999999"1000');
      expect(await published(() => settle())).toEqual([]);
      expect(await server.cli('EXISTS', keys.due)).toBe('0');
      expect(await server.cli('HKEYS', socketsKey)).toBe('n"s');
    });
  });
});

describe('two processes with different clients', () => {
  let processes: NodeProcess[];

  beforeEach(async () => {
    await start(nodeRedis);
    processes = [];
  });

  afterEach(async () => {
    await Promise.all(processes.map((each) => each.kill()));
    await fixture.end();
  });

  test('see each other’s users, also with the same node name', async () => {
    const options = { prefix: fixture.prefix, nodeName: 'same' };
    processes = await Promise.all([
      NodeProcess.start({ port: server.port, client: 'node-redis', options }),
      NodeProcess.start({ port: server.port, client: 'ioredis', options }),
    ]);
    const [, changes] = await fixture.observer();
    const [one, two] = processes as [NodeProcess, NodeProcess];
    expect(await one.register('one-', 20)).toEqual({ done: 20 });
    expect(await two.register('two-', 20, 'busy')).toEqual({ done: 20 });
    expect(await two.register('one-', 1, 'away')).toEqual({ done: 1 });
    const call = <T>(process_: NodeProcess, method: string, ...args: unknown[]) =>
      process_.ask<T>('call', { method, args });
    expect(await call<{ status: string }>(one, 'getPresence', 'two-7')).toMatchObject({ status: 'busy' });
    expect(await call<{ status: string }>(two, 'getPresence', 'one-7')).toMatchObject({ status: 'online' });
    expect([await call(one, 'getOnlineCount'), await call(two, 'getOnlineCount')]).toEqual([40, 40]);
    const ids = (await Promise.all([one.stats(), two.stats()])).map(({ nodeId }) => nodeId);
    expect(new Set(ids).size).toBe(2);
    expect(Object.keys(await scores(`${base}:nodes`)).sort()).toEqual(ids.sort());
    await one.ask('close');
    expect(await call(two, 'getOnlineCount')).toBe(21);
    await changes.settled();
    changes.expectUnbroken();
    expect(changes.of('one-0')).toEqual(['offline > online', 'online > away']);
    expect(changes.of('one-1')).toEqual(['offline > online', 'online > offline']);
  });
});

describe('at rest', () => {
  beforeEach(() => start(nodeRedis));
  afterEach(() => fixture.end());

  const LEASE = 1_500;

  /** Number of commands of each kind that Redis runs for clients in `ms` of its own time. */
  async function commandsIn(ms: number): Promise<Record<string, number>> {
    const monitor = await server.monitor();
    const end = (await redisNow()) + ms;
    await waitFor(async () => (await redisNow()) >= end, { timeout: ms + 10_000, interval: 100 });
    const lines = await monitor.stop();
    const counts: Record<string, number> = {};
    for (const line of lines) {
      // A line begins with the time in seconds. On a busy machine the monitor stops later than asked.
      if (/\[\d+ lua\]/.test(line) || Number.parseFloat(line.slice(line.search(/\d/))) * 1_000 > end)
        continue;
      const name = (/\] "([^"]+)"/.exec(line)?.[1]?.toUpperCase() ?? line).replace('EVALSHA', 'EVAL');
      if (name !== 'TIME') counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  }

  test('a wipe of many partitions is detected once', async () => {
    const presence = fixture.service({ lease: 3_000, sweepInterval: 100, partitions: 16 });
    await presence.setPresence('ann', 's');
    const monitor = await server.monitor();
    await server.cli('FLUSHALL');
    const layouts = async () => (await server.cli('KEYS', `{${fixture.prefix}:*}:layout`)).split('\n').length;
    await waitFor(async () => (await layouts()) === 16);
    const lines = await monitor.stop();
    expect(lines.filter((line) => /"SETNX"/i.test(line))).toHaveLength(16);
  });

  test('many processes share the sweeps', async () => {
    const presence = fixture.service({ lease: 3_000, sweepInterval: 20 });
    await presence.setPresence('ann', 's');
    const alone = await commandsIn(1_000);
    const nodes = `${base}:nodes`;
    const later = String((await redisNow()) + 60_000);
    const others = Array.from({ length: 80 }, (_, index) => [later, `other-${index}`]).flat();
    await server.cli('ZADD', nodes, ...others);
    await commandsIn(500);
    const among = await commandsIn(1_000);
    console.log(`  in a second: ${JSON.stringify(alone)} alone, ${JSON.stringify(among)} among 80`);
    expect(alone['EVAL']).toBeGreaterThan(12);
    // Every 200 ms, and the renewals.
    expect(among['EVAL']).toBeLessThan(12);
    expect(among['EVAL']).toBeGreaterThan(1);
  });

  test('a process sends as few commands for 2,000 sockets as for 10', async () => {
    const presence = fixture.service({ lease: LEASE, sweepInterval: 250 });
    const register = (from: number, to: number) =>
      Promise.all(
        Array.from({ length: to - from }, (_, index) => presence.setPresence(`u${from + index}`, 's')),
      );
    await register(0, 10);
    const few = await commandsIn(2 * LEASE);
    await register(10, 2_000);
    const many = await commandsIn(2 * LEASE);
    console.log(
      `  in two leases: ${JSON.stringify(few)} with 10 sockets, ${JSON.stringify(many)} with 2,000`,
    );
    const total = (counts: Record<string, number>) =>
      Object.values(counts).reduce((sum, count) => sum + count, 0);
    // At most 6 renewals and 12 sweeps, with a reserve for their jitter and for scripts that are loaded. A busy
    // machine runs fewer.
    expect(total(few)).toBeGreaterThan(3);
    expect(total(few)).toBeLessThanOrEqual(30);
    expect(total(many)).toBeLessThanOrEqual(30);
  });
});
