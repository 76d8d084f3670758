import { afterAll, beforeAll, expect, test } from 'vitest';
import { type PresenceOptions, PresenceService } from '../../src/index.js';
import { nodeRedis } from '../shared/redis-clients.js';
import { period, timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// Redis loses keys while something runs whose end it should remember: a grace, a status, a socket without a process.

const LEASE = period(600);
const GRACE = period(1_200);

let server: RedisServer;
let count = 0;
const ends: (() => unknown)[] = [];
beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  for (const end of ends) await end();
  await server.stop();
});

/** A service, one that watches, what that one was told, and the loss of keys. */
async function setUp(more: Partial<PresenceOptions> = {}) {
  const prefix = `ends-${++count}`;
  const changes: string[] = [];
  const create = () => {
    const { client, end } = nodeRedis(server.port);
    const service = new PresenceService({ redis: client, prefix, lease: LEASE, sweepInterval: 50, ...more });
    ends.unshift(() => service.close());
    ends.push(end);
    return service;
  };
  const [presence, observer] = [create(), create()];
  const told = (change: { type?: string; status?: string; userId: string }) =>
    void changes.push(`${change.userId} ${change.type ?? change.status}`);
  await observer.subscribe(told);
  await observer.watchRoom('lobby', told);
  const until = (change: string) =>
    waitFor(() => changes.includes(change), {
      timeout: timeLimit(15_000),
      message: () => `${change}; so far ${changes.join(', ')}`,
    });
  const lose = (...keys: string[]) => server.cli('DEL', ...keys.map((key) => `{${prefix}:0}:${key}`));
  return { presence, observer, changes, until, lose };
}

test.concurrent.each([
  ['due', ['due']],
  ['the record', ['user:ann']],
  ['the entry of the grace', ['sockets:ann']],
  ['the index', ['online']],
  ['the record and `due`', ['user:ann', 'due']],
])('a user whose grace runs goes offline once, although Redis loses %s', async (_, keys) => {
  const { presence, changes, until, lose } = await setUp({ grace: GRACE });
  await presence.setPresence('ann', 's');
  await presence.setPresence('bob', 's');
  await presence.removeSocket('ann', 's');
  await lose(...keys);
  await until('ann offline');
  await presence.setPresence('cleo', 's');
  await until('cleo online');
  expect(changes.filter((change) => change.startsWith('ann'))).toEqual(['ann online', 'ann offline']);
});

test.concurrent('a status ends, although Redis loses `due`', async () => {
  const { presence, until, lose } = await setUp();
  await presence.setStatus('ann', 'busy', { until: Date.now() + GRACE });
  await presence.setPresence('ann', 's', 'away');
  await until('ann busy');
  await lose('due');
  await until('ann away');
  expect((await presence.getPresence('ann'))?.status).toBe('away');
});

test.concurrent('a socket without a process ends, although Redis loses `due`', async () => {
  const { presence, until, lose } = await setUp();
  await presence.setPresence('ann', 's', 'online', undefined, { ttl: GRACE });
  await lose('due');
  await until('ann offline');
});

test.concurrent.each([
  ['with other members', true],
  ['without other members', false],
])('a grace in a room %s ends, although Redis loses `due`', async (_, others) => {
  const { presence, observer, changes, until, lose } = await setUp();
  if (others) await presence.join('lobby', 'bob', 's', null, { grace: GRACE });
  await presence.join('lobby', 'ann', 's', null, { grace: GRACE });
  await presence.removeSocket('ann', 's');
  await lose('due');
  await until('ann leave');
  expect(changes.filter((change) => change.startsWith('ann'))).toEqual(['ann join', 'ann leave']);
  expect(await observer.getRoomMembers('lobby')).toHaveLength(others ? 1 : 0);
});
