import fc from 'fast-check';
import { ConnectionError, type RoomEvent } from 'rollcall';
import { createChaosDriver } from 'rollcall/testing';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type RoomsBackend, RoomsFixture, TestPeer } from './rooms-fixture.js';

/** The messages of a user in histories of rooms are removed, and nobody finds a gap. */
export function removeMessagesBehaviour(
  name: string,
  backend: () => Promise<RoomsBackend>,
  { numRuns = 3 }: { numRuns?: number } = {},
): void {
  describe(name, () => {
    let current: RoomsBackend;
    const fixture = new RoomsFixture(() => current);
    beforeAll(async () => {
      current = await backend();
    });
    afterEach(() => fixture.end());
    afterAll(() => current.end());

    test('readers from before, at and after any removed message receive all others, and no gap', async () => {
      const server = fixture.server();
      const { rooms, pubsub } = server;
      const room = fixture.fresh('room');
      // "ann" in data, in the event and in `except`, of others; and written by another program.
      const payloads: RoomEvent[] = [
        { event: 'first', from: 'bob', data: '"from":"ann"' },
        { event: 'message', from: 'ann', data: 1 },
        { event: '","from":"ann', from: 'bob', data: 2 },
        { except: 'ann', event: 'message', from: 'ann', data: 3 },
        { data: 4, from: 'ann', event: 'other-order' } as RoomEvent,
        { event: 'message', from: 'ann "', data: 5 },
        { event: 'message', data: { from: 'ann' } },
        { event: 'message', from: 'ann', data: 7 },
      ];
      const positions: string[] = [];
      for (const payload of payloads)
        positions.push((await pubsub.publish(rooms.channel(room), payload)).position as string);
      const isOfAnn = ({ from }: RoomEvent) => from === 'ann';
      expect(await rooms.removeMessages(room, 'ann')).toBe(4);
      expect(await rooms.removeMessages(room, 'ann')).toBe(0);
      expect(await rooms.removeMessages(room, 'nobody')).toBe(0);
      expect(await rooms.removeMessages(fixture.fresh('unknown'), 'ann')).toBe(0);
      const { messages } = await rooms.history(room);
      expect(messages.map(({ position }) => position)).toEqual(positions);
      expect(messages.map(({ message }) => message)).toEqual(
        payloads.map((payload) => (isOfAnn(payload) ? { event: '$removed', data: null } : payload)),
      );

      // Before, at and between removed messages, and at the last one.
      for (const at of [0, 1, 3, 7]) {
        const since = positions[at] as string;
        expect(await rooms.history(room, { since })).toMatchObject({ complete: true });
        const peer = new TestPeer();
        const socket = await rooms.attach(peer, { userId: 'eve' });
        await socket.join(room, { since });
        await fixture.fence(server, room, peer);
        expect(peer.of('discontinuity'), `since ${at}`).toEqual([]);
        const later = payloads.slice(at + 1).filter((payload) => !isOfAnn(payload));
        expect(peer.receivedData(room), `since ${at}`).toEqual(later.map(({ data }) => data));
      }
      const peer = new TestPeer();
      const socket = await rooms.attach(peer, { userId: 'eve' });
      await socket.join(room, { last: 50 });
      await fixture.fence(server, room, peer);
      expect(peer.of('event', room).filter(({ from }) => from === 'ann')).toEqual([]);
      expect(server.errors).toEqual([]);
    });

    test('forget does it in the rooms that are named, also in many pages, and completes after a failure at any command', async () => {
      const [first, second] = [fixture.fresh('room'), fixture.fresh('room')];
      const { rooms, forget } = fixture.server({ rooms: { history: { size: 1_000, ttl: 600_000 } } });
      await expect(forget('ann', { messagesIn: first })).rejects.toThrow('messagesIn: must be an iterable');
      await expect(forget('ann', { messagesIn: [''] })).rejects.toThrow('room');
      await fc.assert(
        fc.asyncProperty(fc.nat({ max: 12 }), fc.boolean(), async (failing, runs) => {
          const user = fixture.fresh('user');
          await Promise.all(
            Array.from({ length: 230 }, (_, at) => {
              const room = at % 2 === 0 ? first : second;
              return rooms.broadcast(room, 'message', at, { from: at % 3 === 0 ? 'bob' : user });
            }),
          );
          const driver = createChaosDriver(current.client());
          const execute = driver.execute.bind(driver);
          let calls = Number.NEGATIVE_INFINITY;
          driver.execute = async (...args) => {
            if (calls++ !== failing) return execute(...args);
            if (runs) await execute(...args);
            throw new ConnectionError('the connection is lost');
          };
          const server = fixture.server({ redis: driver, presence: { sweepInterval: 15_000 } });
          await server.presence.connect();
          calls = 0;
          // A read is repeated, and then the call succeeds.
          const before = await server.forget(user, { messagesIn: [first, second] }).catch(() => undefined);
          const after = await server.forget(user, { messagesIn: [first, second] });
          expect((before?.removedMessages ?? 0) + after.removedMessages).toBeLessThanOrEqual(153);
          for (const room of [first, second]) {
            const { messages, complete } = await rooms.history(room, { limit: 1_000 });
            expect(complete).toBe(true);
            expect(messages.filter(({ message }) => message.from === user)).toEqual([]);
            expect(messages.filter(({ message }) => message.from === 'bob')).not.toEqual([]);
          }
          await server.close();
        }),
        { numRuns },
      );
    });
  });
}
