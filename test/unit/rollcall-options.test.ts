import { expect, test } from 'vitest';
import { closeOnSignals, createRollcall, type RedisClient } from '../../src/index.js';
import { RoomSocket } from '../../src/rooms/room-socket.js';
import { eventStream } from '../../src/sse/index.js';
import { FakeDriver } from '../support/fake-driver.js';

// Every service and createRollcall reject unknown options, because a misspelt option would have no effect.

test.each([
  [{ timout: 1 }, 'did you mean "timeout"?'],
  [{ presense: { grace: 1 } }, 'did you mean "presence"?'],
  [{ grace: 10_000 }, 'grace is an option of presence: pass { redis, presence: { grace } }'],
  [{ maxMessageBytes: 1 }, 'pass { redis, pubsub: { maxMessageBytes } }'],
  [{ slowPeers: 'drop' }, 'pass { redis, rooms: { slowPeers } }'],
  [{ presence: { grase: 1 } }, 'presence: has an unknown option "grase"; did you mean "grace"?'],
  [{ pubsub: { prefx: 'a' } }, 'pubsub: has an unknown option "prefx"; did you mean "prefix"?'],
  [{ rooms: { sharde: true } }, 'rooms: has an unknown option "sharde"; did you mean "sharded"?'],
])('createRollcall rejects %j', (options, text) => {
  const redis = new FakeDriver() as unknown as RedisClient;
  expect(() => createRollcall({ redis, ...options } as never)).toThrow(text);
});

test('methods reject unknown options', async () => {
  const { pubsub, presence, rooms, close } = createRollcall({
    redis: new FakeDriver() as unknown as RedisClient,
  });
  const wrong = { sinze: '1' } as never;
  await expect(pubsub.publish('a', 1, wrong)).rejects.toThrow('sinze');
  await expect(pubsub.publish('a', 1, { history: { size: 1, ttl: 1, tll: 5 } as never })).rejects.toThrow(
    '"ttl"',
  );
  await expect(pubsub.subscribe('a', () => {}, { onDiscontinutiy: () => {} } as never)).rejects.toThrow(
    '"onDiscontinuity"',
  );
  await expect(pubsub.psubscribe('a*', () => {}, wrong)).rejects.toThrow('sinze');
  expect(() => pubsub.messages('a', wrong)).toThrow('sinze');
  await expect(pubsub.history('a', wrong)).rejects.toThrow('sinze');
  await expect(presence.removeSocket('a', 's', wrong)).rejects.toThrow('sinze');
  await expect(presence.getMultiplePresence(['a'], wrong)).rejects.toThrow('sinze');
  await expect(rooms.broadcast('a', 'e', 1, wrong)).rejects.toThrow('sinze');
  await expect(rooms.sendToUser('a', 'e', 1, wrong)).rejects.toThrow('sinze');
  const misspelt = { handof: true } as never;
  const meant = 'did you mean "handoff"?';
  await expect(presence.close(misspelt)).rejects.toThrow(meant);
  await expect(rooms.close(misspelt)).rejects.toThrow(meant);
  await expect(close(misspelt)).rejects.toThrow(meant);
  const peer = { send() {}, close() {}, bufferedAmount: 0 };
  const socket = new RoomSocket({ userChannel: () => ({}) } as never, peer, { userId: 'ann' });
  await expect(socket.detach({ imediate: true } as never)).rejects.toThrow('did you mean "immediate"?');
  expect(() => socket.close(4400, '', { imediate: true } as never)).toThrow('did you mean "immediate"?');
  await expect(socket.leave('a', { notfy: false } as never)).rejects.toThrow('did you mean "notify"?');
  await close();
});

test('closeOnSignals and event streams reject unknown options', () => {
  expect(() => closeOnSignals(() => {}, { signal: ['SIGTERM'] } as never)).toThrow('did you mean "signals"?');
  const user = { userId: 'ann', stauts: 'busy' } as never;
  expect(() =>
    eventStream(new Request('http://localhost'), { rooms: { attach() {} } as never, user }),
  ).toThrow('user: has an unknown option "stauts"; did you mean "status"?');
});
