import { describe, expect, test } from 'vitest';
import { PresenceFeed } from '../../../src/rooms/presence-feed.js';
import { turn } from '../../support/fake-clock.js';
import { type FakeWatch, presenceScene } from './presence-fixture.js';

function scene() {
  const { presence, watches, outlet, refuse } = presenceScene();
  const users = new PresenceFeed(presence);
  const watch = () => watches[0] as FakeWatch;
  /** Answers additions until there are none. */
  const read = async () => {
    await turn();
    for (let next = watch().adding.shift(); next !== undefined; next = watch().adding.shift()) {
      next.resolve();
      await turn();
    }
  };
  return { users, watches, outlet, refuse, watch, read };
}

const shown = (user: string, status = 'offline', lastSeen = 0) => ({
  type: 'presence',
  users: [{ user, status, lastSeen }],
});

describe('watched users', () => {
  test('are one watch for all who want to know', async () => {
    const { users, watches, outlet, watch, read } = scene();
    const [one, two] = [outlet(), outlet()];
    const adding = [users.add(one.outlet, ['ann']), users.add(two.outlet, ['ann', 'bob'])];
    await read();
    await Promise.all(adding);
    expect(watches).toHaveLength(1);
    watch().change('ann', 'online');
    watch().change('bob', 'busy');
    expect(one.got).toEqual([shown('ann'), shown('ann', 'online', 5)]);
    expect(two.got.slice(1)).toEqual([shown('ann', 'online', 5), shown('bob', 'busy', 5)]);
    users.remove(one.outlet, ['ann', 'nobody']);
    await read();
    expect(watch().watched).toEqual(new Set(['ann', 'bob']));
    users.remove(two.outlet, ['ann', 'bob']);
    await read();
    expect(watch().watched).toEqual(new Set());
    watch().change('ann', 'offline');
    expect([one.got.length, two.got.length]).toEqual([2, 3]);
    await users.close();
    expect(watch().closed).toBe(1);
  });

  test('that are let go while they are being read are let go', async () => {
    const { users, outlet, watch, read } = scene();
    const one = outlet();
    const adding = users.add(one.outlet, ['ann']);
    users.remove(one.outlet, ['ann']);
    await read();
    await adding;
    await read();
    expect(watch().watched).toEqual(new Set());
    expect(one.got).toEqual([]);
  });

  test('… but not those whom somebody else has come for meanwhile', async () => {
    const { users, outlet, watch, read } = scene();
    const [one, two] = [outlet(), outlet()];
    const first = users.add(one.outlet, ['ann']);
    await turn();
    users.remove(one.outlet, ['ann']);
    const second = users.add(two.outlet, ['ann']);
    await read();
    await Promise.all([first, second]);
    await read();
    expect(watch().watched).toEqual(new Set(['ann']));
    expect(two.got).toEqual([shown('ann')]);
  });

  test('of whom one addition fails do not fail the others', async () => {
    const { users, outlet, watch, read } = scene();
    const [one, two] = [outlet(), outlet()];
    const first = users.add(one.outlet, ['ann']).catch((error: Error) => error.message);
    await turn();
    const second = users.add(two.outlet, ['bob']);
    watch().adding.shift()?.reject(new Error('no'));
    await read();
    expect(await first).toBe('no');
    await second;
    expect(two.got).toEqual([shown('bob')]);
  });

  test('are asked for again where the watch could not begin', async () => {
    const { users, watches, outlet, refuse, read } = scene();
    const one = outlet();
    refuse(new Error('no'));
    await expect(users.add(one.outlet, ['ann'])).rejects.toThrow('no');
    users.remove(one.outlet, ['ann']);
    refuse(undefined);
    const adding = users.add(one.outlet, ['ann']);
    await read();
    await adding;
    expect(watches).toHaveLength(1);
    expect(one.got).toEqual([shown('ann')]);
  });
});
