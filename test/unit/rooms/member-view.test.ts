import { expect, test } from 'vitest';
import { MemberFeeds } from '../../../src/rooms/member-feeds.js';
import { fc } from '../../support/property.js';
import { type FakeRoomWatch, presenceFixture } from './presence-fixture.js';

interface Frame {
  reset?: boolean;
  count?: number;
  members: { user: string; sockets: number }[];
}

const USERS = ['u0', 'u1', 'u2', 'u3'];
const user = fc.constantFrom(...USERS);
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('join' as const), user }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('leave' as const), user }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('flip' as const), user }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('subscribe' as const), user }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('flush' as const), user }) },
);

test('a viewer has the members whom they may see, and no frame names another', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { presence, clock, rooms, writer } = presenceFixture();
      const feeds = new MemberFeeds(presence, clock);
      const hidden = new Set<string>();
      const [list, counter, other] = [
        writer((userId) => !hidden.has(userId)),
        writer((userId) => !hidden.has(userId)),
        writer(),
      ];
      const begun = feeds.subscribe('a', other.writer);
      const room = rooms[0] as FakeRoomWatch;
      room.ready();
      await begun;
      clock.advance(0);

      const shown = new Set<string>();
      let read = 0;
      const readFrames = () => {
        for (const { reset, members } of (list.got as Frame[]).slice(read)) {
          if (reset === true) shown.clear();
          for (const { user, sockets } of members) {
            if (sockets > 0) expect(hidden.has(user)).toBe(false);
            // Otherwise the viewer would learn of somebody they have never seen.
            else expect(shown.has(user) || !hidden.has(user)).toBe(true);
            if (sockets > 0) shown.add(user);
            else shown.delete(user);
          }
        }
        read = list.got.length;
      };
      /** By the last list or change of each. */
      const expected = new Set<string>();
      const expectedHidden = new Set<string>();
      const changed = new Set<string>();
      const settle = (users: Iterable<string>) => {
        for (const user of users) {
          const isMember = room.members.has(user);
          if (isMember && !hidden.has(user)) expected.add(user);
          else expected.delete(user);
          if (isMember && hidden.has(user)) expectedHidden.add(user);
          else expectedHidden.delete(user);
        }
      };
      let subscribed = false;
      for (const { do: action, user } of [...steps, { do: 'flush' as const, user: '' }]) {
        if (action === 'join' || action === 'leave') {
          if (action === 'leave' && !room.members.has(user)) continue;
          room[action](user);
          changed.add(user);
        } else if (action === 'flip') {
          if (!hidden.delete(user)) hidden.add(user);
        } else if (action === 'subscribe') {
          await feeds.subscribe('a', list.writer);
          await feeds.subscribe('a', counter.writer, true);
          clock.advance(0);
          subscribed = true;
          expected.clear();
          expectedHidden.clear();
          settle(room.members.keys());
        } else {
          clock.advance(50);
          if (subscribed) settle(changed);
          changed.clear();
        }
        readFrames();
        if (action !== 'flush' || !subscribed) continue;
        expect([...shown].sort()).toEqual([...expected].sort());
        expect((counter.got.at(-1) as Frame).count).toBe(room.size - expectedHidden.size);
      }
      expect(counter.got.length).toBe(new Set(counter.got).size);
    }),
  );
});

test('viewers who hide none of the members share the frames of all, and take no more of them', async () => {
  const { presence, clock, rooms, writer } = presenceFixture();
  const feeds = new MemberFeeds(presence, clock);
  const asked: string[] = [];
  const [one, two] = [writer(), writer((userId) => asked.push(userId) > 0)];
  const joining = [feeds.subscribe('a', one.writer), feeds.subscribe('a', two.writer)];
  const room = rooms[0] as FakeRoomWatch;
  for (let at = 0; at < 600; at++) {
    room.members.set(`u${at}`, { userId: `u${at}`, info: null, sockets: 1, version: 1 });
  }
  room.ready();
  await Promise.all(joining);
  clock.advance(0);
  room.join('late');
  room.leave('u0');
  clock.advance(50);
  expect(two.got).toEqual(one.got);
  expect(asked).toHaveLength(602);
});
