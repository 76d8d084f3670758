import {
  ClosedError,
  HandlerError,
  type IdentifyRequest,
  InvalidArgumentError,
  LimitError,
  type PresenceChange,
} from 'rollcall';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ExecuteOptions } from '../../src/redis/driver.js';
import { createChaosDriver, type Fault } from '../../src/testing/index.js';
import { period, timeLimit } from '../support/machine.js';
import { numbers, type RoomsBackend, RoomsFixture, TestPeer, type TestServer } from './rooms-fixture.js';

/** Sockets that change their user, for any client and server. */
export function identifyBehaviour(name: string, start: () => Promise<RoomsBackend>): void {
  describe(name, () => {
    let backend: RoomsBackend;
    const fixture = new RoomsFixture(() => backend);

    beforeAll(async () => {
      backend = await start();
    });
    afterAll(() => backend.end());
    afterEach(() => fixture.end());

    /** A guest's socket, users that are likely in other partitions, and a second server that looks on. */
    async function setUp(options: Parameters<RoomsFixture['server']>[0] = {}) {
      const [one, other] = [fixture.server(options), fixture.server(options)];
      const [guest, ann, room] = [fixture.fresh('guest'), fixture.fresh('ann "x"'), fixture.fresh('room')];
      const peer = new TestPeer();
      const socket = await one.rooms.attach(peer, { userId: guest, status: 'away', meta: { device: 'a' } });
      const members = async (of = room) =>
        (await other.presence.getRoomMembers(of)).map(({ userId, info, sockets }) => ({
          userId,
          info,
          sockets,
        }));
      const socketsOf = async (userId: string) =>
        (await other.presence.getPresence(userId, { reveal: true }))?.sockets.map(
          ({ socketId }) => socketId,
        ) ?? [];
      return { one, other, guest, ann, room, peer, socket, members, socketsOf };
    }

    test('a guest who logs in is the new user everywhere, on the same socket', async () => {
      const { one, other, guest, ann, room, peer, socket, members, socketsOf } = await setUp();
      const changes: string[] = [];
      const onChange = ({ userId, status }: PresenceChange) =>
        void changes.push(`${userId === ann ? 'ann' : 'guest'} ${status}`);
      const watch = await other.presence.watch([ann, guest], onChange);
      await socket.join(room, { info: { seat: 3 }, members: true });
      await socket.update(room, { seat: 4 });
      const { id } = socket;
      await socket.identify(ann, { meta: { device: 'b' } });

      expect([socket.id, socket.userId, socket.rooms]).toEqual([id, ann, [room]]);
      expect([await socketsOf(ann), await socketsOf(guest)]).toEqual([[id], []]);
      expect((await other.presence.getPresence(ann))?.sockets).toMatchObject([
        { socketId: id, status: 'away', meta: { device: 'b' } },
      ]);
      expect(await members()).toEqual([{ userId: ann, info: { seat: 4 }, sockets: 1 }]);
      expect([one.rooms.socketsOf(ann), one.rooms.socketsOf(guest)]).toEqual([[socket], []]);
      expect(one.rooms.stats()).toMatchObject({ sockets: 1, users: 1, rooms: 1 });
      // Both users are shown for a moment, never neither.
      await fixture.until('both changes', () => changes.length === 2);
      expect(changes).toEqual(['ann away', 'guest offline']);
      await watch.close();

      await other.rooms.sendToUser(guest, 'said', 'for the guest');
      await other.rooms.sendToUser(ann, 'said', 'for ann');
      await other.rooms.broadcast(room, 'said', 'for all');
      await fixture.fenceUser(other, ann, peer);
      await fixture.fence(other, room, peer);
      expect(peer.receivedData()).toEqual(['for ann']);
      expect(peer.receivedData(room)).toEqual(['for all']);
      await socket.update(room, { seat: 5 });
      await socket.setStatus('busy');
      expect(await members()).toEqual([{ userId: ann, info: { seat: 5 }, sockets: 1 }]);
      expect((await other.presence.getPresence(ann))?.status).toBe('busy');
      await socket.detach();
      expect([await socketsOf(ann), await socketsOf(guest), await members()]).toEqual([[], [], []]);
    });

    test('messages to the new user from before are not sent, nor is their history', async () => {
      const { other, ann, guest, peer, socket } = await setUp();
      await other.rooms.sendToUser(ann, 'said', 'missed');
      await socket.identify(ann);
      await fixture.fenceUser(other, ann, peer);
      expect(peer.receivedData()).toEqual([]);
      await other.rooms.sendToUser(guest, 'said', 'missed by the guest');
      await socket.identify(guest);
      await fixture.fenceUser(other, guest, peer);
      expect(peer.receivedData()).toEqual([]);
    });

    test('disconnectUser and kick reach the new user, and the old one no more', async () => {
      const { other, guest, ann, room, peer, socket } = await setUp();
      const [rooms, kicked] = [other.rooms, fixture.fresh('kicked')];
      await socket.join(room);
      await socket.join(kicked);
      await socket.identify(ann);
      await rooms.disconnectUser(guest, 'the old user');
      await rooms.kick(room, guest, { reason: 'the old user' });
      await rooms.kick(kicked, ann, { reason: 'spam' });
      await fixture.until('the kick', () => peer.of('error').length > 0);
      await fixture.fence(other, room, peer);
      expect(peer.of('error')).toEqual([{ type: 'error', room: kicked, code: 'KICKED', message: 'spam' }]);
      expect(peer.closed).toBeUndefined();
      await rooms.disconnectUser(ann, 'the new user');
      await fixture.until('the end', () => peer.closed !== undefined);
      expect(peer.closed).toEqual({ code: 4403, reason: 'the new user' });
    });

    test('rooms and watches that the new user may not have end with an error', async () => {
      const { other, guest, ann, room, peer, socket, members } = await setUp({ rooms: { bans: true } });
      const [closed, banned, friend, stranger] = [
        fixture.fresh('closed'),
        fixture.fresh('banned'),
        fixture.fresh('friend'),
        fixture.fresh('stranger'),
      ];
      const counted = fixture.fresh('counted');
      for (const each of [room, closed, banned, counted]) {
        await socket.join(each, { members: each === counted ? 'count' : each === room });
      }
      await socket.watch([friend, stranger]);
      await other.rooms.kick(banned, ann, { reason: 'spam', ban: 60_000 });
      const asked: IdentifyRequest[] = [];
      const authorize = async (request: IdentifyRequest) => {
        asked.push(request);
        if (request.action === 'watch') return request.userId !== stranger;
        return request.action === 'join' ? request.room !== closed : request.count;
      };
      await socket.identify(ann, { authorize });
      const questions = [
        ...[room, closed, banned, counted].map((each) => ({ action: 'join', room: each })),
        ...[room, counted].map((each) => ({ action: 'members', room: each, count: each === counted })),
        ...[friend, stranger].map((userId) => ({ action: 'watch', userId })),
      ];
      expect(asked).toHaveLength(questions.length);
      expect(asked).toEqual(expect.arrayContaining(questions));
      expect([socket.rooms, socket.watching]).toEqual([[room, counted], 1]);
      expect(peer.of('members', room).at(-1)).toMatchObject({ reset: true, members: [], code: 'FORBIDDEN' });
      await fixture.until('the number', () => peer.of('members', counted).length > 0);
      expect(peer.of('members', counted).filter(({ code }) => code !== undefined)).toEqual([]);
      expect(peer.of('error')).toEqual([
        { type: 'error', room: closed, code: 'FORBIDDEN', message: expect.any(String) },
        { type: 'error', room: banned, code: 'KICKED', message: 'spam' },
      ]);
      expect([await members(), await members(closed), await members(banned)]).toMatchObject([
        [{ userId: ann }],
        [],
        [],
      ]);
      await other.rooms.broadcast(closed, 'said', 'secret');
      await fixture.fence(other, room, peer);
      expect(peer.receivedData(closed)).toEqual([]);
      expect(peer.frames.filter(({ from }) => from === guest)).toEqual([]);
    });

    test('the new user is limited, and a refused change changes nothing', async () => {
      const { one, other, guest, ann, room, peer, socket, members, socketsOf } = await setUp({
        presence: { maxSocketsPerUser: 1 },
      });
      await socket.join(room);
      const elsewhere = await other.rooms.attach(new TestPeer(), { userId: ann });
      const taken = fixture.fresh('taken');
      await other.presence.setPresence(taken, socket.id);
      const denied = new HandlerError('authorize failed: no database');
      const broken = () => Promise.reject(new Error('no database'));
      await expect(socket.identify(ann)).rejects.toThrow(LimitError);
      await expect(socket.identify(taken)).rejects.toThrow(InvalidArgumentError);
      await expect(socket.identify(fixture.fresh('x'), { authorize: broken })).rejects.toThrow(denied);
      await expect(socket.identify('')).rejects.toThrow(InvalidArgumentError);
      await expect(socket.identify('x'.repeat(513))).rejects.toThrow(InvalidArgumentError);
      await expect(socket.identify('x', { meat: 1 } as object)).rejects.toThrow('did you mean "meta"?');
      await socket.identify(guest, { meta: 'no effect' });
      expect((await one.presence.getPresence(guest))?.sockets).toMatchObject([{ meta: { device: 'a' } }]);
      expect([socket.userId, await socketsOf(guest), await socketsOf(ann)]).toEqual([
        guest,
        [socket.id],
        [elsewhere.id],
      ]);
      expect(one.rooms.socketsOf(ann)).toEqual([]);
      expect(await members()).toMatchObject([{ userId: guest, sockets: 1 }]);
      await other.rooms.sendToUser(ann, 'said', 'private');
      await fixture.fenceUser(other, guest, peer);
      expect(peer.receivedData()).toEqual([]);
      await socket.detach();
      await expect(socket.identify(ann)).rejects.toThrow(ClosedError);
    });

    test('calls under way end as the old user, later ones begin as the new one', async () => {
      const { ann, guest, room, socket, members, socketsOf } = await setUp();
      const rooms = ['a', 'b', 'c'].map((text) => fixture.fresh(text));
      const joins = rooms.map((each) => socket.join(each, { info: each }));
      const change = socket.identify(ann);
      const later = socket.join(room, { info: 'later' });
      const status = socket.setStatus('busy');
      const back = socket.identify(guest);
      const left = Promise.all(joins).then(() => socket.leave(rooms[0] as string));
      await Promise.all([change, later, status, left, back]);
      expect(socket.userId).toBe(guest);
      expect([await socketsOf(guest), await socketsOf(ann)]).toEqual([[socket.id], []]);
      expect(await members(rooms[0])).toEqual([]);
      for (const each of rooms.slice(1)) {
        expect(await members(each)).toEqual([{ userId: guest, info: each, sockets: 1 }]);
      }
      expect(await members()).toEqual([{ userId: guest, info: 'later', sockets: 1 }]);
    });

    test('a socket that ends during the change leaves neither user', async () => {
      const { one, guest, ann, room, socket, members, socketsOf } = await setUp();
      await socket.join(room);
      let resume = (): void => {};
      const authorize = () =>
        new Promise<boolean>((resolve) => {
          resume = () => resolve(true);
        });
      const waiting = socket.identify(ann, { authorize });
      await fixture.until('the question', () => socket.attached && resume.length === 0);
      const refused = expect(waiting).rejects.toThrow(ClosedError);
      await socket.detach({ immediate: true });
      resume();
      await refused;
      const second = await one.rooms.attach(new TestPeer(), { userId: guest });
      await second.join(room);
      const racing = second.identify(ann).catch((error: unknown) => error);
      await second.detach({ immediate: true });
      await racing;
      expect([await socketsOf(guest), await socketsOf(ann), await members()]).toEqual([[], [], []]);
      expect(one.rooms.stats()).toMatchObject({ sockets: 0, users: 0, rooms: 0 });
    });

    test('an outage at any step leaves the socket to exactly one of the users, and to no other', async () => {
      const other = fixture.server();
      // Breaks nothing: the number of calls.
      const { calls } = await outage(fixture, backend, other, Number.POSITIVE_INFINITY, 'request-lost');
      expect(calls).toBeGreaterThan(4);
      const odd = Math.floor(Math.random() * 2);
      const runs = numbers(1, calls + 1).map((step) => {
        const fault = step % 2 === odd ? 'request-lost' : 'reply-lost';
        return outage(fixture, backend, other, step, fault);
      });
      const outcomes = await Promise.all(runs);
      // An early outage undoes the change; after a late one the removal of the old user is repeated.
      expect(new Set(outcomes.map(({ changed }) => changed))).toEqual(new Set([false, true]));
      expect(outcomes.filter(({ rejected, changed }) => !rejected && !changed)).toEqual([]);
    });
  });
}

