import { CommandError, PubSubService, RoomService, TimeoutError } from 'rollcall';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createChaosDriver } from '../../src/testing/index.js';
import { ioredis, type Maker, nodeRedis } from '../shared/redis-clients.js';
import { type Frame, numbers, RoomsFixture, TestPeer, type TestServer } from '../shared/rooms-fixture.js';
import { period, timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

// Rooms on two servers through broken connections, a frozen Redis, and refusals.

let redis: RedisServer;
let make: Maker;
const ends: (() => void)[] = [];
const fixture = new RoomsFixture(() => ({
  client: () => {
    const { client, end } = make(redis.port);
    ends.push(end);
    return client;
  },
  end: async () => {},
}));

beforeAll(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  await fixture.end();
  for (const end of ends.splice(0)) end();
});
afterAll(() => redis.stop());

const killSubscribers = () => redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
const GAP = 'discontinuity';
/** More messages than are sent while a server reconnects. */
const KEPT = { rooms: { history: { size: 1_000, ttl: 60_000 } } };
/** A client that lost its connection often waits up to 5 s before it reconnects. */
const PATIENCE = 15_000;

/** Peers of a room on two servers. */
async function createPeers(options: Parameters<RoomsFixture['server']>[0] = {}) {
  const servers: [TestServer, TestServer] = [fixture.server(options), fixture.server(options)];
  const room = fixture.fresh('room');
  const peers: TestPeer[] = [];
  for (const at of numbers(0, 6)) {
    const peer = new TestPeer();
    const socket = await (servers[at % 2] as TestServer).rooms.attach(peer, {
      userId: fixture.fresh('user'),
    });
    await socket.join(room);
    peers.push(peer);
  }
  return { servers, room, peers };
}

/** Sends 200 numbers from both servers in turn, and breaks the subscribed connections eight times. */
async function sendThroughKills(servers: readonly TestServer[], room: string): Promise<void> {
  for (const number of numbers(0, 200)) {
    await (servers[number % 2] as TestServer).rooms.broadcast(room, 'said', number);
    if (number % 25 === 12) await killSubscribers();
  }
}

/** The numbers that `frames` jump over without a notice between. */
function silentLosses(frames: readonly Frame[]): string[] {
  const losses: string[] = [];
  let last = -1;
  let reported = false;
  for (const { type, event, data } of frames) {
    if (type === GAP) reported = true;
    if (type !== 'event' || event !== 'said') continue;
    if (Number(data) !== last + 1 && !reported) losses.push(`${last} to ${data}`);
    last = Number(data);
    reported = false;
  }
  return losses;
}

