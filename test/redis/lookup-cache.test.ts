import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { PresenceService, UnsupportedError } from '../../src/index.js';
import { createChaosDriver } from '../../src/testing/index.js';
import { PresenceFixture } from '../shared/presence-fixture.js';
import { backendOn, ioredis, nodeRedis } from '../shared/redis-clients.js';
import { FakeDriver } from '../support/fake-driver.js';
import { fc } from '../support/property.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

// The option lookupCache: lookups with it find what lookups without it find, whatever happens in between.

let server: RedisServer;
let fixture: PresenceFixture;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const USERS = Array.from({ length: 30 }, (_, at) => (at === 7 ? 'line\nfeed "quoted"' : `user${at}`));
const numberOf = async (command: string) =>
  Number(
    new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await server.cli('INFO', 'commandstats'))?.[1] ?? 0,
  );

describe.each([
  ['node-redis', nodeRedis],
  ['ioredis', ioredis],
])('a lookup cache, with %s', (_name, make) => {
  let writer: PresenceService;
  let plain: PresenceService;
  let cached: PresenceService;
  let changes: string;

  beforeEach(async () => {
    await server.cli('FLUSHALL');
    fixture = new PresenceFixture(backendOn(server, make));
    changes = `{${fixture.prefix}:0}:changes`;
    writer = fixture.service({});
    plain = fixture.service({});
    cached = fixture.service({ lookupCache: {} });
    await Promise.all(USERS.slice(0, 20).map((user) => writer.setPresence(user, `${user}-1`)));
  });
  afterEach(() => fixture.end());

  const expectSame = async (users: readonly string[] = USERS) => {
    const [expected, found] = [
      await plain.getMultiplePresence(users),
      await cached.getMultiplePresence(users),
    ];
    expect([...found]).toEqual([...expected]);
    return found;
  };
  /** How many records a lookup of all users reads. */
  const recordsRead = async () => {
    const before = await server.cli('INFO', 'stats');
    await cached.getMultiplePresence(USERS);
    const after = await server.cli('INFO', 'stats');
    const keyspace = (text: string) =>
      Number(/keyspace_hits:(\d+)/.exec(text)?.[1]) + Number(/keyspace_misses:(\d+)/.exec(text)?.[1]);
    return keyspace(after) - keyspace(before);
  };

  test('reads no unchanged record again, unknown users included', async () => {
    await expectSame();
    const mgets = await numberOf('mget');
    const found = await cached.getMultiplePresence(USERS);
    expect(found.size).toBe(20);
    expect(await numberOf('mget')).toBe(mgets);
    expect(await recordsRead()).toBeLessThan(5);
  });

  test('finds every kind of change at once, and reads only what has changed', async () => {
    await expectSame();
    const steps: (() => Promise<unknown>)[] = [
      () => writer.setPresence('user1', 'user1-2', 'busy', { device: 'phone' }),
      () => writer.setPresence('user2', 'user2-1', 'online', { device: 'tablet' }),
      () => writer.removeSocket('user3', 'user3-1'),
      () => plain.removeSocket('user4', 'user4-1'),
      () => writer.setPresence('user25', 'user25-1'),
      () => writer.setPresence(USERS[7] as string, 'x', 'away'),
      () => writer.setStatus('user5', 'invisible'),
      () => writer.setStatus('user5', null),
      () => writer.touch('user6', 'user6-1'),
      () => Promise.all(USERS.map((user) => writer.setPresence(user, 'last'))),
    ];
    for (const step of steps) {
      await step();
      await expectSame();
    }
    await writer.setPresence('user8', 'user8-3');
    expect(await recordsRead()).toBeLessThan(6);
    await expectSame();
  });

  test('a record written while it is being read is not kept', async () => {
    // Many lookups and writes at once; in the end everything must be as it is in Redis.
    for (let round = 0; round < 20; round++) {
      await Promise.all(
        USERS.slice(0, 10).flatMap((user, at) => [
          cached.getMultiplePresence(USERS),
          writer.setPresence(user, `${user}-${round}`, at % 2 === 0 ? 'busy' : 'online'),
        ]),
      );
      await expectSame();
    }
  });

  test('random writes, losses and lookups: never anything else than without a cache', async () => {
    const user = fc.constantFrom(...USERS);
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ type: fc.constant('set'), user, status: fc.constantFrom('online', 'busy') }),
      },
      { weight: 3, arbitrary: fc.record({ type: fc.constant('remove'), user }) },
      { weight: 6, arbitrary: fc.record({ type: fc.constant('lookup') }) },
      { weight: 1, arbitrary: fc.record({ type: fc.constantFrom('kill', 'forget', 'expire', 'trim') }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        for (const it of steps as { type: string; user?: string; status?: string }[]) {
          if (it.type === 'set') await writer.setPresence(it.user as string, 's', it.status);
          else if (it.type === 'remove') await writer.removeSocket(it.user as string, 's');
          else if (it.type === 'kill') await server.cli('CLIENT', 'KILL', 'TYPE', 'normal');
          else if (it.type === 'forget') await server.cli('SCRIPT', 'FLUSH');
          else if (it.type === 'expire') await server.cli('DEL', changes);
          else if (it.type === 'trim') await server.cli('LTRIM', changes, '-1', '-1');
          else await expectSame();
        }
        await expectSame();
      }),
      { numRuns: 15 },
    );
  });

  test('a wiped or restored Redis empties the cache', async () => {
    await expectSame();
    await server.cli('FLUSHALL');
    expect((await cached.getMultiplePresence(USERS)).size).toBe(
      (await plain.getMultiplePresence(USERS)).size,
    );
    await expectSame();
  });

  test('more users than maxUsers are looked up as without a cache', async () => {
    const small = fixture.service({ lookupCache: { maxUsers: 10 } });
    for (let round = 0; round < 3; round++) {
      expect([...(await small.getMultiplePresence(USERS))]).toEqual([
        ...(await plain.getMultiplePresence(USERS)),
      ]);
    }
  });

  test('results are frozen, and reveal is answered without the cache', async () => {
    const found = await expectSame();
    const presence = found.get('user1')!;
    expect(await cached.getMultiplePresence(USERS).then((again) => again.get('user1'))).toBe(presence);
    for (const part of [presence, presence.sockets, presence.socketIds, presence.sockets[0]]) {
      expect(Object.isFrozen(part)).toBe(true);
    }
    await writer.setStatus('user1', 'invisible');
    expect((await cached.getMultiplePresence(USERS)).get('user1')?.status).toBe('offline');
    expect((await cached.getMultiplePresence(USERS, { reveal: true })).get('user1')?.status).toBe(
      'invisible',
    );
    expect((await cached.getMultiplePresence(USERS)).get('user1')?.status).toBe('offline');
  });

  test('writers keep a list of changes only while a cache reads it, and the list is bounded', async () => {
    expect(await server.cli('EXISTS', changes)).toBe('0');
    await cached.getMultiplePresence(USERS);
    expect(Number(await server.cli('PTTL', changes))).toBeGreaterThan(0);
    for (let round = 0; round < 3; round++) {
      await server.cli('EVAL', "for i = 1, 900 do redis.call('RPUSH', KEYS[1], i) end", '1', changes);
      await writer.setPresence('user1', 'user1-1', round % 2 === 0 ? 'busy' : 'online');
    }
    expect(Number(await server.cli('LLEN', changes))).toBeLessThanOrEqual(2_000);
    await expectSame();
  });

  test('a connection that was lost empties the cache', async () => {
    const chaos = createChaosDriver(fixture.client());
    const service = fixture.service({ redis: chaos, lookupCache: {} });
    await service.getMultiplePresence(USERS);
    // The next server has another record, and no change that says so.
    chaos.cut();
    await server.cli('DEL', `{${fixture.prefix}:0}:user:user0`);
    chaos.restore();
    expect((await service.getMultiplePresence(USERS)).has('user0')).toBe(false);
  });

  test('a full Redis that cannot keep a list of changes is read without a cache', async () => {
    await Promise.all([plain.connect(), cached.connect()]);
    await server.cli('CONFIG', 'SET', 'maxmemory', '100kb');
    try {
      for (let round = 0; round < 2; round++) await expectSame();
      expect(await server.cli('EXISTS', changes)).toBe('0');
    } finally {
      await server.cli('CONFIG', 'SET', 'maxmemory', '0');
    }
  });
});

test('is refused on a Cluster', () => {
  const redis = new FakeDriver({ cluster: true });
  expect(() => new PresenceService({ redis, lookupCache: {} })).toThrow(UnsupportedError);
});