/** Cuts the connections at one call of a change, and restores them when the change has ended. */
async function outage(
  fixture: RoomsFixture,
  backend: RoomsBackend,
  other: TestServer,
  step: number,
  fault: Fault,
): Promise<{ calls: number; rejected: boolean; changed: boolean }> {
  const chaos = createChaosDriver(backend.client());
  let calls = Number.NaN;
  const isStep = () => ++calls === step;
  const breaking = new Proxy(chaos, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        const isCounted =
          name === 'subscribe' || (name === 'execute' && (args[1] as ExecuteOptions)?.background !== true);
        const breaks = isCounted && isStep();
        if (breaks && fault === 'request-lost') void chaos.cut();
        const result: unknown = value.apply(target, args);
        if (breaks && fault === 'reply-lost') void chaos.cut();
        return result;
      };
    },
  });
  // What failed is repeated with the renewals of the lease.
  const presence = { lease: period(2_000) };
  const one = fixture.server({ redis: breaking, timeout: timeLimit(1_000), presence, onError: null });
  const [guest, ann] = [fixture.fresh('guest'), fixture.fresh('ann')];
  const rooms = [fixture.fresh('room'), fixture.fresh('room')];
  const peer = new TestPeer();
  const socket = await one.rooms.attach(peer, { userId: guest });
  for (const room of rooms) await socket.join(room);
  calls = 0;
  const rejected = await socket.identify(ann).then(
    () => false,
    () => true,
  );
  const total = calls;
  calls = Number.NaN;
  chaos.restore();
  const [user, former] = socket.userId === ann ? [ann, guest] : [guest, ann];
  const sockets = async (userId: string) =>
    (await other.presence.getPresence(userId, { reveal: true }))?.sockets.length ?? 0;
  const members = async (room: string) =>
    (await other.presence.getRoomMembers(room)).map(({ userId }) => userId).join();
  await fixture.until(
    `one user after ${fault} at ${step}`,
    async () =>
      (await sockets(user)) === 1 &&
      (await sockets(former)) === 0 &&
      (await members(rooms[0] as string)) === user &&
      (await members(rooms[1] as string)) === user,
    timeLimit(8_000),
  );
  await other.rooms.sendToUser(former, 'said', 'for the other');
  await fixture.fenceUser(other, user, peer);
  expect(peer.receivedData()).toEqual([]);
  expect(one.rooms.socketsOf(former)).toEqual([]);
  await socket.detach({ immediate: true });
  await fixture.until('nobody', async () => (await sockets(user)) + (await sockets(former)) === 0);
  return { calls: total, rejected, changed: user === ann };
}
