import { createClient } from 'redis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { LimitError, type PresenceService, type RedisClient } from '../../src/index.js';
import { systemClock } from '../../src/internal/clock.js';
import { createChaosDriver } from '../../src/testing/index.js';
import { PresenceFixture } from '../shared/presence-fixture.js';
import { backendOn, nodeRedis } from '../shared/redis-clients.js';
import { period, timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// What owners of sockets do about lost entries and removals by others.

const LEASE = period(900);
const options = { lease: LEASE, sweepInterval: 50, timeout: 2_000, keyTtl: period(4_000) };

let server: RedisServer;
let fixture: PresenceFixture;
let base: string;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

beforeEach(async () => {
  await server.cli('FLUSHALL');
  fixture = new PresenceFixture(backendOn(server, nodeRedis));
  base = `{${fixture.prefix}:0}`;
});

afterEach(() => fixture.end());

async function redisNow(): Promise<number> {
  const [seconds, micros] = (await server.cli('TIME')).split('\n');
  return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
}

async function redisTime(ms: number): Promise<void> {
  const end = (await redisNow()) + ms;
  await waitFor(async () => (await redisNow()) >= end, { timeout: ms + 20_000, interval: 50 });
}

/** A service that owns sockets and can be cut off, as if its process had died. */
function createDisposableNode(more: object = {}): { service: PresenceService; disconnect: () => void } {
  const chaos = createChaosDriver(fixture.client());
  const service = fixture.service({
    ...options,
    ...more,
    redis: chaos,
    timeout: timeLimit(600),
    onError: () => {},
  });
  return { service, disconnect: () => chaos.cut() };
}

async function onlineUsers(service: PresenceService): Promise<string[]> {
  const users: string[] = [];
  for await (const user of service.listOnlineUsers()) users.push(user);
  return users.sort();
}

test('a removal by another process whose notification was missed is final, also after a lost lease', async () => {
  const chaos = createChaosDriver(fixture.client());
  const owner = fixture.service({ ...options, redis: chaos, onError: () => {} });
  const admin = fixture.service(options);
  await owner.setPresence('ann', 'kicked');
  await owner.setPresence('ann', 'stays');
  chaos.cut();
  await admin.removeSocket('ann', 'kicked');
  expect(await admin.getPresence('ann')).toMatchObject({ socketIds: ['stays'] });
  // Its lease runs out meanwhile, so that it restores all it knows of when it is back.
  await waitFor(async () => (await admin.getPresence('ann'))?.status === 'offline', { timeout: 20_000 });
  chaos.restore();
  await waitFor(async () => (await admin.getPresence('ann'))?.status === 'online', { timeout: 20_000 });
  await redisTime(2 * LEASE);
  expect(await admin.getPresence('ann')).toMatchObject({ socketIds: ['stays'] });
  expect(owner.stats().sockets).toBe(1);
}, 60_000);

test('a removal of a socket that nobody has does not affect its registration, even if a clock lags', async () => {
  const [owner, admin] = [fixture.service(options), fixture.service(options)];
  await admin.setPresence('zoe', 's');
  await admin.removeSocket('ann', 's');
  await admin.disconnectUser('ann');
  // Everything before a moment in the future is removed, as it looks to an owner whose clock lags.
  const ahead = ((await redisNow()) + 60_000).toString(36);
  await server.cli('HSET', `${base}:sockets:ann`, '"removed"', ahead, '"removed"s', ahead);
  expect(await owner.setPresence('ann', 's')).toMatchObject({ status: 'online', socketIds: ['s'] });
  expect(await owner.setPresence('ann', 's', 'busy')).toMatchObject({ status: 'busy', socketIds: ['s'] });
  expect(await owner.setPresence('ann', 't')).toMatchObject({ status: 'busy', socketIds: ['s', 't'] });
  const field = `${owner.stats().nodeId}"s`;
  await server.cli('HDEL', `${base}:sockets:ann`, field);
  const restored = async () => (await server.cli('HEXISTS', `${base}:sockets:ann`, field)) === '1';
  await waitFor(restored, { timeout: 20_000 });
  expect(await admin.getPresence('ann')).toMatchObject({ status: 'busy', socketIds: ['s', 't'] });
  expect(owner.stats().sockets).toBe(2);
}, 30_000);

test('removals and registrations by one process take effect in the order of the calls', async () => {
  const [service, other] = [fixture.service(options), fixture.service(options)];
  for (let round = 0; round < 20; round++) {
    const user = `u${round}`;
    const calls = [
      service.removeSocket(user, 's'),
      service.setPresence(user, 's'),
      service.disconnectUser(`${user}-all`),
      service.setPresence(`${user}-all`, 's'),
      service.setPresence(`${user}-out`, 's'),
      service.disconnectUser(`${user}-out`),
    ];
    await Promise.all(calls);
    expect(await other.getPresence(user)).toMatchObject({ status: 'online' });
    expect(await other.getPresence(`${user}-all`)).toMatchObject({ status: 'online' });
    expect(await other.getPresence(`${user}-out`)).toMatchObject({ status: 'offline' });
  }
  await waitFor(() => service.stats().sockets === 40);
  // Not even when the removals are written again.
  await server.cli('FLUSHALL');
  await waitFor(async () => (await other.getOnlineCount()) === 40, { timeout: 20_000 });
  await redisTime(2 * LEASE);
  expect(await other.getOnlineCount()).toBe(40);
}, 60_000);

test('a removal while all entries of the user are missing ends only the removed socket', async () => {
  const admin = fixture.service({ ...options, grace: 300 });
  const owner = fixture.service({ ...options, grace: 300 });
  await owner.setPresence('ann', 'kicked');
  await owner.setPresence('ann', 'stays');
  await server.cli('DEL', `${base}:sockets:ann`);
  expect(await admin.removeSocket('ann', 'kicked')).toMatchObject({ status: 'online' });
  // The owner writes the kicked socket again, not knowing of the removal.
  await owner.setPresence('ann', 'kicked', 'busy');
  await waitFor(() => owner.stats().sockets === 1, { timeout: 20_000 });
  const isBack = async () => (await admin.getPresence('ann'))?.socketIds.join() === 'stays';
  await waitFor(isBack, { timeout: 20_000 });
}, 40_000);

test('removals of unknown sockets are kept up to a limit, and end with the TTL of a record', async () => {
  const presence = fixture.service(options);
  for (let at = 0; at < 120; at++) await presence.removeSocket('nobody', `s${at}`);
  expect(await server.cli('HLEN', `${base}:sockets:nobody`)).toBe('100');
  expect(await server.cli('HEXISTS', `${base}:sockets:nobody`, '"removed"s119')).toBe('1');
  expect(Number(await server.cli('PTTL', `${base}:sockets:nobody`))).toBeGreaterThan(options.keyTtl);
  const old = ((await redisNow()) - 8 * 86_400_000).toString(36);
  await server.cli('HSET', `${base}:sockets:bob`, '"removed"', old);
  await presence.setPresence('bob', 's');
  expect(await server.cli('HKEYS', `${base}:sockets:bob`)).toBe(`${presence.stats().nodeId}"s`);
}, 30_000);

test('disconnectUser removes the sockets of all processes, and calls each one’s handlers with the reason', async () => {
  const [one, two] = [fixture.service(options), fixture.service(options)];
  const admin = fixture.service({ ...options, grace: 300 });
  const closed: string[] = [];
  const handler = (...args: string[]): void => void closed.push(args.join(' '));
  const stop = [one, two, two].map((service) => service.onDisconnected(handler));
  await one.setPresence('ann "a"', 's 1');
  await two.setPresence('ann "a"', 's2');
  await two.setPresence('bob', 's3');
  expect(await admin.disconnectUser('ann "a"', 'the "end"\n')).toMatchObject({ status: 'offline' });
  await waitFor(() => closed.length === 3);
  expect(closed.sort()).toEqual([
    'ann "a" s 1 the "end"\n',
    'ann "a" s2 the "end"\n',
    'ann "a" s2 the "end"\n',
  ]);
  expect([one.stats().sockets, two.stats().sockets]).toEqual([0, 1]);
  for (const each of stop) each();
  await one.disconnectUser('bob');
  await waitFor(() => two.stats().sockets === 0);
  expect(closed).toHaveLength(3);
  await expect(admin.disconnectUser('ann', 5 as never)).rejects.toThrow('reason: must be a string');
}, 30_000);

test('a removal, then a wipe of Redis, before an owner that was cut off learns of it is final', async () => {
  const chaos = createChaosDriver(fixture.client());
  const owner = fixture.service({ ...options, redis: chaos, onError: () => {} });
  const admin = fixture.service(options);
  await owner.setPresence('ann', 'kicked');
  await owner.setPresence('bob', 'stays');
  chaos.cut();
  await admin.removeSocket('ann', 'kicked');
  await server.cli('FLUSHALL');
  chaos.restore();
  await waitFor(async () => (await admin.getPresence('bob'))?.status === 'online', { timeout: 20_000 });
  await waitFor(() => owner.stats().sockets === 1, { timeout: 20_000 });
  await redisTime(2 * LEASE);
  expect((await admin.getPresence('ann'))?.status ?? 'offline').toBe('offline');
}, 40_000);

test('a removal by another process does not affect a later registration of the same socket', async () => {
  const [owner, admin] = [fixture.service(options), fixture.service(options)];
  const first = await owner.setPresence('ann', 's');
  const since = first.sockets[0]?.connectedAt.getTime() ?? 0;
  await server.cli(
    'PUBLISH',
    `${base}:inbox:${owner.stats().nodeId}`,
    `["ann\\"s\\"${(since - 5).toString(36)}"]`,
  );
  await redisTime(LEASE);
  expect(await admin.getPresence('ann')).toMatchObject({ status: 'online', socketIds: ['s'] });
  expect(owner.stats().sockets).toBe(1);
}, 30_000);

test('after an eviction each process restores its own entries of a room, a user and the index', async () => {
  const [a, changes] = await fixture.observer(options);
  const b = fixture.service(options);
  for (const [service, name] of [
    [a, 'a'],
    [b, 'b'],
  ] as const) {
    for (let at = 0; at < 20; at++) {
      await service.setPresence(`${name}${at}`, 's');
      await service.join('lobby', `${name}${at}`, 's');
    }
    await service.setPresence('ann', `on-${name}`);
  }
  await server.cli('DEL', `${base}:room:lobby`, `${base}:sockets:ann`, `${base}:user:ann`, `${base}:online`);
  await a.setPresence('late', 's');
  await a.join('lobby', 'late', 's');
  const complete = async () =>
    (await b.getRoomCounts(['lobby'])).get('lobby') === 41 &&
    (await b.getPresence('ann'))?.socketIds.length === 2 &&
    (await onlineUsers(b)).length === 42;
  await waitFor(complete, { timeout: 20_000 });
  await a.removeSocket('ann', 'on-a');
  expect(await b.getPresence('ann')).toMatchObject({ status: 'online', socketIds: ['on-b'] });
  expect(changes.of('ann')).toEqual(['offline > online']);
}, 60_000);

test('the owner set of a node that lost members lists all of its sockets again for the reaper', async () => {
  const [survivor, changes] = await fixture.observer(options);
  const { service, disconnect } = createDisposableNode();
  await service.setPresence('ann', 's');
  await server.cli('DEL', `${base}:node:${service.stats().nodeId}`);
  await service.setPresence('bob', 's');
  await waitFor(async () => (await server.cli('SCARD', `${base}:node:${service.stats().nodeId}`)) === '2', {
    timeout: 20_000,
  });
  disconnect();
  await changes.until('ann', 'offline', 20_000);
  await changes.until('bob', 'offline', 20_000);
  expect(await survivor.getOnlineCount()).toBe(0);
}, 60_000);

test('the owner set of a node whose sockets are only in rooms is restored after its eviction', async () => {
  const survivor = fixture.service(options);
  const { service, disconnect } = createDisposableNode();
  await service.join('lobby', 'ann', 's');
  await service.join('hall', 'ann', 's');
  const set = `${base}:node:${service.stats().nodeId}`;
  await server.cli('DEL', set);
  // An entry that is written again does not hide the loss of the others.
  await service.join('hall', 'bob', 's');
  await waitFor(async () => (await server.cli('SCARD', set)) === '2', { timeout: 20_000 });
  disconnect();
  const members = async () => [...(await survivor.getRoomCounts(['lobby', 'hall'])).values()];
  await waitFor(async () => (await members()).every((count) => count === 0), { timeout: 20_000 });
}, 60_000);

test('the owner set of a node lists its rooms again, although its sockets were written after the eviction', async () => {
  const survivor = fixture.service(options);
  const { service, disconnect } = createDisposableNode();
  await service.setPresence('ann', 's');
  await service.join('lobby', 'ann', 's');
  const set = `${base}:node:${service.stats().nodeId}`;
  await server.cli('DEL', set);
  await service.setPresence('ann', 's', 'away');
  await waitFor(async () => (await server.cli('SCARD', set)) === '2', { timeout: 20_000 });
  disconnect();
  await waitFor(async () => (await survivor.getRoomCounts(['lobby'])).get('lobby') === 0, {
    timeout: 20_000,
  });
}, 60_000);

test('all processes disconnect, and the next one starts after keyTtl: no user is left in the index and in rooms', async () => {
  const { service, disconnect } = createDisposableNode();
  await service.setPresence('ann', 's');
  await service.join('lobby', 'ann', 's');
  const alive = await redisNow();
  disconnect();
  await redisTime(options.keyTtl + 1_000);
  const [late, changes] = await fixture.observer(options);
  await late.setPresence('zoe', 's');
  await late.join('lobby', 'zoe', 's');
  await changes.until('ann', 'offline', 20_000);
  expect(await onlineUsers(late)).toEqual(['zoe']);
  await waitFor(async () => (await late.getRoomCounts(['lobby'])).get('lobby') === 1, { timeout: 20_000 });
  const lastSeen = (await late.getPresence('ann'))?.lastSeen.getTime() ?? 0;
  expect(Math.abs(lastSeen - alive)).toBeLessThan(LEASE);
}, 60_000);

test('a member of the index without a record is removed from it', async () => {
  await server.cli('SADD', `${base}:online`, 'ghost');
  const presence = fixture.service(options);
  await presence.setPresence('ann', 's');
  await waitFor(async () => (await onlineUsers(presence)).length === 1, { timeout: 20_000 });
  expect(await onlineUsers(presence)).toEqual(['ann']);
}, 30_000);

test('a death is found although Redis’s clock stepped back by an hour', async () => {
  const [, changes] = await fixture.observer(options);
  const { service, disconnect } = createDisposableNode();
  await service.setPresence('ann', 's');
  disconnect();
  // What a step back by an hour makes of the lease: it ends an hour too late.
  await server.cli('ZADD', `${base}:nodes`, String((await redisNow()) + 3_600_000), service.stats().nodeId);
  await changes.until('ann', 'offline', 20_000);
}, 40_000);

test('a running grace ends although Redis’s clock stepped back by an hour', async () => {
  const first = fixture.service({ ...options, grace: 300 });
  await first.setPresence('ann', 's');
  await first.removeSocket('ann', 's');
  await first.close();
  const due = (await redisNow()) + 3_600_000;
  await server.cli('HSET', `${base}:sockets:ann`, '"grace', `${due}"300`);
  await server.cli('ZADD', `${base}:due`, String(due), 'ann');
  await server.cli('SET', `${base}:user:ann`, '2online"5"4');
  const [, changes] = await fixture.observer({ ...options, grace: 300 });
  await changes.until('ann', 'offline', 20_000);
}, 40_000);

test('a client that its owner closes before the service is reported at once, and shown in stats', async () => {
  const redis = createClient({ url: `redis://127.0.0.1:${server.port}` });
  redis.on('error', () => {});
  const presence = fixture.service({ ...options, redis: redis as unknown as RedisClient });
  await presence.setPresence('ann', 's');
  expect(presence.stats().renewing).toBe(true);
  redis.destroy();
  await waitFor(() => fixture.errors.some((error) => error.startsWith('renew: the Redis client was closed')));
  expect(presence.stats().renewing).toBe(false);
  await redisTime(2 * LEASE);
  expect(fixture.errors.filter((error) => error.includes('was closed'))).toHaveLength(1);
  fixture.errors.length = 0;
}, 30_000);

test('a socket over the limit is rejected: permanently for own sockets, for a lease for those of other processes', async () => {
  const limited = { ...options, maxSocketsPerUser: 2 };
  const presence = fixture.service(limited);
  const { service, disconnect } = createDisposableNode(limited);
  await presence.setPresence('bob', 's1');
  await presence.setPresence('bob', 's2');
  const forGood = await presence.setPresence('bob', 's3').catch((error: unknown) => error);
  expect(forGood).toBeInstanceOf(LimitError);
  expect(forGood).toMatchObject({ retryAfter: undefined });

  await service.setPresence('ann', 's1');
  await service.setPresence('ann', 's2');
  disconnect();
  await expect(presence.setPresence('ann', 's3')).rejects.toMatchObject({
    name: 'LimitError',
    retryAfter: LEASE,
  });
  const admitted = async () =>
    (await presence.setPresence('ann', 's3').catch(() => undefined))?.socketIds.includes('s3') === true;
  await waitFor(admitted, { timeout: 20_000, interval: 50 });
}, 40_000);

test('a process of another format does not start, and its error says what to do', async () => {
  await server.cli('SET', `${base}:layout`, '1 kJ3x_9aQ');
  const presence = fixture.service(options);
  await expect(presence.connect()).rejects.toMatchObject({ name: 'ConfigurationError' });
  await expect(presence.connect()).rejects.toThrow(/format 1.*format 2.*another prefix/);
  expect(await server.cli('KEYS', '*')).toBe(`${base}:layout`);
  await server.cli('SET', `${base}:layout`, 'f3 1 kJ3x_9aQ');
  await expect(presence.connect()).rejects.toThrow(/format 3/);
});

test('of two processes that register one socket the later counts, although the clock of the other is an hour ahead', async () => {
  const ahead = { ...systemClock, now: () => systemClock.now() + 3_600_000 };
  const [one, other] = [fixture.service({ ...options, clock: ahead }), fixture.service(options)];
  await one.setPresence('ann', 's', 'busy');
  await waitFor(
    async () => (await redisNow()) > ((await one.getPresence('ann'))?.lastSeen.getTime() ?? 0) + 5,
  );
  expect(await other.setPresence('ann', 's', 'away')).toMatchObject({ status: 'away' });
  expect(await one.getPresence('ann')).toMatchObject({ status: 'away' });
});

test.each(['while connected', 'in the grace'])(
  'an idle user who reconnects to another process, %s, stays away',
  async (when) => {
    const idle = { ...options, idleAfter: 400, grace: 1_000, keyTtl: period(10_000) };
    const [one, changes] = await fixture.observer(idle);
    const other = fixture.service(idle);
    await one.setPresence('ann', 's1', 'online', { device: 'phone' });
    await changes.until('ann', 'away', 10_000);
    if (when === 'in the grace') await one.removeSocket('ann', 's1');
    expect(await other.setPresence('ann', 's2', 'online', { device: 'tv' })).toMatchObject({
      status: 'away',
    });
    await one.removeSocket('ann', 's1');
    expect(changes.of('ann')).toEqual(['offline > online', 'online > away']);
    expect(await other.getPresence('ann')).toMatchObject({
      status: 'away',
      sockets: [{ meta: { device: 'tv' } }],
    });
    // A wipe: the process writes what it knows.
    await server.cli('FLUSHALL');
    await waitFor(async () => (await other.getPresence('ann'))?.status === 'away', { timeout: 10_000 });
    await other.touch('ann', 's2');
    await waitFor(() => changes.of('ann').at(-1) === 'away > online', { timeout: 10_000 });
    // Without sockets elsewhere, or with one that is in use, a new one is online.
    await one.setPresence('bob', 's1');
    expect(await other.setPresence('bob', 's2')).toMatchObject({ status: 'online' });
  },
  30_000,
);

test('a reconnect does not count as activity: an idle user stays away', async () => {
  const [presence, changes] = await fixture.observer({
    ...options,
    idleAfter: 400,
    grace: 1_000,
    keyTtl: period(10_000),
  });
  await presence.setPresence('ann', 's1');
  await changes.until('ann', 'away', 10_000);
  await presence.removeSocket('ann', 's1');
  expect(await presence.setPresence('ann', 's2')).toMatchObject({ status: 'away' });
  expect(changes.of('ann')).toEqual(['offline > online', 'online > away']);
  await presence.touch('ann', 's2');
  await changes.until('ann', 'online', 10_000);
  // A call for a socket that is there counts as activity.
  await changes.until('ann', 'away', 10_000);
  expect(await presence.setPresence('ann', 's2')).toMatchObject({ status: 'online' });
}, 30_000);