describe.each([
  ['node-redis', nodeRedis],
  ['ioredis', ioredis],
] as const)('%s', (_, maker) => {
  beforeAll(() => {
    make = maker;
  });

  test('with history every peer receives every message once, despite broken connections', async () => {
    const { servers, room, peers } = await createPeers(KEPT);
    // Before the first message it is unknown whether there was one.
    await servers[0].rooms.broadcast(room, 'first');
    await fixture.fence(servers[0], room, ...peers);
    // What passes anyway is no loss: gaps are made up for all the same.
    await servers[1].rooms.broadcastTyping(room, 'somebody', { ttl: 1_000 });
    await servers[0].rooms.broadcast(room, 'passing', null, { transient: true });
    await fixture.until('what passes', () =>
      peers.every((peer) => peer.of('event').some(({ event }) => event === 'passing')),
    );
    await sendThroughKills(servers, room);
    await fixture.until('all', () => peers.every((peer) => peer.receivedData(room).length >= 203), PATIENCE);
    await fixture.fence(servers[0], room, ...peers);
    for (const peer of peers) {
      expect(peer.receivedData(room)).toEqual([null, { ttl: 1_000 }, null, ...numbers(0, 200)]);
      const gaps = peer.of(GAP, room);
      expect(gaps.length).toBeGreaterThan(0);
      expect(gaps.filter(({ recovered }) => recovered !== true)).toEqual([]);
    }
  });

  test('without history every loss is inside a discontinuity', async () => {
    const { servers, room, peers } = await createPeers({ rooms: { history: false } });
    await sendThroughKills(servers, room);
    const back = () => peers.every((peer) => peer.of('event').some(({ event }) => event === 'last'));
    await fixture.until(
      'all peers to be back',
      async () => {
        await servers[0].rooms.broadcast(room, 'last');
        return back();
      },
      PATIENCE,
    );
    for (const peer of peers) {
      const said = peer.of('event').filter(({ event }) => event === 'said');
      expect(said.length).toBeLessThan(200);
      expect(silentLosses(peer.frames)).toEqual([]);
      expect(new Set(said.map(({ data }) => data)).size).toBe(said.length);
    }
  });

  test('a peer that reconnects to the other server in the meantime receives the rest', async () => {
    const { servers, room, peers } = await createPeers(KEPT);
    const [one, two] = servers;
    await one.rooms.broadcast(room, 'said', -1);
    await fixture.fence(one, room, ...peers);
    const since = (peers[0] as TestPeer).position(room) as string;
    const saying = sendThroughKills(servers, room);
    const back = numbers(0, 3).map(() => new TestPeer());
    for (const [at, peer] of back.entries()) {
      const { rooms } = at % 2 === 0 ? two : one;
      const socket = await rooms.attach(peer, { userId: `back ${at}` });
      await socket.join(room, { since });
    }
    await saying;
    await fixture.until('all', () => back.every((peer) => peer.receivedData(room).length >= 200), PATIENCE);
    await fixture.fence(one, room, ...back);
    for (const peer of back) {
      expect(peer.receivedData(room)).toEqual(numbers(0, 200));
      expect(peer.of(GAP, room).filter(({ recovered }) => recovered !== true)).toEqual([]);
    }
  });

  test('disconnectUser during a broken subscription takes effect when it is restored', async () => {
    const [one, two] = [fixture.server(), fixture.server()];
    let receivers = -1;
    // Once the server may be back before the message; not five times.
    for (let attempt = 0; attempt < 5 && receivers !== 0; attempt++) {
      const peer = new TestPeer();
      const userId = fixture.fresh('user');
      const socket = await one.rooms.attach(peer, { userId });
      await two.rooms.sendToUser(userId, 'note', 0);
      await fixture.fenceUser(two, userId, peer);
      await killSubscribers();
      // On one connection, one behind the other.
      const [sent] = await Promise.all([
        two.rooms.sendToUser(userId, 'note', 1),
        two.rooms.disconnectUser(userId, 'gone'),
      ]);
      receivers = sent.receivers;
      await fixture.until('the end', () => !socket.attached);
      expect(peer.closed).toEqual({ code: 4403, reason: 'gone' });
      expect(one.rooms.stats()).toMatchObject({ sockets: 0, users: 0 });
    }
    expect(receivers).toBe(0);
  });

  test.each([
    ['with history', {}],
    ['without history', { history: false }],
  ] as const)(
    'disconnectUser, then a wipe of Redis, while a server is cut off closes its connections, %s',
    async (_, rooms) => {
      const { client, end } = make(redis.port);
      ends.push(end);
      const chaos = createChaosDriver(client);
      const options = { rooms, presence: { lease: period(1_500) } };
      const one = fixture.server({ ...options, redis: chaos });
      const two = fixture.server(options);
      const [kicked, stays] = [new TestPeer(), new TestPeer()];
      const userId = fixture.fresh('user');
      const socket = await one.rooms.attach(kicked, { userId });
      const other = await one.rooms.attach(stays, { userId: fixture.fresh('user') });
      await socket.join('lobby');
      chaos.cut();
      await two.rooms.disconnectUser(userId, 'gone');
      await redis.cli('FLUSHALL');
      chaos.restore();
      await fixture.until('the end', () => !socket.attached, PATIENCE);
      expect(kicked.closed).toEqual({ code: 4403, reason: 'gone' });
      expect(other.attached).toBe(true);
      const isBack = async () =>
        (await two.presence.getPresence(other.userId))?.status === 'online' &&
        (await two.presence.getPresence(userId))?.status !== 'online';
      await fixture.until('only the other user to be online', isBack, PATIENCE);
      // They may come back at once: the removal ends earlier registrations only.
      const again = await one.rooms.attach(new TestPeer(), { userId });
      expect(await two.presence.getPresence(userId)).toMatchObject({
        status: 'online',
        socketIds: [again.id],
      });
    },
  );

  test('calls fail while Redis is frozen, and no wrong state remains', async () => {
    const options = { timeout: timeLimit(600), presence: { lease: 2_000 } };
    const { servers, room, peers } = await createPeers(options);
    const [one, two] = servers;
    const leaver = new TestPeer();
    const leaving = await one.rooms.attach(leaver, { userId: 'leaver' });
    await leaving.join(room, { members: true });
    const before = one.rooms.stats();
    redis.freeze();
    try {
      const calls = [
        one.rooms.broadcast(room, 'said', 1),
        one.rooms.attach(new TestPeer(), { userId: 'late' }),
        leaving.join(fixture.fresh('room')),
        leaving.watch(['x']),
      ];
      for (const outcome of await Promise.allSettled(calls)) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: expect.any(TimeoutError) });
      }
      expect(leaving.watching).toBe(0);
      expect(leaving.rooms).toEqual([room]);
      expect(one.rooms.stats()).toEqual(before);
      // Never rejects; what it could not do is made up for.
      await leaving.detach();
      expect(one.rooms.stats()).toMatchObject({ sockets: before.sockets - 1, rooms: 1 });
    } finally {
      redis.thaw();
    }
    await fixture.until('the leaver is gone', async () => {
      const [presence, members] = [
        await two.presence.getPresence('leaver'),
        await two.presence.getRoomMembers(room),
      ];
      return presence?.status === 'offline' && members.length === 6;
    });
    const late = await two.presence.getPresence('late');
    expect(late?.socketIds ?? []).toEqual([]);
    await fixture.fence(two, room, ...peers);
    expect(leaver.of('event')).toEqual([]);
  });

  test('close ends while Redis is frozen', async () => {
    const { servers } = await createPeers({ timeout: timeLimit(600) });
    redis.freeze();
    try {
      await Promise.all(servers.map((server) => server.close()));
      expect(servers.map(({ rooms }) => rooms.stats().sockets)).toEqual([0, 0]);
    } finally {
      redis.thaw();
    }
  });
});

