import { describe, expect, test, vi } from 'vitest';
import { MemberFeeds } from '../../../src/rooms/member-feeds.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeRoomWatch, presenceFixture } from './presence-fixture.js';

function fixture() {
  const { presence, clock, rooms, writer } = presenceFixture();
  const memberFeeds = new MemberFeeds(presence, clock);
  return { memberFeeds, clock, rooms, writer, first: () => rooms[0] as FakeRoomWatch };
}

const member = (user: string, sockets = 1) => ({ user, info: null, sockets });
const all = (...members: unknown[]) => ({ type: 'members', room: 'a', reset: true, members });
const changes = (...members: unknown[]) => ({ type: 'members', room: 'a', members });

describe('a member feed', () => {
  test('a member feed has one watch for all its peers, until the last one unsubscribes', async () => {
    const { memberFeeds, clock, rooms, writer, first } = fixture();
    const [one, two] = [writer(), writer()];
    const joining = [memberFeeds.subscribe('a', one.writer), memberFeeds.subscribe('a', two.writer)];
    first().members.set('ann', { userId: 'ann', info: null, sockets: 2, version: 1 });
    first().ready();
    await Promise.all(joining);
    expect(rooms).toHaveLength(1);
    expect([one.got, two.got]).toEqual([[], []]);
    clock.advance(0);
    expect([one.got, two.got]).toEqual([[all(member('ann', 2))], [all(member('ann', 2))]]);
    await memberFeeds.unsubscribe('a', one.writer);
    await memberFeeds.unsubscribe('a', one.writer);
    expect(first().closed).toBe(0);
    await memberFeeds.unsubscribe('a', two.writer);
    expect(first().closed).toBe(1);
    void memberFeeds.subscribe('a', one.writer);
    expect(rooms).toHaveLength(2);
  });

  test('changes are collected in one frame, each user once and in the latest state', async () => {
    const { memberFeeds, clock, writer, first } = fixture();
    const one = writer();
    const joining = memberFeeds.subscribe('a', one.writer);
    first().ready();
    await joining;
    clock.advance(0);
    first().join('ann');
    first().join('bob');
    first().leave('ann');
    expect(one.got).toEqual([all()]);
    clock.advance(50);
    expect(one.got.slice(1)).toEqual([changes(member('ann', 0), member('bob'))]);
    expect(clock.timers).toBe(0);
    first().leave('bob');
    await memberFeeds.unsubscribe('a', one.writer);
    clock.advance(50);
    expect(one.got).toHaveLength(2);
    expect(clock.timers).toBe(0);
  });

  test('a new peer receives all members, then only the changes', async () => {
    const { memberFeeds, clock, writer, first } = fixture();
    const [one, two] = [writer(), writer()];
    const joining = memberFeeds.subscribe('a', one.writer);
    first().ready();
    await joining;
    first().join('ann');
    await memberFeeds.subscribe('a', two.writer);
    clock.advance(0);
    first().leave('ann');
    clock.advance(50);
    expect(two.got).toEqual([all(member('ann')), changes(member('ann', 0))]);
  });

  test('a failed watch rejects all its peers, and the next peer tries again', async () => {
    const { memberFeeds, clock, rooms, writer, first } = fixture();
    const [one, two] = [writer(), writer()];
    const joining = Promise.allSettled([
      memberFeeds.subscribe('a', one.writer),
      memberFeeds.subscribe('a', two.writer),
    ]);
    first().answer.reject(new Error('no'));
    expect((await joining).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await memberFeeds.unsubscribe('a', one.writer);
    const again = memberFeeds.subscribe('a', one.writer);
    rooms[1]?.ready();
    await again;
    await memberFeeds.unsubscribe('a', two.writer);
    expect(rooms[1]?.closed).toBe(0);
    clock.advance(0);
    expect(one.got).toEqual([all()]);
  });

  test('a peer that unsubscribed during the read receives nothing', async () => {
    const { memberFeeds, clock, writer, first } = fixture();
    const [one, two] = [writer(), writer()];
    const joining = [memberFeeds.subscribe('a', one.writer), memberFeeds.subscribe('a', two.writer)];
    const leaving = memberFeeds.unsubscribe('a', one.writer);
    first().ready();
    await Promise.all([...joining, leaving]);
    await turn();
    clock.advance(0);
    expect([one.got, two.got]).toEqual([[], [all()]]);
    expect(first().closed).toBe(0);
  });

  describe('a member feed of a large room', () => {
    interface Frame {
      reset?: boolean;
      more?: boolean;
      count?: number;
      members: { user: string; sockets: number }[];
    }

    /** The members that a client derives from the frames. */
    function apply(frames: unknown[]): Set<string> {
      const users = new Set<string>();
      for (const { reset, members } of frames as Frame[]) {
        if (reset === true) users.clear();
        for (const { user, sockets } of members) {
          if (sockets === 0) users.delete(user);
          else users.add(user);
        }
      }
      return users;
    }

    async function largeRoom(size: number, info: unknown = null) {
      const all = fixture();
      const one = all.writer();
      const joining = all.memberFeeds.subscribe('a', one.writer);
      for (let at = 0; at < size; at++) {
        all.first().members.set(`u${at}`, { userId: `u${at}`, info: info as null, sockets: 1, version: 1 });
      }
      all.first().ready();
      await joining;
      const frames = one.got as Frame[];
      return { ...all, one, frames, users: () => [...all.first().members.keys()].sort() };
    }

    test('members are sent in pages of up to 250, in slices of the event loop', async () => {
      const { clock, frames, users } = await largeRoom(20_000);
      expect(frames).toEqual([]);
      clock.advance(0);
      expect(frames).toHaveLength(80);
      expect(Math.max(...frames.map(({ members }) => members.length))).toBe(250);
      expect(frames.map(({ reset }) => reset === true)).toEqual([true, ...Array(79).fill(false)]);
      expect(frames.map(({ more }) => more === true)).toEqual([...Array(79).fill(true), false]);
      expect([...apply(frames)].sort()).toEqual(users());
      expect(clock.timers).toBe(0);
    });

    test('pages of members with large infos are smaller', async () => {
      const { clock, frames } = await largeRoom(100, { text: 'x'.repeat(4_000) });
      clock.advance(0);
      expect(frames.length).toBeGreaterThan(8);
      for (const frame of frames) expect(JSON.stringify(frame).length).toBeLessThan(45_000);
    });

    test('the feed waits for a slow peer, which has the right members in the end, also if they change in the meantime', async () => {
      const { clock, one, frames, first, users } = await largeRoom(3_000);
      one.peer.bufferedAmount = 0;
      one.peer.onSend = () => {
        one.peer.bufferedAmount = 100_000;
      };
      clock.advance(0);
      expect(frames).toHaveLength(1);
      clock.advance(1_000);
      expect(frames).toHaveLength(1);
      first().leave('u2999');
      first().leave('u0');
      first().join('u3000');
      clock.advance(1_000);
      expect(frames).toHaveLength(1);
      first().join('u0');
      first().leave('u3000');
      for (let round = 0; round < 20; round++) {
        one.peer.bufferedAmount = 0;
        clock.advance(50);
      }
      expect([...apply(frames)].sort()).toEqual(users());
      expect(frames).toHaveLength(13);
      one.peer.onSend = undefined;
      one.peer.bufferedAmount = 0;
      first().join('late');
      clock.advance(50);
      expect(frames.at(-1)).toEqual(changes(member('late')));
    });

    test('at most four pages are in flight to a peer that confirms them', async () => {
      const { clock, one, frames, users } = await largeRoom(3_000);
      const confirmations: (() => void)[] = [];
      one.peer.confirm = (done) => void confirmations.push(done);
      clock.advance(1_000);
      for (let sent = 4; sent < 12; sent++) {
        expect(frames).toHaveLength(sent);
        confirmations.shift()?.();
        clock.advance(0);
      }
      clock.advance(1_000);
      expect(frames).toHaveLength(12);
      expect([...apply(frames)].sort()).toEqual(users());
    });

    test('peers that join while members change share one list', async () => {
      const { clock, memberFeeds, writer, first, users } = await largeRoom(2_000);
      clock.advance(0);
      const current = vi.spyOn(first(), 'current');
      for (let at = 0; at < 20; at++) {
        first().join(`n${at}`);
        if (at % 3 === 0) first().leave(`u${at}`);
        const late = writer();
        await memberFeeds.subscribe('a', late.writer);
        clock.advance(0);
        expect([...apply(late.got)].sort()).toEqual(users());
      }
      expect(current).not.toHaveBeenCalled();
    });

    test('a change of thousands of members is sent in pages', async () => {
      const { clock, frames, first, users } = await largeRoom(10);
      clock.advance(0);
      for (let at = 0; at < 5_000; at++) first().join(`n${at}`);
      clock.advance(50);
      expect(frames).toHaveLength(21);
      expect([...apply(frames)].sort()).toEqual(users());
    });

    test('sending pages stops when the peer unsubscribes or closes', async () => {
      const { clock, memberFeeds, one, frames } = await largeRoom(20_000);
      one.peer.onSend = () => {
        one.peer.bufferedAmount = 100_000;
      };
      clock.advance(0);
      await memberFeeds.unsubscribe('a', one.writer);
      one.peer.bufferedAmount = 0;
      clock.advance(1_000);
      expect(frames).toHaveLength(1);
      expect(clock.timers).toBe(0);
    });

    test('a peer that requests the count receives only the number of members', async () => {
      const { clock, memberFeeds, writer, first, frames } = await largeRoom(20_000);
      const two = writer();
      await memberFeeds.subscribe('a', two.writer, true);
      clock.advance(0);
      expect(two.got).toEqual([{ type: 'members', room: 'a', count: 20_000, members: [] }]);
      first().join('more');
      first().leave('u0');
      first().leave('u1');
      clock.advance(50);
      expect(two.got.slice(1)).toEqual([{ type: 'members', room: 'a', count: 19_999, members: [] }]);
      first().join('u0', 2);
      first().leave('more');
      clock.advance(50);
      expect(two.got).toHaveLength(2);
      // The list of the other peer is not affected.
      expect(frames.some(({ count }) => count !== undefined)).toBe(false);
      await memberFeeds.subscribe('a', two.writer);
      clock.advance(0);
      expect((two.got[2] as Frame).reset).toBe(true);
    });
  });
});
