import { expect, test } from 'vitest';
import { PartitionKeys } from '../../../src/presence/keys.js';
import { LocalSockets } from '../../../src/presence/local-sockets.js';
import { TtlRefresher } from '../../../src/presence/ttl-refresher.js';

const keys = [new PartitionKeys('p', 0)];

function socket(owned: LocalSockets, user: string): void {
  owned.sockets.set(`${user}"s`, {
    user,
    key: `${user}"s`,
    socket: 's',
    partition: 0,
    connectedAt: 1,
    status: 'online',
    meta: undefined,
    known: true,
  });
}

test('every owned key is refreshed well within its TTL, however many sockets come and go', () => {
  const owned = new LocalSockets();
  const keyTtl = 3_600_000;
  const renewInterval = 10_000;
  const refresh = new TtlRefresher({ localSockets: owned, keys, keyTtl, renewInterval, grace: 0 });
  for (let at = 0; at < 6_000; at++) socket(owned, `old-${at}`);
  socket(owned, 'permanent');
  owned.join({ user: 'permanent', socket: 's', room: 'lobby', partition: 0, info: '1' });
  const userRefreshes: number[] = [];
  const roomRefreshes: number[] = [];
  let added = 0;
  let removed = 0;
  for (let renewal = 0; renewal < 1_440; renewal++) {
    // Each interval adds 200 sockets and removes 200, so a socket lives for five minutes.
    for (let count = 0; count < 200; count++) {
      socket(owned, `new-${added++}`);
      owned.sockets.delete(removed < 6_000 ? `old-${removed}"s` : `new-${removed - 6_000}"s`);
      removed++;
    }
    const slice = refresh.next(renewal * renewInterval).get(0) ?? [];
    expect(slice.length).toBeLessThanOrEqual(2_000);
    for (const { keys: names, rewrite } of slice) {
      if (names.includes(keys[0]?.user('permanent') as string)) userRefreshes.push(renewal);
      if (names.includes(keys[0]?.room('lobby') as string)) roomRefreshes.push(renewal);
      expect(rewrite()).not.toEqual([]);
    }
  }
  for (const seen of [userRefreshes, roomRefreshes]) {
    const gaps = seen.map((renewal, at) => renewal - (seen[at - 1] ?? 0));
    expect(Math.max(...gaps) * renewInterval).toBeLessThan(keyTtl * 0.75);
    expect(seen.at(-1)).toBeGreaterThan(1_440 - (0.75 * keyTtl) / renewInterval);
  }
});
