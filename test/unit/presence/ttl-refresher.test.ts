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

test('everything owned has its turn well within the backstop, however many come and go meanwhile', () => {
  const owned = new LocalSockets();
  const keyTtl = 3_600_000;
  const renewInterval = 10_000;
  const refresh = new TtlRefresher({ localSockets: owned, keys, keyTtl, renewInterval, grace: 0 });
  for (let at = 0; at < 6_000; at++) socket(owned, `old-${at}`);
  socket(owned, 'immortal');
  owned.join({ user: 'immortal', socket: 's', room: 'lobby', partition: 0, info: '1' });
  const turns: number[] = [];
  const roomTurns: number[] = [];
  let born = 0;
  let dead = 0;
  for (let renewal = 0; renewal < 1_440; renewal++) {
    // 200 come and 200 go in each interval: a socket lives five minutes.
    for (let count = 0; count < 200; count++) {
      socket(owned, `new-${born++}`);
      owned.sockets.delete(dead < 6_000 ? `old-${dead}"s` : `new-${dead - 6_000}"s`);
      dead++;
    }
    const slice = refresh.next(renewal * renewInterval).get(0) ?? [];
    expect(slice.length).toBeLessThanOrEqual(2_000);
    for (const { keys: names, rewrite } of slice) {
      if (names.includes(keys[0]?.user('immortal') as string)) turns.push(renewal);
      if (names.includes(keys[0]?.room('lobby') as string)) roomTurns.push(renewal);
      expect(rewrite()).not.toEqual([]);
    }
  }
  for (const seen of [turns, roomTurns]) {
    const gaps = seen.map((renewal, at) => renewal - (seen[at - 1] ?? 0));
    expect(Math.max(...gaps) * renewInterval).toBeLessThan(keyTtl * 0.75);
    expect(seen.at(-1)).toBeGreaterThan(1_440 - (0.75 * keyTtl) / renewInterval);
  }
});
