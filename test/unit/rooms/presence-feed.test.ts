import { describe, expect, test } from 'vitest';
import { PresenceFeed } from '../../../src/rooms/presence-feed.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeWatch, presenceFixture } from './presence-fixture.js';

function fixture() {
  const { presence, watches, writer, refuse, clock } = presenceFixture();
  const users = new PresenceFeed(presence, clock);
  const watch = () => watches[0] as FakeWatch;
  /** Answers additions until there are none. */
  const read = async () => {
    await turn();
    for (let next = watch().adding.shift(); next !== undefined; next = watch().adding.shift()) {
      next.resolve();
      await turn();
    }
  };
  return { users, watches, writer, refuse, watch, read, clock };
}

const shown = (user: string, status = 'offline', lastSeen = 0) => ({
  type: 'presence',
  users: [{ user, status, lastSeen }],
});

describe('watched users', () => {
  test('all peers share one watch', async () => {
    const { users, watches, writer, watch, read, clock } = fixture();
    const [one, two] = [writer(), writer()];
    const adding = [users.add(one.writer, ['ann']), users.add(two.writer, ['ann', 'bob'])];
    await read();
    await Promise.all(adding);
    expect(watches).toHaveLength(1);
    watch().change('ann', 'online');
    clock.advance(50);
    watch().change('bob', 'busy');
    clock.advance(50);
    expect(one.got).toEqual([shown('ann'), shown('ann', 'online', 5)]);
    expect(two.got.slice(1)).toEqual([shown('ann', 'online', 5), shown('bob', 'busy', 5)]);
    users.remove(one.writer, ['ann', 'nobody']);
    await read();
    expect(watch().watched).toEqual(new Set(['ann', 'bob']));
    users.remove(two.writer, ['ann', 'bob']);
    await read();
    expect(watch().watched).toEqual(new Set());
    watch().change('ann', 'offline');
    clock.advance(50);
    expect([one.got.length, two.got.length]).toEqual([2, 3]);
    await users.close();
    expect(watch().closed).toBe(1);
  });

  test('users that change at the same time are sent to each peer in one frame, in their latest state', async () => {
    const { users, writer, watch, read, clock } = fixture();
    const names = Array.from({ length: 300 }, (_, at) => `u${at}`);
    const [all, two, none] = [writer(), writer(), writer()];
    const adding = [
      users.add(all.writer, names),
      users.add(two.writer, ['u0', 'u1']),
      users.add(none.writer, ['u0']),
    ];
    await read();
    await Promise.all(adding);
    for (const name of names) watch().change(name, 'offline');
    watch().change('u1', 'busy');
    watch().change('u0', 'online');
    users.remove(none.writer, ['u0']);
    users.remove(two.writer, ['u1']);
    clock.advance(50);
    const sizes = all.got.slice(1).map((frame) => (frame as { users: unknown[] }).users.length);
    expect(sizes).toEqual([250, 50]);
    expect(all.got[1]).toMatchObject({
      users: expect.arrayContaining([
        { user: 'u0', status: 'online', lastSeen: 5 },
        { user: 'u1', status: 'busy', lastSeen: 5 },
      ]) as unknown,
    });
    expect(two.got.slice(1)).toEqual([shown('u0', 'online', 5)]);
    expect(none.got).toHaveLength(1);
    clock.advance(500);
    expect(all.got).toHaveLength(3);
  });

  test('users removed during the read are unwatched afterwards', async () => {
    const { users, writer, watch, read } = fixture();
    const one = writer();
    const adding = users.add(one.writer, ['ann']);
    users.remove(one.writer, ['ann']);
    await read();
    await adding;
    await read();
    expect(watch().watched).toEqual(new Set());
    expect(one.got).toEqual([]);
  });

  test('users removed during the read stay watched if another peer has added them', async () => {
    const { users, writer, watch, read } = fixture();
    const [one, two] = [writer(), writer()];
    const first = users.add(one.writer, ['ann']);
    await turn();
    users.remove(one.writer, ['ann']);
    const second = users.add(two.writer, ['ann']);
    await read();
    await Promise.all([first, second]);
    await read();
    expect(watch().watched).toEqual(new Set(['ann']));
    expect(two.got).toEqual([shown('ann')]);
  });

  test('a failed addition does not fail the other additions', async () => {
    const { users, writer, watch, read } = fixture();
    const [one, two] = [writer(), writer()];
    const first = users.add(one.writer, ['ann']).catch((error: Error) => error.message);
    await turn();
    const second = users.add(two.writer, ['bob']);
    watch().adding.shift()?.reject(new Error('no'));
    await read();
    expect(await first).toBe('no');
    await second;
    expect(two.got).toEqual([shown('bob')]);
  });

  test('users can be added again after the watch failed to start', async () => {
    const { users, watches, writer, refuse, read } = fixture();
    const one = writer();
    refuse(new Error('no'));
    await expect(users.add(one.writer, ['ann'])).rejects.toThrow('no');
    users.remove(one.writer, ['ann']);
    refuse(undefined);
    const adding = users.add(one.writer, ['ann']);
    await read();
    await adding;
    expect(watches).toHaveLength(1);
    expect(one.got).toEqual([shown('ann')]);
  });

  test('a user whom a peer may not see looks as if never seen, and their changes are not sent', async () => {
    const { users, writer, watch, read, clock } = fixture();
    const hidden = new Set(['ann']);
    const [one, two] = [writer((userId) => !hidden.has(userId)), writer()];
    const adding = [users.add(one.writer, ['ann', 'bob']), users.add(two.writer, ['ann', 'bob'])];
    await read();
    await Promise.all(adding);
    const change = (status: string) => {
      watch().change('ann', status);
      watch().change('bob', status);
      clock.advance(50);
    };
    change('online');
    hidden.delete('ann');
    change('busy');
    hidden.add('ann');
    change('away');
    change('online');
    const both = (...statuses: string[]) => ({
      type: 'presence',
      users: ['ann', 'bob'].map((user, at) => ({
        user,
        status: statuses[at] ?? statuses[0],
        lastSeen: statuses[at] === 'offline' || statuses[0] === 'offline' ? 0 : 5,
      })),
    });
    expect(two.got).toEqual([both('offline'), both('online'), both('busy'), both('away'), both('online')]);
    expect(one.got).toEqual([
      both('offline'),
      shown('bob', 'online', 5),
      both('busy'),
      {
        type: 'presence',
        users: [
          { user: 'ann', status: 'offline', lastSeen: 0 },
          { user: 'bob', status: 'away', lastSeen: 5 },
        ],
      },
      shown('bob', 'online', 5),
    ]);
    // Watched again, the state is asked for again.
    users.remove(one.writer, ['ann', 'bob']);
    hidden.delete('ann');
    const again = users.add(one.writer, ['ann']);
    await read();
    await again;
    expect(one.got.at(-1)).toEqual(shown('ann', 'online', 5));
  });
});
