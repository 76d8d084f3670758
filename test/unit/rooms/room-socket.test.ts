import { describe, expect, test } from 'vitest';
import {
  type ErrorContext,
  type Peer,
  type PresenceService,
  PubSubService,
  type RollcallError,
  RoomService,
} from '../../../src/index.js';
import { turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';
import { deferred } from '../../support/wait.js';

// What the room service undoes when presence rejects or replies too late.

type Call = 'setPresence' | 'removeSocket' | 'join' | 'leave' | 'watchRoom' | 'watch';

function fixture() {
  const driver = new FakeDriver();
  driver.onCall = (call) => queueMicrotask(() => call.ack());
  const pubsub = new PubSubService({ redis: driver });
  const calls: string[] = [];
  /** Replaces the default call, which does nothing. */
  const instead = new Map<Call, () => Promise<unknown>>();
  const watch = { current: () => new Map(), get: () => undefined, add: async () => {}, remove: () => {} };
  const closing = { fails: false };
  const close = async () => {
    if (closing.fails) throw new Error('closing failed');
  };
  const method = (name: Call) => async (): Promise<unknown> => {
    calls.push(name);
    return instead.has(name) ? instead.get(name)?.() : { ...watch, close };
  };
  const names: Call[] = ['setPresence', 'removeSocket', 'join', 'leave', 'watchRoom', 'watch'];
  const presence = {
    ...Object.fromEntries(names.map((name) => [name, method(name)])),
    onDisconnected: () => () => {},
  } as unknown as PresenceService;
  const errors: [RollcallError, ErrorContext][] = [];
  const onError = (error: RollcallError, context: ErrorContext) => void errors.push([error, context]);
  const rooms = new RoomService({ pubsub, presence, history: false, onError });
  const peer: Peer = { send: () => {}, close: () => {}, bufferedAmount: 0 };
  const refuse = (name: Call) => instead.set(name, () => Promise.reject(new Error(`${name} refused`)));
  return { driver, pubsub, rooms, peer, calls, errors, instead, refuse, closing };
}

const nothing = { sockets: 0, users: 0, rooms: 0 };

describe('a socket that presence rejects', () => {
  test('a rejected socket is not attached, and not removed from presence', async () => {
    const { rooms, peer, pubsub, calls, refuse } = fixture();
    refuse('setPresence');
    await expect(rooms.attach(peer, { userId: 'ann' })).rejects.toThrow('setPresence refused');
    expect(rooms.stats()).toMatchObject(nothing);
    expect(pubsub.stats()).toMatchObject({ handlers: 0, channels: 0 });
    expect(calls).toEqual(['setPresence']);
  });

  test('a socket that is detached before its rejection leaves no state', async () => {
    const { rooms, peer, pubsub, instead } = fixture();
    const answer = deferred();
    instead.set('setPresence', () => answer.promise);
    const attaching = rooms.attach(peer, { userId: 'ann' });
    const detached = rooms.socketsOf('ann')[0]?.detach();
    await turn();
    answer.reject(new Error('too late'));
    await expect(attaching).rejects.toThrow('too late');
    await detached;
    expect(rooms.stats()).toMatchObject(nothing);
    expect(pubsub.stats()).toMatchObject({ handlers: 0, channels: 0 });
  });

  test('a socket that is detached while presence adds it is removed once, after the addition', async () => {
    const { rooms, peer, pubsub, calls, instead } = fixture();
    const answer = deferred();
    instead.set('setPresence', () => answer.promise);
    const attaching = rooms.attach(peer, { userId: 'ann' });
    const detached = rooms.socketsOf('ann')[0]?.detach();
    await turn();
    expect(calls).toEqual(['setPresence']);
    answer.resolve();
    await Promise.all([attaching, detached]);
    expect(calls).toEqual(['setPresence', 'removeSocket']);
    expect(pubsub.stats()).toMatchObject({ handlers: 0, channels: 0 });
  });

  test('a socket that is detached with handoff is not removed', async () => {
    const { rooms, peer, calls } = fixture();
    const attaching = rooms.attach(peer, { userId: 'ann' });
    const detached = rooms.socketsOf('ann')[0]?.detach({ handoff: true });
    await Promise.all([attaching, detached]);
    expect(calls).toEqual(['setPresence']);
  });
});

describe('a room that presence rejects', () => {
  test('a rejected room is not joined, and not left', async () => {
    const { rooms, peer, calls, refuse, instead } = fixture();
    const socket = await rooms.attach(peer, { userId: 'ann' });
    refuse('join');
    await expect(socket.join('a')).rejects.toThrow('join refused');
    expect(socket.rooms).toEqual([]);
    expect(rooms.stats().rooms).toBe(0);
    expect(calls).toEqual(['setPresence', 'join']);
    instead.clear();
    await socket.join('a');
    await socket.leave('a');
    expect(calls.slice(2)).toEqual(['join', 'leave']);
  });

  test('members can be requested again after a failure', async () => {
    const { rooms, peer, calls, refuse, instead } = fixture();
    const socket = await rooms.attach(peer, { userId: 'ann' });
    await socket.join('a');
    refuse('watchRoom');
    await expect(socket.join('a', { members: true })).rejects.toThrow('watchRoom refused');
    expect(socket.isIn('a')).toBe(true);
    instead.clear();
    await socket.join('a', { members: true });
    await socket.join('a', { members: true });
    expect(calls.filter((call) => call === 'watchRoom')).toHaveLength(2);
  });
});

test('a service closes even if its watch cannot be closed, which is reported', async () => {
  const { rooms, peer, errors, closing } = fixture();
  const socket = await rooms.attach(peer, { userId: 'ann' });
  await socket.watch(['bob']);
  closing.fails = true;
  await rooms.close();
  expect(errors.map(([{ message }, { stage }]) => [message, stage])).toEqual([['closing failed', 'close']]);
});
