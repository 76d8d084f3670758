import { InvalidArgumentError, type RoomChange, RoomService, type RoomSocket } from 'rollcall';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { period, timeLimit } from '../support/machine.js';
import { type RoomsBackend, RoomsFixture, TestPeer, type TestServer } from './rooms-fixture.js';

/** Longer than any test. */
const LONG = 300_000;

/** Users who stay members of rooms for a while after their last socket has gone, for any client and server. */
export function roomGraceBehaviour(name: string, start: () => Promise<RoomsBackend>): void {
  describe(name, () => {
    let backend: RoomsBackend;
    const fixture = new RoomsFixture(() => backend);

    beforeAll(async () => {
      backend = await start();
    });
    afterAll(() => backend.end());
    afterEach(() => fixture.end());

    /** Two servers, and what a third that watches the room is told of it. */
    async function setUp(grace = LONG) {
      const options = { rooms: { grace } };
      const [one, other, third] = [fixture.server(options), fixture.server(options), fixture.server(options)];
      const [room, userId] = [fixture.fresh('room "x"\n'), fixture.fresh('user "y"\\')];
      const changes: RoomChange[] = [];
      await third.presence.watchRoom(room, (change) => void changes.push(change));
      const join = async (server: TestServer, info = 'Ann', into = room): Promise<RoomSocket> => {
        const socket = await server.rooms.attach(new TestPeer(), { userId });
        await socket.join(into, { info });
        return socket;
      };
      const members = async () => {
        const found = await third.presence.getRoomMembers(room);
        return found.map(({ userId: id, info, sockets }) => ({ userId: id, info, sockets }));
      };
      const shown = () =>
        changes.map(({ type, userId: id, sockets }) => `${id === userId ? '' : id}${type} ${sockets}`);
      const until = (what: string, done: () => boolean | Promise<boolean>) =>
        fixture.until(what, done, timeLimit(10_000));
      /** All changes so far, once one that came after them has come. */
      const changesSoFar = async (): Promise<string[]> => {
        const fence = fixture.fresh('fence');
        await other.presence.join(room, fence, 's');
        await other.presence.leave(room, fence, 's');
        await until('the fence', () => shown().includes(`${fence}leave 0`));
        return shown().filter((text) => !text.startsWith('fence'));
      };
      return { one, other, third, room, userId, join, members, until, shown, changesSoFar };
    }

    test('a user who joins again in time on another server has not left', async () => {
      const { one, other, join, members, changesSoFar, userId } = await setUp();
      const socket = await join(one);
      await socket.detach();
      expect(await members()).toEqual([{ userId, info: 'Ann', sockets: 1 }]);
      const back = await join(other);
      expect(await members()).toEqual([{ userId, info: 'Ann', sockets: 1 }]);
      expect(await changesSoFar()).toEqual(['join 1']);
      await (await join(one, 'Anna')).detach();
      await back.detach();
      expect(await members()).toEqual([{ userId, info: 'Ann', sockets: 1 }]);
      expect(await changesSoFar()).toEqual(['join 1', 'update 2', 'update 1']);
      await join(other, 'Annie');
      expect(await changesSoFar()).toEqual(['join 1', 'update 2', 'update 1', 'update 1']);
      expect(await members()).toEqual([{ userId, info: 'Annie', sockets: 1 }]);
    });

    test('a user who does not join again leaves once, when the grace ends', async () => {
      const { one, join, members, until, shown, changesSoFar } = await setUp(period(300));
      await (await join(one)).detach();
      await until('the end', () => shown().includes('leave 0'));
      expect(await members()).toEqual([]);
      expect(await changesSoFar()).toEqual(['join 1', 'leave 0']);
      await join(one);
      expect(await changesSoFar()).toEqual(['join 1', 'leave 0', 'join 1']);
    });

    test('of a user who is in several rooms, each ends by itself', async () => {
      const { one, other, join, members, third, userId } = await setUp();
      const socket = await join(one);
      const kitchen = fixture.fresh('kitchen');
      await socket.join(kitchen);
      await socket.detach();
      await (await join(other)).leave((await join(other)).rooms[0] as string);
      await other.rooms.kick(kitchen, userId);
      expect(await third.presence.getRoomMembers(kitchen)).toEqual([]);
      expect(await members()).toMatchObject([{ userId, sockets: 1 }]);
    });

    test.each<[string, (user: Awaited<ReturnType<typeof setUp>>, socket: RoomSocket) => Promise<unknown>]>([
      ['kick', ({ other, room, userId }) => other.rooms.kick(room, userId)],
      ['disconnectUser', ({ other, userId }) => other.rooms.disconnectUser(userId)],
      ['disconnectUser of presence', ({ other, userId }) => other.presence.disconnectUser(userId)],
      ['forget', ({ other, userId }) => other.forget(userId)],
      ["the status 'invisible'", ({ other, userId }) => other.presence.setStatus(userId, 'invisible')],
      ['a logout', ({ one, userId }, { id }) => one.presence.removeSocket(userId, id, { immediate: true })],
    ])('%s ends it at once', async (_, end) => {
      const user = await setUp();
      const { one, join, members, changesSoFar } = user;
      const socket = await join(one);
      await socket.detach();
      expect(await members()).toHaveLength(1);
      await end(user, socket);
      expect(await members()).toEqual([]);
      expect(await changesSoFar()).toEqual(['join 1', 'leave 0']);
    });

    test.each<[string, (user: Awaited<ReturnType<typeof setUp>>, socket: RoomSocket) => Promise<unknown>]>([
      ['leaving', ({ room }, socket) => socket.leave(room)],
      ['being kicked', ({ other, room, userId }) => other.rooms.kick(room, userId)],
      ['being disconnected', ({ other, userId }) => other.rooms.disconnectUser(userId)],
      ["becoming 'invisible'", ({ other, userId }) => other.presence.setStatus(userId, 'invisible')],
      ['being detached with `immediate`', (_, socket) => socket.detach({ immediate: true })],
      ['the end of their process without a handoff', ({ one }) => one.presence.close()],
    ])('%s has none', async (_, end) => {
      const user = await setUp();
      const { one, join, members, until, shown, changesSoFar } = user;
      const socket = await join(one);
      await end(user, socket);
      await until('the end', () => shown().includes('leave 0'));
      expect(await members()).toEqual([]);
      expect(await changesSoFar()).toEqual(['join 1', 'leave 0']);
    });

    test('a repeated removal of the socket does not end it', async () => {
      const { one, join, members, userId } = await setUp();
      const socket = await join(one);
      await socket.detach();
      await one.presence.removeSocket(userId, socket.id);
      expect(await members()).toHaveLength(1);
    });

    test('a process that hands its sockets over gives its members at least 10 s', async () => {
      const { one, other, join, members, changesSoFar, userId } = await setUp(1);
      await join(one);
      await one.close({ handoff: true });
      expect(await members()).toEqual([{ userId, info: 'Ann', sockets: 1 }]);
      await join(other);
      expect(await changesSoFar()).toEqual(['join 1']);
    });

    test('without the option a socket that goes takes the user out at once', async () => {
      const { third, one, room, userId, until, shown } = await setUp(0);
      await one.presence.setPresence(userId, 's');
      await one.presence.join(room, userId, 's');
      await one.presence.removeSocket(userId, 's');
      await until('the end', () => shown().includes('leave 0'));
      await one.presence.setPresence(userId, 's');
      await one.presence.join(room, userId, 's', null, { grace: LONG });
      await one.presence.removeSocket(userId, 's');
      expect(await third.presence.getRoomMembers(room)).toHaveLength(1);
    });

    test('an option out of range is refused', async () => {
      const { one, room, userId } = await setUp();
      for (const grace of [-1, 0.5, Number.NaN, 86_400_001, '1']) {
        const options = { rooms: { grace: grace as number } };
        expect(() => fixture.server(options)).toThrow(InvalidArgumentError);
        const joining = one.presence.join(room, userId, 's', null, { grace: grace as number });
        await expect(joining).rejects.toThrow(InvalidArgumentError);
      }
      await expect(one.presence.join(room, userId, 's', null, { grace: 1_200_000 })).rejects.toThrow(
        /keyTtl/,
      );
      const { pubsub } = one;
      expect(() => new RoomService({ pubsub, grace: 1 })).toThrow(/needs the option presence/);
    });
  });
}
