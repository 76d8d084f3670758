import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { PresenceService } from '../../src/index.js';
import { createChaosDriver } from '../../src/testing/index.js';
import { type Changes, PresenceFixture } from '../shared/presence-fixture.js';
import { backendOn, nodeRedis } from '../shared/redis-clients.js';
import { period, timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// A key of the wrong type in the place of one user's key stays there. Calls for that user may fail forever, but
// leases, sweeps, reaping, restoring and closing must work for all other users.

const LEASE = period(900);
const options = { lease: LEASE, sweepInterval: 50, timeout: 2_000 };

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

afterEach(async () => {
  await server.cli('DEL', `${base}:sockets:odd`);
  // What cannot be done about the odd one is reported, and nothing else is.
  const others = fixture.errors.filter((error) => !error.includes('WRONGTYPE'));
  fixture.errors.length = 0;
  await fixture.end();
  expect(others).toEqual([]);
});

async function poison(): Promise<void> {
  await server.cli('DEL', `${base}:sockets:odd`);
  await server.cli('SET', `${base}:sockets:odd`, 'not a hash');
}

/** A node that owns users `prefix0` … and can be cut off, as if its process had died. */
async function createDisposableNode(prefix: string, users: string[] = []): Promise<() => void> {
  const chaos = createChaosDriver(fixture.client());
  const service = fixture.service({ ...options, redis: chaos, timeout: timeLimit(600), onError: () => {} });
  const all = [...Array.from({ length: 20 }, (_, index) => `${prefix}${index}`), ...users];
  await Promise.all(all.map((user) => service.setPresence(user, 's')));
  return () => chaos.cut();
}

async function untilGone(survivor: PresenceService, changes: Changes, prefix: string): Promise<void> {
  const users = Array.from({ length: 20 }, (_, index) => `${prefix}${index}`);
  for (const user of users) await changes.until(user, 'offline', 4 * LEASE + 2_000);
  for (const record of (await survivor.getMultiplePresence(users)).values()) {
    expect(record).toMatchObject({ status: 'offline', socketIds: [] });
  }
}

test('of a dead node: the other users of that node, and other dead nodes, are reaped', async () => {
  const [survivor, changes] = await fixture.observer(options);
  const cutFirst = await createDisposableNode('first-', ['odd']);
  const cutSecond = await createDisposableNode('second-');
  await poison();
  cutFirst();
  await untilGone(survivor, changes, 'first-');
  cutSecond();
  await untilGone(survivor, changes, 'second-');
});

test('when the grace of its user ends: other graces end, and dead nodes are reaped', async () => {
  const [survivor, changes] = await fixture.observer({ ...options, grace: 150 });
  const cut = await createDisposableNode('dead-');
  await survivor.setPresence('odd', 's');
  await survivor.removeSocket('odd', 's');
  await poison();
  await survivor.setPresence('waiting', 's');
  await survivor.removeSocket('waiting', 's');
  await changes.until('waiting', 'offline', 3_000);
  cut();
  await untilGone(survivor, changes, 'dead-');
});

test('after a failed call for its user: dead nodes are reaped', async () => {
  const [survivor, changes] = await fixture.observer(options);
  const cut = await createDisposableNode('dead-');
  await poison();
  await expect(survivor.setPresence('odd', 's')).rejects.toThrow(/WRONGTYPE/);
  cut();
  await untilGone(survivor, changes, 'dead-');
});

test('after a loss of all data: the owner restores all other users', async () => {
  const owner = fixture.service(options);
  const users = Array.from({ length: 2_500 }, (_, index) => (index === 500 ? 'odd' : `u${index}`));
  await Promise.all(users.map((user) => owner.setPresence(user, 's')));
  await server.cli('FLUSHALL');
  await poison();
  await waitFor(async () => (await owner.getOnlineCount()) >= 2_499, {
    timeout: 2 * LEASE + 4_000,
    message: () => `all other users to be back (${server.port})`,
  });
});

test('when its owner closes: all other users are reported offline at once', async () => {
  const [observer, changes] = await fixture.observer(options);
  const leaving = fixture.service(options);
  const users = Array.from({ length: 300 }, (_, index) => (index === 150 ? 'odd' : `u${index}`));
  await Promise.all(users.map((user) => leaving.setPresence(user, 's')));
  await poison();
  await leaving.close();
  const records = await observer.getMultiplePresence(users.filter((user) => user !== 'odd'));
  expect(records.size).toBe(299);
  for (const record of records.values()) expect(record.status).toBe('offline');
  await changes.settled();
  expect(
    changes.list.filter(({ status, userId }) => status === 'offline' && userId.startsWith('u')),
  ).toHaveLength(299);
});