test('a room that Redis rejects is not joined, and can be joined later', async () => {
  make = (port) => {
    const { client, end } = ioredis(port);
    (client as unknown as { options: Record<string, unknown> }).options['username'] = 'limited';
    (client as unknown as { options: Record<string, unknown> }).options['password'] = 'x';
    return { client, end };
  };
  await redis.cli('ACL', 'SETUSER', 'limited', 'on', '>x', '~*', '+@all', 'resetchannels', '&user:*');
  const client = make(redis.port);
  const pubsub = new PubSubService({ redis: client.client });
  const rooms = new RoomService({ pubsub });
  const peer = new TestPeer();
  const socket = await rooms.attach(peer, { userId: 'x' });
  const outcomes = await Promise.allSettled([socket.join('shut'), socket.join('shut'), socket.join('shut')]);
  expect(outcomes[0]).toMatchObject({ status: 'rejected', reason: expect.any(CommandError) });
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect(socket.rooms).toEqual([]);
  expect(rooms.stats()).toMatchObject({ sockets: 1, rooms: 0 });
  expect(pubsub.stats()).toMatchObject({ handlers: 2, channels: 1 });
  await redis.cli('ACL', 'SETUSER', 'limited', '&room:*');
  await socket.join('shut');
  await rooms.broadcast('shut', 'said', 1);
  await fixture.until('the message', () => peer.receivedData('shut').length === 1);
  await rooms.close();
  await pubsub.close();
  client.end();
});
