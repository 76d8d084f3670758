import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { PresenceService } from '../../src/index.js';
import { PresenceFixture } from '../shared/presence-fixture.js';
import { backendOn, nodeRedis } from '../shared/redis-clients.js';
import { period, timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// Presence while Redis refuses writes. The tests wait out eight leases each: they run side by side, each on its own server.

const LEASE = period(900);
const options = { lease: LEASE, sweepInterval: 50, timeout: 2_000, keyTtl: period(4_000) };

async function redisNow(server: RedisServer): Promise<number> {
  const [seconds, micros] = (await server.cli('TIME')).split('\n');
  return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
}

async function redisTime(server: RedisServer, ms: number): Promise<void> {
  const end = (await redisNow(server)) + ms;
  await waitFor(async () => (await redisNow(server)) >= end, { timeout: ms + 20_000, interval: 50 });
}

/** Ways in which Redis comes to refuse writes and takes them again. The reports name the cause. */
const refusals: Record<
  string,
  { refuse(server: RedisServer): Promise<unknown>; accept(server: RedisServer): Promise<unknown> }
> = {
  NOREPLICAS: {
    refuse: (server) => server.cli('CONFIG', 'SET', 'min-replicas-to-write', '1'),
    accept: (server) => server.cli('CONFIG', 'SET', 'min-replicas-to-write', '0'),
  },
  OOM: {
    refuse: (server) => server.cli('CONFIG', 'SET', 'maxmemory', '1'),
    accept: (server) => server.cli('CONFIG', 'SET', 'maxmemory', '0'),
  },
  MISCONF: {
    // A snapshot fails, because a directory has the name of its file.
    refuse: async (server) => {
      const [, dir] = (await server.cli('CONFIG', 'GET', 'dir')).split('\n');
      await mkdir(join(dir as string, 'dump.rdb', 'blocked'), { recursive: true });
      await server.cli('CONFIG', 'SET', 'save', '3600 1');
      await server.cli('BGSAVE');
      await waitFor(async () => (await server.cli('INFO', 'persistence')).includes('last_bgsave_status:err'));
    },
    accept: (server) => server.cli('CONFIG', 'SET', 'save', ''),
  },
  NOPERM: {
    refuse: (server) => server.cli('ACL', 'SETUSER', 'default', '-@write'),
    accept: (server) => server.cli('ACL', 'SETUSER', 'default', '+@all'),
  },
};

test.concurrent.each([
  ['NOREPLICAS', 1],
  ['NOREPLICAS', 16],
  ['OOM', 1],
  ['MISCONF', 1],
  ['NOPERM', 1],
] as const)(
  'writes refused for four leases (%s, %i partitions): no user goes offline, also with a process that only reads',
  async (cause, partitions) => {
    const { refuse, accept } = refusals[cause] as (typeof refusals)[string];
    const server = await startRedis();
    const fixture = new PresenceFixture(backendOn(server, nodeRedis));
    try {
      const [reader, changes] = await fixture.observer({ ...options, partitions });
      const owners = [0, 1, 2, 3].map(() => fixture.service({ ...options, partitions }));
      const users = owners.flatMap((_, index) => [0, 1, 2].map((at) => `u${index}-${at}`));
      await Promise.all(users.map((user, at) => (owners[at % 4] as PresenceService).setPresence(user, 's')));
      try {
        await refuse(server);
        await redisTime(server, 4 * LEASE);
      } finally {
        await accept(server);
      }
      await redisTime(server, 4 * LEASE);
      for (const user of users) expect(changes.of(user), user).toEqual(['offline > online']);
      expect(await reader.getOnlineCount()).toBe(users.length);
      // Refused renewals and sweeps were reported.
      expect(fixture.errors.length).toBeGreaterThan(0);
      const text = cause === 'NOPERM' ? /NOPERM|ACL|can't run this command/ : new RegExp(cause);
      expect(fixture.errors.filter((error) => !text.test(error))).toEqual([]);
      fixture.errors.length = 0;
    } finally {
      await fixture.end();
      await server.stop();
    }
  },
  timeLimit(60_000),
);
