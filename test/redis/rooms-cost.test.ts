import { createRollcall, type FrameEncoder, PubSubService, RoomService, type RoomSocket } from 'rollcall';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { jsonEncoder } from '../../src/rooms/room-message.js';
import { nodeRedis } from '../shared/redis-clients.js';
import { numbers } from '../shared/rooms-fixture.js';
import { timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// What many peers in one room cost Redis, counted by Redis itself, and what they cost the process.

let redis: RedisServer;
let ends: (() => Promise<void>)[] = [];
beforeAll(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  for (const end of ends) await end();
  ends = [];
});
afterAll(() => redis.stop());

function service() {
  const { client, end } = nodeRedis(redis.port);
  const pubsub = new PubSubService({ redis: client, timeout: timeLimit(10_000) });
  const rooms = new RoomService({ pubsub });
  ends.push(async () => {
    await rooms.close();
    await pubsub.close();
    end();
  });
  return { rooms, pubsub };
}

const counts = { frames: 0 };
const format: FrameEncoder = {
  message: (message) => {
    counts.frames++;
    return jsonEncoder.message(message);
  },
  notice: jsonEncoder.notice,
};

/** `count` peers of a hundred users. */
async function attach(rooms: RoomService, count: number) {
  let got = 0;
  const peer = { send: () => void got++, close: () => {}, bufferedAmount: 0, format };
  const sockets = await Promise.all(
    numbers(0, count).map((at) => rooms.attach(peer, { userId: `user ${at % 100}` })),
  );
  return { sockets, got: () => got };
}

/** The calls of each command since the last reset, but for those that count and reset. */
async function commands(): Promise<Record<string, number>> {
  const text = await redis.cli('INFO', 'commandstats');
  const found = [...text.matchAll(/cmdstat_([^:]+):calls=(\d+)/g)];
  return Object.fromEntries(
    found
      .map(([, name, calls]): [string, number] => [String(name), Number(calls)])
      .filter(([name]) => !/^(?:info|config)/.test(name)),
  );
}
const subscribers = async (channel: string) =>
  Number((await redis.cli('PUBSUB', 'NUMSUB', channel)).split('\n')[1]);

test('ten thousand peers in a room cost one subscription per process and one frame per message', async () => {
  const [one, two] = [service(), service()];
  const many = await attach(one.rooms, 10_000);
  const few = await attach(two.rooms, 10);
  const { name } = one.rooms.channel('big');
  await many.sockets[0]?.join('big');
  await one.rooms.broadcast('big', 'said', 0);
  await waitFor(() => many.got() === 1);
  await redis.cli('CONFIG', 'RESETSTAT');
  await Promise.all(many.sockets.slice(1).map((socket) => socket.join('big')));
  expect(await commands()).toEqual({});
  await Promise.all(few.sockets.map((socket) => socket.join('big')));
  expect(await subscribers(name)).toBe(2);
  counts.frames = 0;
  await one.rooms.broadcast('big', 'said', { text: 'x' });
  await waitFor(() => many.got() === 10_001 && few.got() === 10);
  expect(counts.frames).toBe(2);
  await redis.cli('CONFIG', 'RESETSTAT');
  await Promise.all(many.sockets.map((socket) => socket.leave('big')));
  expect(await commands()).toEqual({ unsubscribe: 1 });
  expect(await subscribers(name)).toBe(1);
  expect(one.rooms.stats().rooms).toBe(0);
});

test('a thousand peers that recover from one position cost one read', async () => {
  const { rooms } = service();
  const { sockets, got } = await attach(rooms, 1_001);
  await sockets[0]?.join('back');
  const { position } = await rooms.broadcast('back', 'said', 0);
  for (const number of numbers(1, 11)) await rooms.broadcast('back', 'said', number);
  await waitFor(() => got() === 11);
  await redis.cli('CONFIG', 'RESETSTAT');
  counts.frames = 0;
  await Promise.all(sockets.slice(1).map((socket) => socket.join('back', { since: position as string })));
  await waitFor(() => got() === 10_011);
  const { evalsha } = await commands();
  expect(evalsha).toBe(1);
  expect(counts.frames).toBe(10);
  // From then on all stand together.
  await redis.cli('CONFIG', 'RESETSTAT');
  await rooms.broadcast('back', 'said', 'x');
  await waitFor(() => got() === 11_012);
  expect((await commands())['evalsha']).toBe(1);
  expect(counts.frames).toBe(11);
});

test.each(['close', 'detach'])(
  'thousands of sockets that end by %s block neither Redis nor the process, cause no timeout and are all offline',
  { timeout: 60_000 },
  async (how) => {
    const { client, end } = nodeRedis(redis.port);
    const errors: unknown[] = [];
    // So short that calls which had to wait for their turn would time out.
    const onError = (error: unknown) => void errors.push(error);
    const { presence, rooms, close } = createRollcall({ redis: client, timeout: 1_000, onError });
    const peer = { send: () => {}, close: () => {}, bufferedAmount: 0 };
    const sockets: RoomSocket[] = [];
    for (let from = 0; from < 6_000; from += 200) {
      const slice = numbers(from, from + 200).map(async (at) => {
        const socket = await rooms.attach(peer, { userId: `user ${at}` });
        await socket.join('big');
        return socket;
      });
      sockets.push(...(await Promise.all(slice)));
    }
    expect(await presence.getOnlineCount()).toBe(6_000);
    let turns = 0;
    let ended = false;
    const count = () => {
      turns++;
      if (!ended) setImmediate(count);
    };
    setImmediate(count);
    if (how === 'close') await rooms.close();
    else await Promise.all(sockets.map((socket) => socket.detach()));
    ended = true;
    expect(errors).toEqual([]);
    expect(await presence.getOnlineCount()).toBe(0);
    expect(await presence.getRoomCounts(['big'])).toEqual(new Map([['big', 0]]));
    // One block of all would be a handful of turns.
    expect(turns).toBeGreaterThan(100);
    await close();
    end();
  },
);
