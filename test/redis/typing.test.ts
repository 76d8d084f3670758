import { createRollcall, PubSubService, RoomService } from 'rollcall';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { TypingService } from '../../src/typing/typing-service.js';
import { ioredis, type Maker, nodeRedis } from '../shared/redis-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { TypingProcess } from '../support/typing-process.js';
import { waitFor } from '../support/wait.js';

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

let ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.reverse()) await end();
  ends = [];
});

let serial = 0;
let room: string;
beforeEach(() => {
  room = `lobby ${++serial}`;
});

/** A server process, as it were. */
function open(make: Maker, ttl = 60_000) {
  const { client, end } = make(redis.port);
  const pubsub = new PubSubService({ redis: client });
  const rooms = new RoomService({ pubsub });
  const typing = new TypingService({ rooms, ttl });
  ends.push(async () => {
    await typing.close();
    await rooms.close();
    await pubsub.close();
    end();
  });
  return { pubsub, rooms, typing };
}

async function child(userId: string, ttl: number): Promise<TypingProcess> {
  const process = await TypingProcess.start({ port: redis.port, room, userId, ttl, every: 20 });
  ends.push(() => process.kill());
  return process;
}

describe.each([
  ['node-redis 6', nodeRedis],
  ['ioredis 5', ioredis],
])('typing on %s', (_, make) => {
  test('is seen on other servers, and by clients, until it is stopped', async () => {
    const [one, two] = [open(make), open(make)];
    const reported: string[][] = [];
    const watch = await two.typing.watch(room, (typingUsers) => reported.push(typingUsers));
    const frames: unknown[] = [];
    const send = (frame: string | Buffer) => void frames.push(JSON.parse(String(frame)));
    const peer = { bufferedAmount: 0, close: () => {}, send };
    const own = await one.rooms.attach({ ...peer, send: () => {} }, { userId: 'ann', socketId: 'own' });
    const socket = await two.rooms.attach(peer, { userId: 'cat' });
    await Promise.all([own.join(room), socket.join(room)]);

    for (let strokes = 0; strokes < 200; strokes++) await one.typing.start(room, 'ann', { except: 'own' });
    await one.typing.start(room, 'bob');
    await waitFor(() => watch.current().length === 2);
    await one.typing.stopAll('ann', { except: 'own' });
    await waitFor(() => watch.current().length === 1);
    expect(reported).toEqual([['ann'], ['ann', 'bob'], ['bob']]);

    await one.rooms.broadcast(room, 'end');
    await waitFor(() => (frames.at(-1) as { event: string }).event === 'end');
    expect(frames.slice(0, -1)).toEqual([
      { type: 'event', room, event: '$typing', from: 'ann', data: { ttl: 60_000 } },
      { type: 'event', room, event: '$typing', from: 'bob', data: { ttl: 60_000 } },
      { type: 'event', room, event: '$typing', from: 'ann', data: { ttl: 0 } },
    ]);
    expect(await one.rooms.history(room)).toMatchObject({ messages: [{ message: { event: 'end' } }] });
  });

  test('leaves nothing in Redis', async () => {
    // In no order: a server may move its keys in between.
    const keys = async () => (await redis.cli('KEYS', '*')).split('\n').sort();
    const before = await keys();
    const { typing } = open(make);
    await typing.start(room, 'ann');
    await typing.stop(room, 'ann');
    expect(await keys()).toEqual(before);
  });

  test('continues after a lost connection, and earlier indicators expire', async () => {
    const [one, two] = [open(make, 1_000), open(make, 1_000)];
    const watch = await two.typing.watch(room, () => {});
    await one.typing.start(room, 'ann');
    await waitFor(() => watch.current().includes('ann'));
    await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal');
    await redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await waitFor(() => watch.current().length === 0);
    await waitFor(
      async () => {
        await one.typing.start(room, 'bob').catch(() => {});
        return watch.current().includes('bob');
      },
      { timeout: 10_000 },
    );
  });
});

describe('processes', () => {
  test('that die or freeze lose their typing users; those of other processes stay', async () => {
    const { typing } = open(nodeRedis);
    const reported: string[][] = [];
    const watch = await typing.watch(room, (typingUsers) => reported.push(typingUsers.sort()));
    const [ann, bob] = await Promise.all([child('ann', 3_000), child('bob', 3_000), child('cat', 3_000)]);
    await waitFor(() => watch.current().length === 3);
    await ann.kill();
    await waitFor(() => !watch.current().includes('ann'), { timeout: 15_000 });
    expect(watch.current().sort()).toEqual(['bob', 'cat']);
    bob.freeze();
    await waitFor(() => !watch.current().includes('bob'), { timeout: 15_000 });
    expect(watch.current()).toEqual(['cat']);
    // Nobody flickered.
    expect(reported).toHaveLength(5);
  });

  test('publish once in half a ttl, however fast a user types', async () => {
    const { pubsub, rooms } = open(nodeRedis);
    let said = 0;
    await pubsub.subscribe(rooms.channel(room), () => void said++);
    await child('ann', 1_000);
    // One at the very beginning, and one that was on its way before.
    const from = performance.now();
    const already = said;
    await waitFor(() => said - already >= 4, { timeout: 15_000 });
    const most = Math.floor((performance.now() - from) / 500) + 2;
    expect(said - already).toBeLessThanOrEqual(most);
  });
});

test('typing of an invisible user is not published, from whichever server', async () => {
  const servers = [0, 1].map(() => {
    const { client, end } = nodeRedis(redis.port);
    const rollcall = createRollcall({ redis: client, presence: { prefix: `typing-${serial}` } });
    const typing = new TypingService({ rooms: rollcall.rooms, ttl: 60_000 });
    ends.push(async () => {
      await typing.close();
      await rollcall.close();
      end();
    });
    return { ...rollcall, typing };
  });
  const [one, two] = servers as [(typeof servers)[0], (typeof servers)[0]];
  const reported: string[][] = [];
  const watch = await two.typing.watch(room, (typingUsers) => reported.push(typingUsers));
  const peer = { bufferedAmount: 0, close: () => {}, send: () => {} };
  await one.presence.setStatus('ann', 'invisible');
  const ann = await one.rooms.attach(peer, { userId: 'ann' });
  await ann.join(room);
  await one.typing.start(room, 'ann');
  await two.typing.start(room, 'ann');
  await one.typing.start(room, 'bob');
  await waitFor(() => watch.current().length > 0);
  expect(reported).toEqual([['bob']]);
  await two.presence.setStatus('ann', null);
  await waitFor(() => !one.presence.isInvisible('ann'));
  const second = await two.typing.watch(`${room} 2`, () => {});
  await one.typing.start(`${room} 2`, 'ann');
  await waitFor(() => second.current().join() === 'ann');
});
