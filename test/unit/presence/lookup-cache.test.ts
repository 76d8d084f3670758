import { beforeEach, expect, test } from 'vitest';
import { PartitionKeys } from '../../../src/presence/keys.js';
import { LookupCache, type LookupCacheSettings } from '../../../src/presence/lookup-cache.js';
import type { LookupResult } from '../../../src/presence/presence-reader.js';
import { ClientHandle, SharedClient } from '../../../src/redis/client-handle.js';
import type { Reply } from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

const IDS = Array.from({ length: 10 }, (_, at) => `u${at}`);

let driver: FakeDriver;
let clock: FakeClock;
/** Lookups that reached Redis: their users, and a function that answers them. */
let reads: { users: string[]; answer: (version: number) => void }[];

beforeEach(() => {
  driver = new FakeDriver();
  clock = new FakeClock();
  reads = [];
});

function create(settings: Partial<LookupCacheSettings> = {}): LookupCache {
  const client = new ClientHandle('PresenceService', new SharedClient(driver, () => {}), 1_000_000, clock);
  const lookup = (userIds: ReadonlySet<string>) =>
    new Promise<LookupResult>((resolve) => {
      const users = [...userIds];
      const answer = (version: number) => {
        const records = users.map((userId) => {
          const presence = {
            userId,
            status: 'online',
            lastSeen: new Date(0),
            socketIds: [],
            sockets: [],
            version,
          };
          return [userId, presence] as const;
        });
        resolve({ records: new Map(records), unreadable: new Set() });
      };
      reads.push({ users, answer });
    });
  const parts = { client, keys: [new PartitionKeys('p', 0)], reader: { lookup }, clock };
  return new LookupCache(parts, { maxUsers: 100, maxAge: 1_000, ...settings });
}

/** Starts a lookup, and answers its request for the list of changes. */
async function start(cache: LookupCache, changes: Reply, ids = IDS) {
  const result = cache.lookup(new Set(ids));
  await turn();
  driver.only.ack([changes]);
  await turn();
  return result.then((found) => [...found.values()].map(({ version }) => version));
}

/** The versions from the cache, or the users that had to be read from Redis. */
async function cachedVersions(cache: LookupCache, changes: Reply): Promise<number[] | string[]> {
  const before = reads.length;
  const result = start(cache, changes);
  await turn();
  await turn();
  const read = reads[before];
  if (read !== undefined) return read.users;
  return result;
}

async function filled(settings?: Partial<LookupCacheSettings>): Promise<LookupCache> {
  const cache = create(settings);
  const result = start(cache, [0, 'c1']);
  await turn();
  await turn();
  reads[0]?.answer(1);
  await result;
  return cache;
}

test('records are cached until a change names them', async () => {
  const cache = await filled();
  expect(await cachedVersions(cache, [1])).toEqual(IDS.map(() => 1));
  expect(await cachedVersions(cache, [1, 'c2\nu3\nu5', 'c3\nu4'])).toEqual(['u3', 'u5', 'u4'].sort());
  const call = driver.calls.at(-1)?.commands[0];
  expect(call).toMatchObject({ args: ['c1', expect.any(String), '600000', expect.any(String)] });
  // The next request starts after the last known change.
  reads[1]?.answer(2);
  await turn();
  expect(await cachedVersions(cache, [1])).toHaveLength(10);
  expect(driver.calls.at(-1)?.commands[0]).toMatchObject({
    args: ['c3\nu4', expect.any(String), '600000', expect.any(String)],
  });
});

test('an unknown change or a lost connection empties the cache', async () => {
  const cache = await filled();
  expect(await cachedVersions(cache, [0, 'c9'])).toEqual(IDS);
  reads[1]?.answer(2);
  await turn();
  expect(await cachedVersions(cache, [1])).toEqual(IDS.map(() => 2));
  driver.connection('lost');
  driver.connection('ready');
  const before = reads.length;
  void start(cache, [1]);
  await turn();
  await turn();
  expect(driver.calls.at(-1)?.commands[0]).toMatchObject({
    args: ['', expect.any(String), '600000', expect.any(String)],
  });
  expect(reads[before]?.users).toEqual(IDS);
});

test('a record is not cached if it was written or the connection was lost during the read', async () => {
  for (const disturb of ['change', 'loss']) {
    reads = [];
    const cache = create();
    void start(cache, [0, 'c1']);
    await turn();
    await turn();
    if (disturb === 'loss') {
      driver.connection('lost');
      driver.connection('ready');
    } else {
      // Another lookup learns of the change first.
      void start(cache, [1, `c2\n${IDS.join('\n')}`]);
      await turn();
      await turn();
    }
    reads[0]?.answer(1);
    await turn();
    const before = reads.length;
    void start(cache, [1]);
    await turn();
    await turn();
    expect([disturb, reads[before]?.users]).toEqual([disturb, IDS]);
    driver = new FakeDriver();
  }
});

test('a record is cached for maxAge, and at most maxUsers records are cached', async () => {
  const cache = await filled();
  clock.advance(1_000);
  expect(await cachedVersions(cache, [1])).toEqual(IDS.map(() => 1));
  clock.advance(1);
  expect(await cachedVersions(cache, [1])).toEqual(IDS);
  reads = [];
  const small = await filled({ maxUsers: 9 });
  expect(await cachedVersions(small, [1])).toEqual(['u0']);
});

test('nothing is cached without a list of changes', async () => {
  const cache = create();
  for (let round = 0; round < 2; round++) {
    const result = start(cache, [0]);
    await turn();
    await turn();
    expect(reads[round]?.users).toEqual(IDS);
    reads[round]?.answer(1);
    await result;
  }
});

test('a lookup of few users reads them directly and caches nothing', async () => {
  const cache = create();
  void cache.lookup(new Set(IDS.slice(0, 7)));
  await turn();
  expect(driver.calls.filter(({ method }) => method === 'execute')).toEqual([]);
  expect(reads[0]?.users).toHaveLength(7);
});
