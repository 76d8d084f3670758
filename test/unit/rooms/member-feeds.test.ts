import { describe, expect, test } from 'vitest';
import { MemberFeeds } from '../../../src/rooms/member-feeds.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeRoomWatch, presenceScene } from './presence-fixture.js';

function scene() {
  const { presence, clock, rooms, outlet } = presenceScene();
  const rosters = new MemberFeeds(presence, clock);
  return { rosters, clock, rooms, outlet, first: () => rooms[0] as FakeRoomWatch };
}

const member = (user: string, sockets = 1) => ({ user, info: null, sockets });
const all = (...members: unknown[]) => ({ type: 'members', room: 'a', reset: true, members });
const changes = (...members: unknown[]) => ({ type: 'members', room: 'a', members });

describe('a roster', () => {
  test('is one watch for all who want to know, until the last of them leaves', async () => {
    const { rosters, rooms, outlet, first } = scene();
    const [one, two] = [outlet(), outlet()];
    const joining = [rosters.subscribe('a', one.outlet), rosters.subscribe('a', two.outlet)];
    first().members.set('ann', { userId: 'ann', info: null, sockets: 2, version: 1 });
    first().ready();
    await Promise.all(joining);
    expect(rooms).toHaveLength(1);
    expect([one.got, two.got]).toEqual([[all(member('ann', 2))], [all(member('ann', 2))]]);
    await rosters.unsubscribe('a', one.outlet);
    await rosters.unsubscribe('a', one.outlet);
    expect(first().closed).toBe(0);
    await rosters.unsubscribe('a', two.outlet);
    expect(first().closed).toBe(1);
    void rosters.subscribe('a', one.outlet);
    expect(rooms).toHaveLength(2);
  });

  test('tells changes in crowds, each user once and as he is then', async () => {
    const { rosters, clock, outlet, first } = scene();
    const one = outlet();
    const joining = rosters.subscribe('a', one.outlet);
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
    await rosters.unsubscribe('a', one.outlet);
    clock.advance(50);
    expect(one.got).toHaveLength(2);
    expect(clock.timers).toBe(0);
  });

  test('shows newcomers everybody there is, and then no more than the changes', async () => {
    const { rosters, clock, outlet, first } = scene();
    const [one, two] = [outlet(), outlet()];
    const joining = rosters.subscribe('a', one.outlet);
    first().ready();
    await joining;
    first().join('ann');
    await rosters.subscribe('a', two.outlet);
    first().leave('ann');
    clock.advance(50);
    expect(two.got).toEqual([all(member('ann')), changes(member('ann', 0))]);
  });

  test('that cannot be had is nobody’s, and the next one tries again', async () => {
    const { rosters, rooms, outlet, first } = scene();
    const [one, two] = [outlet(), outlet()];
    const joining = Promise.allSettled([
      rosters.subscribe('a', one.outlet),
      rosters.subscribe('a', two.outlet),
    ]);
    first().answer.reject(new Error('no'));
    expect((await joining).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await rosters.unsubscribe('a', one.outlet);
    const again = rosters.subscribe('a', one.outlet);
    rooms[1]?.ready();
    await again;
    await rosters.unsubscribe('a', two.outlet);
    expect(rooms[1]?.closed).toBe(0);
    expect(one.got).toEqual([all()]);
  });

  test('tells nothing to who left while it was being read', async () => {
    const { rosters, outlet, first } = scene();
    const [one, two] = [outlet(), outlet()];
    const joining = [rosters.subscribe('a', one.outlet), rosters.subscribe('a', two.outlet)];
    const leaving = rosters.unsubscribe('a', one.outlet);
    first().ready();
    await Promise.all([...joining, leaving]);
    await turn();
    expect([one.got, two.got]).toEqual([[], [all()]]);
    expect(first().closed).toBe(0);
  });
});
