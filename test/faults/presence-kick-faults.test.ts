import { afterEach, beforeEach, expect, test } from 'vitest';
import { period, timeLimit } from '../support/machine.js';
import { NodeProcess } from '../support/node-process.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { RespConnection } from '../support/resp.js';
import { waitFor } from '../support/wait.js';

// Removals and statuses that are written while the process that owns the sockets is stopped by SIGSTOP. They hold when it
// goes on, although it was taken for dead and restores its sockets, and although Redis was wiped in the meantime.

const LEASE = period(2_000);
const PREFIX = 'kicks';
const BASE = `{${PREFIX}:0}`;
const COUNT = 5;

let server: RedisServer;
let owner: NodeProcess;
let admin: NodeProcess;
let subscription: RespConnection;
/** Every published change, as "user status". */
let changes: string[];

beforeEach(async () => {
  server = await startRedis();
  changes = [];
  subscription = await RespConnection.open(server.port, 5_000, (reply) => {
    if (!Array.isArray(reply) || reply[0] !== 'message') return;
    for (const [user, status] of JSON.parse(String(reply[2])) as string[][])
      changes.push(`${user} ${status}`);
  });
  await subscription.send(['SUBSCRIBE', `${BASE}:events`], 5_000);
  const options = { prefix: PREFIX, lease: LEASE };
  owner = await NodeProcess.start({ port: server.port, options });
  admin = await NodeProcess.start({ port: server.port, client: 'ioredis', options });
  await owner.register('kicked-', COUNT);
  await owner.register('stays-', COUNT);
});

afterEach(async () => {
  subscription.close();
  await Promise.all([owner.kill(), admin.kill()]);
  await server.stop();
});

async function afterRedisTime(ms: number): Promise<void> {
  const now = async () => Number((await server.cli('TIME')).split('\n')[0]) * 1_000;
  const end = (await now()) + ms + 1_000;
  await waitFor(async () => (await now()) >= end, { timeout: ms + 30_000, interval: 50 });
}

async function online(): Promise<string[]> {
  return (await server.cli('SMEMBERS', `${BASE}:online`)).split('\n').filter(Boolean).sort();
}

const names = (prefix: string) => Array.from({ length: COUNT }, (_, at) => `${prefix}${at}`);
const call = (node: NodeProcess, method: string, ...args: unknown[]) => node.ask('call', { method, args });

const kicks: [string, () => Promise<unknown>][] = [
  ['removeSocket', () => admin.ask('remove', { prefix: 'kicked-', count: COUNT })],
  [
    'disconnectUser',
    () => Promise.all(names('kicked-').map((user) => call(admin, 'disconnectUser', user, 'spam'))),
  ],
];

async function frozenUntilReaped(): Promise<void> {
  owner.freeze();
  await waitFor(async () => (await online()).length === 0, { timeout: timeLimit(4 * LEASE) });
}

/** The owner goes on: its other users are back, and the kicked ones stay away for two leases. */
async function expectFinal(): Promise<void> {
  owner.thaw();
  await waitFor(async () => names('stays-').every((user) => changes.lastIndexOf(`${user} online`) >= 0), {
    timeout: timeLimit(10_000),
  });
  await waitFor(async () => (await owner.stats()).sockets === COUNT, { timeout: timeLimit(10_000) });
  await afterRedisTime(2 * LEASE);
  expect(await online()).toEqual(names('stays-'));
  expect((await owner.stats()).sockets).toBe(COUNT);
  // Wiped again: the owner restores what it owns now.
  await server.cli('FLUSHALL');
  await waitFor(async () => (await online()).length >= COUNT, { timeout: timeLimit(4 * LEASE) });
  await afterRedisTime(LEASE);
  expect(await online()).toEqual(names('stays-'));
}

test.each(kicks)(
  '%s while the owner is taken for dead by mistake: it does not restore the sockets',
  async (_, kick) => {
    await frozenUntilReaped();
    await kick();
    changes.length = 0;
    await expectFinal();
    expect(changes.filter((change) => change.startsWith('kicked-'))).toEqual([]);
  },
  120_000,
);

test.each(kicks)(
  '%s, then a wipe of Redis, before the owner learns of it: it does not restore the sockets',
  async (_, kick) => {
    owner.freeze();
    await kick();
    await server.cli('FLUSHALL');
    await expectFinal();
  },
  120_000,
);

test.each(kicks)(
  '%s while the owner is taken for dead, then a wipe of Redis: it does not restore the sockets',
  async (_, kick) => {
    await frozenUntilReaped();
    await kick();
    await server.cli('FLUSHALL');
    await expectFinal();
  },
  120_000,
);

test('a removal after a wipe that the owner has not noticed: it does not restore the sockets', async () => {
  owner.freeze();
  await server.cli('FLUSHALL');
  await (kicks[0] as (typeof kicks)[0])[1]();
  await expectFinal();
}, 120_000);

test('a status that is removed right after a wipe stays removed', async () => {
  await call(owner, 'setStatus', 'stays-0', 'invisible');
  await waitFor(async () => !(await online()).includes('stays-0'));
  owner.freeze();
  await server.cli('FLUSHALL');
  await call(admin, 'setStatus', 'stays-0', null);
  owner.thaw();
  await waitFor(async () => (await online()).includes('stays-0'), { timeout: timeLimit(4 * LEASE) });
  await afterRedisTime(2 * LEASE);
  expect(await online()).toContain('stays-0');
}, 120_000);
