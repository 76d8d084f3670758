import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { PresenceService } from '../../src/index.js';
import { createChaosDriver } from '../../src/testing/index.js';
import { type Changes, PresenceFixture } from '../shared/presence-fixture.js';
import { backendOn, nodeRedis } from '../shared/redis-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// What others can see of an invisible user while processes die and Redis loses data: nothing.

const LEASE = 900;
const options = { lease: LEASE, sweepInterval: 50, timeout: 2_000, keyTtl: 4_000 };

let server: RedisServer;
let fixture: PresenceFixture;
let base: string;
let outsider: PresenceService;
let changes: Changes;
let inRoom: string[];

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

beforeEach(async () => {
  await server.cli('FLUSHALL');
  fixture = new PresenceFixture(backendOn(server, nodeRedis));
  base = `{${fixture.prefix}:0}`;
  [outsider, changes] = await fixture.observer(options);
  inRoom = [];
  await outsider.watchRoom('lobby', ({ type, userId }) => inRoom.push(`${type} ${userId}`));
});

afterEach(() => fixture.end());

async function redisTime(ms: number): Promise<void> {
  const now = async () => Number((await server.cli('TIME')).split('\n')[0]) * 1_000;
  const end = (await now()) + ms + 1_000;
  await waitFor(async () => (await now()) >= end, { timeout: ms + 20_000, interval: 50 });
}

/** A process that can be cut off, as if it had died. */
function createDisposableNode(): { service: PresenceService; disconnect: () => void; restore: () => void } {
  const chaos = createChaosDriver(fixture.client());
  const service = fixture.service({ ...options, redis: chaos, onError: () => {} });
  return { service, disconnect: () => chaos.cut(), restore: () => chaos.restore() };
}

/** Fails if anything shows that ann is there. Bob, who acts after all that, is a fence. */
async function expectNothingOfAnn(): Promise<void> {
  const bob = fixture.service(options);
  await bob.setPresence('bob', 's');
  await bob.join('lobby', 'bob', 's');
  await changes.until('bob', 'online');
  await waitFor(() => inRoom.includes('join bob'));
  expect(changes.of('ann')).toEqual([]);
  expect(inRoom).toEqual(['join bob']);
  expect(
    (await outsider.getPresence('ann')) ?? { status: 'offline', sockets: [], lastSeen: new Date(0) },
  ).toMatchObject({
    status: 'offline',
    sockets: [],
    lastSeen: new Date(0),
  });
  expect((await outsider.getRoomMembers('lobby')).map(({ userId }) => userId)).toEqual(['bob']);
  expect(await outsider.getRoomCounts(['lobby'])).toEqual(new Map([['lobby', 1]]));
  expect(await outsider.getOnlineCount()).toBe(1);
  await bob.close();
}

/** Two processes, each with a socket of ann, who is invisible, in the lobby. */
async function hiddenOnTwo(): Promise<[ReturnType<typeof createDisposableNode>, PresenceService]> {
  const [first, second] = [createDisposableNode(), fixture.service(options)];
  await outsider.setStatus('ann', 'invisible');
  await first.service.setPresence('ann', 's1');
  await second.setPresence('ann', 's2');
  await first.service.join('lobby', 'ann', 's1');
  await second.join('lobby', 'ann', 's2', { n: 2 });
  return [first, second];
}

test('one of two processes of an invisible user dies: nothing shows, and the other one shows them later', async () => {
  const [first, second] = await hiddenOnTwo();
  first.disconnect();
  const socketsOf = async () => (await outsider.getPresence('ann', { reveal: true }))?.socketIds.join();
  await waitFor(async () => (await socketsOf()) === 's2', { timeout: 20_000 });
  await expectNothingOfAnn();
  inRoom.length = 0;
  await outsider.setStatus('ann', null);
  await changes.until('ann', 'online');
  await waitFor(() => inRoom.includes('join ann'));
  expect(await second.getRoomMembers('lobby')).toMatchObject([{ userId: 'ann', info: { n: 2 }, sockets: 1 }]);
}, 60_000);

test('after a wipe an invisible user is restored as invisible', async () => {
  await hiddenOnTwo();
  await server.cli('FLUSHALL');
  const revealed = () => outsider.getPresence('ann', { reveal: true });
  await waitFor(async () => (await revealed())?.socketIds.length === 2, { timeout: 20_000 });
  expect(await revealed()).toMatchObject({ status: 'invisible' });
  await redisTime(LEASE);
  await expectNothingOfAnn();
}, 60_000);

test.each([
  ['the hash', 'sockets:ann'],
  ['the record', 'user:ann'],
  ['both', 'sockets:ann', 'user:ann'],
])(
  'an invisible user of whom %s is evicted stays invisible',
  async (_what, ...keys) => {
    const [first] = await hiddenOnTwo();
    await server.cli('DEL', ...keys.map((key) => `${base}:${key}`));
    await first.service.setPresence('ann', 's1', 'busy');
    const revealed = () => outsider.getPresence('ann', { reveal: true });
    await waitFor(async () => (await revealed())?.socketIds.length === 2, { timeout: 20_000 });
    expect(await revealed()).toMatchObject({ status: 'invisible' });
    await expectNothingOfAnn();
  },
  60_000,
);

test('a process that missed that its user became invisible takes them out of rooms when it is back', async () => {
  const { service, disconnect, restore } = createDisposableNode();
  await service.setPresence('ann', 's');
  await service.join('lobby', 'ann', 's');
  await waitFor(() => inRoom.includes('join ann'));
  disconnect();
  await outsider.setStatus('ann', 'invisible');
  restore();
  await waitFor(() => inRoom.includes('leave ann'), { timeout: 20_000 });
  await redisTime(LEASE);
  expect(await outsider.getRoomMembers('lobby')).toEqual([]);
  await outsider.setStatus('ann', null);
  await waitFor(() => inRoom.length === 3, { timeout: 20_000 });
  expect(inRoom).toEqual(['join ann', 'leave ann', 'join ann']);
}, 60_000);

test('evicted rooms and a lost lease bring no invisible member back', async () => {
  const [first] = await hiddenOnTwo();
  first.disconnect();
  await redisTime(2 * LEASE);
  first.restore();
  await server.cli('DEL', `${base}:room:lobby`);
  await waitFor(async () => (await outsider.getPresence('ann', { reveal: true }))?.socketIds.length === 2, {
    timeout: 20_000,
  });
  await redisTime(2 * LEASE);
  await expectNothingOfAnn();
}, 60_000);
