import { describe, expect, test } from 'vitest';
import { MemberFeeds } from '../../../src/rooms/member-feeds.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeRoomWatch, presenceFixture } from './presence-fixture.js';

function scene() {
  const { presence, clock, rooms, writer } = presenceFixture();
  const memberFeeds = new MemberFeeds(presence, clock);
  return { memberFeeds, clock, rooms, writer, first: () => rooms[0] as FakeRoomWatch };
}

const member = (user: string, sockets = 1) => ({ user, info: null, sockets });
const all = (...members: unknown[]) => ({ type: 'members', room: 'a', reset: true, members });
const changes = (...members: unknown[]) => ({ type: 'members', room: 'a', members });

describe('a member feed', () => {
  test('has one watch for all its peers, until the last one unsubscribes', async () => {
    const { memberFeeds, rooms, writer, first } = scene();
    const [one, two] = [writer(), writer()];
    const joining = [memberFeeds.subscribe('a', one.writer), memberFeeds.subscribe('a', two.writer)];
    first().members.set('ann', { userId: 'ann', info: null, sockets: 2, version: 1 });
    first().ready();
    await Promise.all(joining);
    expect(rooms).toHaveLength(1);
    expect([one.got, two.got]).toEqual([[all(member('ann', 2))], [all(member('ann', 2))]]);
    await memberFeeds.unsubscribe('a', one.writer);
    await memberFeeds.unsubscribe('a', one.writer);
    expect(first().closed).toBe(0);
    await memberFeeds.unsubscribe('a', two.writer);
    expect(first().closed).toBe(1);
    void memberFeeds.subscribe('a', one.writer);
    expect(rooms).toHaveLength(2);
  });

  test('collects changes: one frame, each user once and in the latest state', async () => {
    const { memberFeeds, clock, writer, first } = scene();
    const one = writer();
    const joining = memberFeeds.subscribe('a', one.writer);
    first().ready();
    await joining;
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

  test('sends a new peer all members, then only the changes', async () => {
    const { memberFeeds, clock, writer, first } = scene();
    const [one, two] = [writer(), writer()];
    const joining = memberFeeds.subscribe('a', one.writer);
    first().ready();
    await joining;
    first().join('ann');
    await memberFeeds.subscribe('a', two.writer);
    first().leave('ann');
    clock.advance(50);
    expect(two.got).toEqual([all(member('ann')), changes(member('ann', 0))]);
  });

  test('a failed watch rejects all its peers, and the next peer tries again', async () => {
    const { memberFeeds, rooms, writer, first } = scene();
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
    expect(one.got).toEqual([all()]);
  });

  test('sends nothing to a peer that unsubscribed during the read', async () => {
    const { memberFeeds, writer, first } = scene();
    const [one, two] = [writer(), writer()];
    const joining = [memberFeeds.subscribe('a', one.writer), memberFeeds.subscribe('a', two.writer)];
    const leaving = memberFeeds.unsubscribe('a', one.writer);
    first().ready();
    await Promise.all([...joining, leaving]);
    await turn();
    expect([one.got, two.got]).toEqual([[], [all()]]);
    expect(first().closed).toBe(0);
  });
});
