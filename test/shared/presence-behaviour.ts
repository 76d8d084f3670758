import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  ClosedError,
  HandlerError,
  InvalidArgumentError,
  type Json,
  LimitError,
  type PresenceService,
  type Subscription,
} from '../../src/index.js';
import { driverFor } from '../../src/redis/detect.js';
import { createChaosDriver } from '../../src/testing/index.js';
import { turn } from '../support/fake-clock.js';
import { period, timeLimit } from '../support/machine.js';
import { waitFor } from '../support/wait.js';
import { Changes, counting, type PresenceBackend, PresenceFixture, weirdIds } from './presence-fixture.js';

/** Resolves when a new socket is later than `time`, by the service's estimate of Redis's clock, which can lag behind this host's. */
async function laterThan(presence: PresenceService, userId: string, time = new Date(0)): Promise<void> {
  await waitFor(async () => {
    const { sockets } = await presence.setPresence(userId, 'a-probe', 'online');
    await presence.removeSocket(userId, 'a-probe');
    const probe = sockets.find(({ socketId }) => socketId === 'a-probe');
    return probe !== undefined && probe.connectedAt > time;
  });
}

/** What presence does on any Redis and with any client; `make` gives each test a backend of its own. */
export function presenceBehaviour(
  make: () => PresenceBackend | Promise<PresenceBackend>,
  { partitions = 1 }: { partitions?: number } = {},
): void {
  let fixture: PresenceFixture;

  beforeEach(async () => {
    fixture = new PresenceFixture(await make());
  });

  afterEach(() => fixture.end());

  describe('one user', () => {
    test('connects, changes status and leaves', async () => {
      const [presence, changes] = await fixture.observer();
      expect(await presence.getPresence('ann')).toBeNull();

      const before = Date.now();
      const online = await presence.setPresence('ann', 's1');
      expect(online).toEqual({
        userId: 'ann',
        status: 'online',
        lastSeen: expect.any(Date),
        socketIds: ['s1'],
        sockets: [
          {
            socketId: 's1',
            nodeId: presence.stats().nodeId,
            status: 'online',
            connectedAt: expect.any(Date),
          },
        ],
        version: expect.any(Number),
      });
      // By the clock of Redis.
      expect(online.sockets[0]?.connectedAt.getTime()).toBeGreaterThan(before - 1_000);
      expect(online.lastSeen.getTime()).toBeGreaterThan(before - 1_000);
      expect(await presence.getPresence('ann')).toEqual(online);

      const busy = await presence.setPresence('ann', 's1', 'busy');
      expect(busy.status).toBe('busy');
      expect(busy.version).toBeGreaterThan(online.version);

      const offline = await presence.removeSocket('ann', 's1');
      expect(offline).toEqual({
        userId: 'ann',
        status: 'offline',
        lastSeen: expect.any(Date),
        socketIds: [],
        sockets: [],
        version: expect.any(Number),
      });
      expect(offline?.version).toBeGreaterThan(busy.version);
      expect(await presence.getPresence('ann')).toEqual(offline);

      await changes.settled();
      expect(changes.list.filter(({ userId }) => userId === 'ann')).toEqual([
        {
          userId: 'ann',
          status: 'online',
          previous: 'offline',
          lastSeen: online.lastSeen,
          version: online.version,
          sockets: 1,
        },
        {
          userId: 'ann',
          status: 'busy',
          previous: 'online',
          lastSeen: busy.lastSeen,
          version: busy.version,
          sockets: 1,
        },
        {
          userId: 'ann',
          status: 'offline',
          previous: 'busy',
          lastSeen: offline?.lastSeen,
          version: offline?.version,
          sockets: 0,
        },
      ]);
    });

    test('has the highest-ranking status of their sockets on all nodes', async () => {
      const [one, changes] = await fixture.observer();
      const two = fixture.service();
      const status = async () => (await two.getPresence('ann'))?.status;
      await one.setPresence('ann', 'a', 'away');
      expect(await status()).toBe('away');
      await two.setPresence('ann', 'b', 'online');
      expect(await status()).toBe('online');
      await one.setPresence('ann', 'c', 'busy');
      expect(await status()).toBe('busy');
      await two.setPresence('ann', 'd', 'online');
      await one.removeSocket('ann', 'c');
      expect(await status()).toBe('online');
      await two.removeSocket('ann', 'b');
      await two.removeSocket('ann', 'd');
      expect(await status()).toBe('away');
      await one.removeSocket('ann', 'a');
      expect(await status()).toBe('offline');
      await changes.settled();
      expect(changes.of('ann')).toEqual([
        'offline > away',
        'away > online',
        'online > busy',
        'busy > online',
        'online > away',
        'away > offline',
      ]);
    });

    test('with statuses of the app: they rank last, in alphabetical order', async () => {
      const presence = fixture.service();
      const steps: [socket: string, status: string, expected: string][] = [
        ['a', 'zoning.out', 'zoning.out'],
        ['b', 'in-game', 'in-game'],
        ['c', 'In-game', 'In-game'],
        ['d', 'in-game:2', 'In-game'],
        ['e', 'away', 'away'],
        ['f', 'online', 'online'],
        ['g', 'on', 'online'],
        ['h', 'busy', 'busy'],
      ];
      for (const [socket, status, expected] of steps) {
        expect((await presence.setPresence('ann', socket, status)).status).toBe(expected);
      }
    });

    test('with an order of statuses of the app', async () => {
      const presence = fixture.service({ statusPriority: ['dnd', 'away', 'busy'] });
      expect((await presence.setPresence('ann', 'a', 'online')).status).toBe('online');
      expect((await presence.setPresence('ann', 'b', 'busy')).status).toBe('busy');
      expect((await presence.setPresence('ann', 'c', 'away')).status).toBe('away');
      expect((await presence.setPresence('ann', 'd', 'dnd')).status).toBe('dnd');
    });

    test('an update keeps when the socket connected, and replaces its meta', async () => {
      const presence = fixture.service();
      const first = await presence.setPresence('ann', 's1', 'online', { device: 'phone' });
      await laterThan(presence, 'ann', first.sockets[0]?.connectedAt);
      await presence.setPresence('ann', 's2', 'online');
      const second = await presence.setPresence('ann', 's1', 'away', { device: 'tablet' });
      expect(second.sockets[0]).toEqual({ ...first.sockets[0], status: 'away', meta: { device: 'tablet' } });
      const third = await presence.setPresence('ann', 's1', 'away');
      expect(third.sockets[0]).not.toHaveProperty('meta');
      // Oldest first, for any ids.
      await laterThan(presence, 'ann', third.sockets[1]?.connectedAt);
      const fourth = await presence.setPresence('ann', 'a-later-one', 'away');
      expect(fourth.socketIds).toEqual(['s1', 's2', 'a-later-one']);
      expect(fourth.sockets.map(({ socketId }) => socketId)).toEqual(fourth.socketIds);
    });

    test.each<[string, Json]>([
      ['null', null],
      ['zero', 0],
      ['a negative fraction', -1.5e-7],
      ['a great number', 2 ** 53],
      ['false', false],
      ['an empty string', ''],
      ['quotes and brackets', '"],["x","y","online",1]]'],
      ['backslashes and percent signs', '\\" \\\\ %s %1 %%'],
      ['control characters', '\0\n\u2028'],
      ['any script', 'żółć 日本語 😀'],
      ['nesting', { a: [1, { b: null }, []], '': {}, 'k"': 'v' }],
      ['an own __proto__', JSON.parse('{"__proto__":{"x":1}}') as Json],
    ])('meta is returned unchanged: %s', async (_, meta) => {
      const presence = fixture.service();
      const other = fixture.service();
      const written = await presence.setPresence('ann', 's1', 'online', meta);
      expect(JSON.stringify(written.sockets[0]?.meta)).toBe(JSON.stringify(meta));
      const read = await other.getPresence('ann');
      expect(JSON.stringify(read?.sockets[0]?.meta)).toBe(JSON.stringify(meta));
    });

    test('a call that changes nothing changes nothing', async () => {
      const [presence, changes] = await fixture.observer();
      const first = await presence.setPresence('ann', 's1', 'online', { a: 1 });
      expect(await presence.setPresence('ann', 's1', 'online', { a: 1 })).toEqual(first);
      expect(await presence.removeSocket('ann', 'unknown')).toEqual(first);
      expect(
        await presence.removeSocket('of no user, or of unknown users only, is an empty map', 's1'),
      ).toBeNull();
      expect(await presence.getPresence('nobody')).toBeNull();
      const offline = await presence.removeSocket('ann', 's1');
      expect(await presence.removeSocket('ann', 's1')).toEqual(offline);
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > online', 'online > offline']);
    });

    test('sockets that are added and removed beside others cause no change of status', async () => {
      const [presence, changes] = await fixture.observer();
      const versions: number[] = [];
      versions.push((await presence.setPresence('ann', 's1')).version);
      versions.push((await presence.setPresence('ann', 's2')).version);
      versions.push((await presence.setPresence('ann', 's3', 'away', 'meta')).version);
      versions.push((await presence.removeSocket('ann', 's2'))?.version ?? 0);
      expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b));
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > online']);
    });

    test('versions grow, also when the record was forgotten or lost', async () => {
      const presence = fixture.service({ lastSeenTtl: 40, lease: 60_000 });
      const versions = [(await presence.setPresence('ann', 's1')).version];
      versions.push((await presence.removeSocket('ann', 's1'))?.version ?? 0);
      await waitFor(async () => (await presence.getPresence('ann')) === null);
      versions.push((await presence.setPresence('ann', 's1')).version);
      await fixture.flush();
      versions.push((await presence.setPresence('ann', 's2')).version);
      expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b));
      expect(versions).toHaveLength(4);
    });
  });

  describe('calls at once', () => {
    test('for one socket take effect in their order', async () => {
      const [presence, changes] = await fixture.observer();
      const calls: Promise<unknown>[] = [];
      for (let count = 0; count < 40; count++) {
        calls.push(presence.setPresence('ann', 's1', ['online', 'away', 'busy'][count % 3]));
        calls.push(presence.removeSocket('ann', 's1'));
      }
      calls.push(presence.setPresence('ann', 's1', 'away', 'the last'));
      await Promise.all(calls);
      const record = await presence.getPresence('ann');
      expect(record?.sockets.map(({ socketId, status, meta }) => [socketId, status, meta])).toEqual([
        ['s1', 'away', 'the last'],
      ]);
      await presence.removeSocket('ann', 's1');
      await changes.settled();
      changes.expectUnbroken();
      expect(changes.of('ann').at(-1)).toBe('away > offline');
    });

    test('of two nodes for the same users are announced once each, in the right order', async () => {
      const [observer, changes] = await fixture.observer();
      const nodes = [fixture.service(), fixture.service()];
      const users = ['ann', 'bob', 'cleo', 'dan'];
      const statuses = ['online', 'away', 'busy'];
      for (let round = 0; round < 12; round++) {
        const calls: Promise<unknown>[] = [];
        for (const [index, node] of nodes.entries()) {
          for (const [at, user] of users.entries()) {
            const turn = round * 7 + index * 3 + at * 5;
            const socket = `s${turn % 2}`;
            calls.push(
              turn % 3 === 0
                ? node.removeSocket(user, socket)
                : node.setPresence(user, socket, statuses[turn % statuses.length]),
            );
          }
        }
        await Promise.all(calls);
      }
      await changes.settled();
      changes.expectUnbroken();
      const records = await observer.getMultiplePresence(users);
      for (const [user, record] of records) {
        const last = changes.list.filter(({ userId }) => userId === user).at(-1);
        expect(last?.status).toBe(record.status);
        expect(last?.version).toBeLessThanOrEqual(record.version);
      }
      expect(new Set(changes.list.map(({ userId }) => userId)).size).toBeGreaterThan(users.length);
    });

    test('are sent in one transaction', async () => {
      const presence = fixture.service();
      await presence.connect();
      const before = presence.stats();
      const users = Array.from({ length: 300 }, (_, index) => `u${index}`);
      await Promise.all(users.map((user) => presence.setPresence(user, 's')));
      const after = presence.stats();
      expect(after.changes - before.changes).toBe(300);
      expect(after.transactions - before.transactions).toBeLessThanOrEqual(3 * partitions);
      expect(after.queued).toBe(0);
      expect(after.sockets).toBe(300);
      expect(await presence.getOnlineCount()).toBe(300);
    });
  });

  describe('one socket id on two nodes', () => {
    test('counts once, and each node removes its own registration only', async () => {
      const [one, changes] = await fixture.observer();
      const two = fixture.service();
      await one.setPresence('ann', 's1', 'online', 'first');
      const since = (await one.getPresence('ann'))?.sockets[0]?.connectedAt.getTime() ?? 0;
      await waitFor(() => Date.now() > since + 1);
      const both = await two.setPresence('ann', 's1', 'away', 'second');
      // The later connection is the one it was resumed on.
      expect(both.sockets.map(({ nodeId, status, meta }) => [nodeId, status, meta])).toEqual([
        [two.stats().nodeId, 'away', 'second'],
      ]);
      expect(both.status).toBe('away');
      const left = await one.removeSocket('ann', 's1');
      expect(left?.socketIds).toEqual(['s1']);
      expect(left?.sockets[0]?.nodeId).toBe(two.stats().nodeId);
      expect([one.stats().sockets, two.stats().sockets]).toEqual([0, 1]);
      expect((await two.removeSocket('ann', 's1'))?.status).toBe('offline');
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > online', 'online > away', 'away > offline']);
    });

    test('is removed everywhere by a process that owns neither, and does not come back', async () => {
      const options = { lease: 1_200, sweepInterval: 50 };
      const [third, changes] = await fixture.observer(options);
      const owners = [fixture.service(options), fixture.service(options)];
      for (const owner of owners) {
        await owner.setPresence('ann', 's1');
        await owner.setPresence('bob', `of ${owner.stats().nodeId}`);
      }
      expect((await third.removeSocket('ann', 's1'))?.status).toBe('offline');
      for (const owner of owners) {
        await waitFor(() => owner.stats().sockets === 1, { message: 'the owner to drop the socket' });
      }
      // After a loss of all data, owners restore the sockets that they still own.
      await fixture.flush();
      await waitFor(async () => (await third.getPresence('bob'))?.sockets.length === 2, {
        message: 'the owners to restore what they own',
      });
      expect(await third.getPresence('ann')).toBeNull();
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > online', 'online > offline']);
    });

    test('is removed for good when only the other one is left', async () => {
      const one = fixture.service();
      const two = fixture.service();
      const third = fixture.service();
      await one.setPresence('ann', 's1');
      await two.setPresence('ann', 's1');
      await one.close();
      expect((await third.getPresence('ann'))?.socketIds).toEqual(['s1']);
      expect((await third.removeSocket('ann', 's1'))?.socketIds).toEqual([]);
      await waitFor(() => two.stats().sockets === 0);
    });
  });

  describe('ids', () => {
    test('of any kind work as user and as socket', async () => {
      const [presence, changes] = await fixture.observer();
      const other = fixture.service();
      await Promise.all(
        weirdIds.map(async (id) => {
          const record = await presence.setPresence(id, id, 'online', { id });
          expect(record.userId).toBe(id);
          expect(record.socketIds).toEqual([id]);
        }),
      );
      const records = await other.getMultiplePresence(weirdIds);
      expect([...records.keys()]).toEqual(weirdIds);
      for (const [id, record] of records) {
        expect(record.socketIds).toEqual([id]);
        expect(record.sockets[0]?.meta).toEqual({ id });
      }
      expect(await other.getOnlineCount()).toBe(weirdIds.length);
      for (const pageSize of [1, 7, 1_000]) {
        const listed: string[] = [];
        for await (const id of other.listOnlineUsers({ pageSize })) {
          listed.push(id);
          // A page that makes no progress would repeat forever.
          expect(listed.length).toBeLessThanOrEqual(weirdIds.length);
        }
        expect(listed.sort()).toEqual([...weirdIds].sort());
      }
      // Half are removed by their owner, half by another process, which has to find the owner first.
      await Promise.all(weirdIds.map((id, at) => (at % 2 === 0 ? presence : other).removeSocket(id, id)));
      for (const record of (await other.getMultiplePresence(weirdIds)).values()) {
        expect(record).toMatchObject({ status: 'offline', socketIds: [] });
      }
      expect(await other.getOnlineCount()).toBe(0);
      await changes.settled();
      for (const id of weirdIds) expect(changes.of(id)).toEqual(['offline > online', 'online > offline']);
      await waitFor(() => presence.stats().sockets === 0);
    });

    test('that look similar are different', async () => {
      const presence = fixture.service();
      const pairs: [string, string][] = [
        ['a', 'b"c'],
        ['a"b', 'c'],
        ['a\\', '"b"c'],
        ['a\\"b', 'c'],
        ['a', 'b\\"c'],
        ['A', 'b'],
        ['a', 'B'],
        ['a', 'b'],
        ['a ', 'b'],
        ['é', 'nfc'],
        ['e\u0301', 'nfd'],
      ];
      for (const [user, socket] of pairs) await presence.setPresence(user, socket);
      expect(presence.stats().sockets).toBe(pairs.length);
      for (const [user] of pairs) {
        const expected = pairs.filter(([it]) => it === user).map(([, socket]) => socket);
        expect((await presence.getPresence(user))?.socketIds.sort()).toEqual(expected.sort());
      }
    });

    test('of any kind are restored after a loss of all data', async () => {
      const presence = fixture.service({ lease: 900, sweepInterval: 50 });
      await Promise.all(weirdIds.map((id) => presence.setPresence(id, id)));
      await fixture.flush();
      await waitFor(async () => (await presence.getOnlineCount()) === weirdIds.length);
      for (const [id, record] of await presence.getMultiplePresence(weirdIds)) {
        expect(record.socketIds).toEqual([id]);
      }
      expect(presence.stats().restored).toBeGreaterThanOrEqual(weirdIds.length);
    });

    test('of any kind are reaped when their process is cut off', async () => {
      const options = { lease: 900, sweepInterval: 50 };
      const [survivor, changes] = await fixture.observer(options);
      const chaos = createChaosDriver(fixture.client());
      const dying = fixture.service({
        ...options,
        redis: chaos,
        timeout: timeLimit(600),
        onError: () => {},
      });
      await Promise.all(weirdIds.map((id) => dying.setPresence(id, id)));
      chaos.cut();
      await waitFor(async () => (await survivor.getOnlineCount()) === 0, { timeout: 8_000 });
      for (const [id, record] of await survivor.getMultiplePresence(weirdIds)) {
        expect(record, id).toMatchObject({ status: 'offline', socketIds: [] });
      }
      await changes.settled();
      for (const id of weirdIds) expect(changes.of(id)).toEqual(['offline > online', 'online > offline']);
      expect(survivor.stats()).toMatchObject({ reapedNodes: 1, reapedSockets: weirdIds.length });
    });
  });

  describe('getMultiplePresence', () => {
    test('without known users is empty', async () => {
      const presence = fixture.service();
      expect(await presence.getMultiplePresence([])).toEqual(new Map());
      expect(await presence.getMultiplePresence(['nobody', 'no one'])).toEqual(new Map());
    });

    test('keeps the requested order, contains each user once, and leaves out unknown users', async () => {
      const presence = fixture.service();
      await Promise.all(['ann', 'bob', 'cleo'].map((user) => presence.setPresence(user, `${user}'s`)));
      await presence.removeSocket('bob', "bob's");
      function* asked() {
        yield* ['cleo', 'nobody', 'bob', 'ann', 'bob', 'cleo', 'ghost'];
      }
      const found = await presence.getMultiplePresence(asked());
      expect([...found.keys()]).toEqual(['cleo', 'bob', 'ann']);
      expect(found.get('bob')?.status).toBe('offline');
      expect(found.get('ann')).toEqual(await presence.getPresence('ann'));
    });

    describe.each([
      ['an object of another release', '{"v":9,"status":"online","sockets":[]}'],
      ['a list of another release', '[9,"online",1795881938046219,1795881938046,[["s","n"]]]'],
      ['a truncated record', '["online",17958819'],
    ])('with %s in place of one record', (_, text) => {
      const spoil = async (user: string) => {
        const { record } = fixture.keysOf(user, partitions);
        await fixture.execute(['SET', record, text], record);
      };

      test('returns all other users and reports the unreadable record once', async () => {
        const presence = fixture.service();
        const users = Array.from({ length: 30 }, (_, index) => `u${index}`);
        await Promise.all(users.map((user) => presence.setPresence(user, 's')));
        await spoil('u7');
        const found = await presence.getMultiplePresence(users);
        expect([...found.keys()]).toEqual(users.filter((user) => user !== 'u7'));
        expect(fixture.errors.splice(0)).toEqual([expect.stringMatching(/^decode: .*"u7"/)]);
        expect(await presence.getPresence('u7')).toBeNull();
        expect(fixture.errors.splice(0)).toEqual([expect.stringMatching(/^decode: .*"u7"/)]);
      });

      test('publishes no false change when the user connects, and the offline when they leave', async () => {
        const [presence, changes] = await fixture.observer();
        await presence.setPresence('ann', 's1');
        await spoil('ann');
        const watch = await presence.watch(['ann'], () => {});
        expect(fixture.errors.splice(0)).toHaveLength(1);
        expect((await presence.setPresence('ann', 's2')).socketIds.sort()).toEqual(['s1', 's2']);
        await waitFor(() => watch.get('ann')?.status === 'online', { message: 'the watch to know ann' });
        expect(await presence.getOnlineCount()).toBe(1);
        await spoil('ann');
        await presence.removeSocket('ann', 's1');
        await spoil('ann');
        expect(await presence.removeSocket('ann', 's2')).toMatchObject({ status: 'offline' });
        await changes.settled();
        expect(changes.of('ann')).toEqual(['offline > online', 'online > offline']);
        expect(await presence.getOnlineCount()).toBe(0);
      });

      test('publishes nothing when an offline user is looked at', async () => {
        const [presence, changes] = await fixture.observer();
        await presence.setPresence('ann', 's1');
        await presence.removeSocket('ann', 's1');
        await spoil('ann');
        await presence.removeSocket('ann', 's1', { immediate: true });
        await changes.settled();
        expect(changes.of('ann')).toEqual(['offline > online', 'online > offline']);
        fixture.errors.length = 0;
      });
    });

    test('reads 2,500 users in one call', async () => {
      const presence = fixture.service({ timeout: 60_000 });
      const users = Array.from({ length: 2_500 }, (_, index) => `user ${index}`);
      await Promise.all(users.filter((_, at) => at % 5 !== 0).map((user) => presence.setPresence(user, 's')));
      const found = await presence.getMultiplePresence(users);
      expect([...found.keys()]).toEqual(users.filter((_, at) => at % 5 !== 0));
      for (const [user, record] of found) {
        expect(record.userId).toBe(user);
        expect(record.socketIds).toEqual(['s']);
      }
      expect(await presence.getOnlineCount()).toBe(2_000);
    });
  });

  describe('listOnlineUsers', () => {
    test('lists each online user once, with any page size', async () => {
      const presence = fixture.service();
      const users = Array.from({ length: 50 }, (_, index) => `u${index}`);
      await Promise.all(users.map((user) => presence.setPresence(user, 's')));
      await presence.removeSocket('u7', 's');
      for (const pageSize of [1, 7, 49, 50]) {
        const listed: string[] = [];
        for await (const user of presence.listOnlineUsers({ pageSize })) listed.push(user);
        expect(listed.sort()).toEqual(users.filter((user) => user !== 'u7').sort());
      }
    });

    test('lists users who stay online exactly once while others connect and disconnect', async () => {
      const presence = fixture.service();
      const staying = Array.from({ length: 30 }, (_, index) => `stays ${index}`);
      const leaving = Array.from({ length: 30 }, (_, index) => `leaves ${index}`);
      await Promise.all([...staying, ...leaving].map((user) => presence.setPresence(user, 's')));
      const listed: string[] = [];
      for await (const user of presence.listOnlineUsers({ pageSize: 3 })) {
        listed.push(user);
        const gone = leaving.pop();
        if (gone !== undefined) {
          await presence.removeSocket(gone, 's');
          await presence.setPresence(`comes ${listed.length}`, 's');
        }
      }
      expect(listed.filter((user) => user.startsWith('stays')).sort()).toEqual(staying.sort());
      expect(new Set(listed).size).toBe(listed.length);
    });

    test('ends on break, and throws the reason when its signal aborts', async () => {
      const presence = fixture.service();
      await Promise.all(['a', 'b', 'c'].map((user) => presence.setPresence(user, 's')));
      for await (const user of presence.listOnlineUsers({ pageSize: 1 })) {
        expect(['a', 'b', 'c']).toContain(user);
        break;
      }
      const abort = new AbortController();
      const reason = new Error('enough');
      const listed: string[] = [];
      const reading = (async () => {
        for await (const user of presence.listOnlineUsers({ pageSize: 10, signal: abort.signal })) {
          listed.push(user);
          abort.abort(reason);
        }
      })();
      await expect(reading).rejects.toBe(reason);
      expect(listed).toHaveLength(1);
      expect(() => presence.listOnlineUsers({ signal: abort.signal })).toThrow(reason);
    });
  });

  describe('subscribe', () => {
    test('every handler of every process receives each change once', async () => {
      const [one, first] = await fixture.observer();
      const second = await Changes.of(one);
      const [two, third] = await fixture.observer();
      await one.setPresence('ann', 's1');
      await two.setPresence('ann', 's2', 'busy');
      await Promise.all([first.settled(), second.settled(), third.settled()]);
      for (const changes of [first, second, third]) {
        expect(changes.of('ann')).toEqual(['offline > online', 'online > busy']);
        changes.expectUnbroken();
      }
    });

    test('a handler is not called after unsubscribing, also within a batch', async () => {
      const [presence, changes] = await fixture.observer();
      const received: string[] = [];
      const subscription: Subscription = await presence.subscribe(({ userId }) => {
        received.push(userId);
        void subscription.unsubscribe();
      });
      await Promise.all(['a', 'b', 'c', 'd'].map((user) => presence.setPresence(user, 's')));
      await changes.settled();
      expect(received).toHaveLength(1);
      await changes.unsubscribe();
      await changes.unsubscribe();
      const [, fresh] = await fixture.observer();
      await presence.setPresence('late', 's');
      await fresh.settled();
      expect(changes.of('late')).toEqual([]);
      expect(fresh.of('late')).toEqual(['offline > online']);
    });

    test('a handler that throws is reported, and other handlers are still called', async () => {
      const errors: unknown[] = [];
      const presence = fixture.service({ onError: (error, { stage }) => errors.push([stage, error]) });
      await presence.subscribe(() => {
        throw new Error('broken listener');
      });
      const changes = await Changes.of(presence);
      await Promise.all(['a', 'b'].map((user) => presence.setPresence(user, 's')));
      await waitFor(() => changes.list.length === 2);
      expect(errors).toEqual([
        ['handler', expect.any(HandlerError)],
        ['handler', expect.any(HandlerError)],
      ]);
    });

    test('all changes of a batch of 700 arrive', async () => {
      const [presence, changes] = await fixture.observer();
      const users = Array.from({ length: 700 }, (_, index) => `u${index}`);
      await Promise.all(users.map((user) => presence.setPresence(user, 's')));
      await changes.settled();
      for (const user of users) expect(changes.of(user)).toEqual(['offline > online']);
    });
  });

  describe('grace', () => {
    const options = { grace: period(250), sweepInterval: 20 };

    test('a user whose last socket is removed keeps their status until it ends, and is then reported offline once', async () => {
      const [presence, changes] = await fixture.observer(options);
      const [, others] = await fixture.observer(options);
      await presence.setPresence('ann', 's1', 'busy');
      const gone = await presence.removeSocket('ann', 's1');
      expect(gone).toMatchObject({ status: 'busy', socketIds: [], sockets: [] });
      expect(await presence.getOnlineCount()).toBe(1);
      const change = await changes.until('ann', 'offline');
      expect(change).toMatchObject({ previous: 'busy', sockets: 0 });
      // Last seen when the socket went, not when the grace ended.
      expect(change.lastSeen).toEqual(gone?.lastSeen);
      expect(await presence.getPresence('ann')).toMatchObject({
        status: 'offline',
        lastSeen: gone?.lastSeen,
        version: change.version,
      });
      expect(change.version).toBeGreaterThan(gone?.version ?? 0);
      expect(await presence.getOnlineCount()).toBe(0);
      await others.settled();
      expect(others.of('ann')).toEqual(['offline > busy', 'busy > offline']);
    });

    test('a user who reconnects within the grace period is never reported offline', async () => {
      const [presence, changes] = await fixture.observer(options);
      const other = fixture.service(options);
      await presence.setPresence('ann', 's1');
      await presence.setPresence('bob', 's1');
      await presence.removeSocket('ann', 's1');
      await other.setPresence('ann', 's2');
      // Bob's grace period began later, so ann's would have ended with it.
      await presence.removeSocket('bob', 's1');
      await changes.until('bob', 'offline');
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > online']);
      expect(await presence.getPresence('ann')).toMatchObject({ status: 'online', socketIds: ['s2'] });
    });

    test('a user who reconnects with another status is reported once', async () => {
      const [presence, changes] = await fixture.observer(options);
      await presence.setPresence('ann', 's1', 'busy');
      await presence.removeSocket('ann', 's1');
      await presence.setPresence('ann', 's2', 'away');
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > busy', 'busy > away']);
    });

    test('does not start while the user has other sockets', async () => {
      const presence = fixture.service(options);
      await presence.setPresence('ann', 's1', 'busy');
      await presence.setPresence('ann', 's2', 'away');
      expect(await presence.removeSocket('ann', 's1')).toMatchObject({ status: 'away', socketIds: ['s2'] });
    });

    test('a second removal does not prolong it', async () => {
      const [presence, changes] = await fixture.observer(options);
      await presence.setPresence('ann', 's1');
      await presence.setPresence('bob', 's1');
      await presence.removeSocket('ann', 's1');
      await presence.removeSocket('bob', 's1');
      let repeating = true;
      const repeated = (async () => {
        while (repeating) {
          await presence.removeSocket('ann', 's1');
          // The embedded engine answers within the turn: nothing else would ever run.
          await turn();
        }
      })();
      await changes.until('bob', 'offline');
      await changes.until('ann', 'offline', 1_000);
      repeating = false;
      await repeated;
    });

    test('is skipped with immediate', async () => {
      const [presence, changes] = await fixture.observer({ ...options, grace: 60_000 });
      await presence.setPresence('ann', 's1');
      expect(await presence.removeSocket('ann', 's1', { immediate: true })).toMatchObject({
        status: 'offline',
      });
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > online', 'online > offline']);
    });

    test('ends although the process that started it has died', async () => {
      const [, changes] = await fixture.observer(options);
      const leaving = fixture.service(options);
      await leaving.setPresence('ann', 's1');
      await leaving.removeSocket('ann', 's1');
      await leaving.close();
      await changes.until('ann', 'offline');
    });
  });

  describe('close', () => {
    test('removes the sockets of this process at once, and no others', async () => {
      const [observer, changes] = await fixture.observer();
      const leaving = fixture.service({ grace: 60_000 });
      const staying = fixture.service();
      await leaving.setPresence('ann', 's1');
      await leaving.setPresence('bob', 's1', 'busy');
      await staying.setPresence('bob', 's2');
      await leaving.close();
      expect(await observer.getPresence('ann')).toMatchObject({ status: 'offline', socketIds: [] });
      expect(await observer.getPresence('bob')).toMatchObject({ status: 'online', socketIds: ['s2'] });
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > online', 'online > offline']);
      expect(changes.of('bob')).toEqual(['offline > busy', 'busy > online']);
    });

    test('with handoff leaves them as they are, for another process to take over', async () => {
      const [observer, changes] = await fixture.observer({ sweepInterval: 20 });
      const leaving = fixture.service();
      const users = Array.from({ length: 20 }, (_, index) => `u${index}`);
      await Promise.all(users.map((user) => leaving.setPresence(user, 'old', 'away')));
      await leaving.close({ handoff: true });
      expect(await observer.getOnlineCount()).toBe(20);
      for (const record of (await observer.getMultiplePresence(users)).values()) {
        expect(record).toMatchObject({ status: 'away', socketIds: [] });
      }
      const next = fixture.service();
      await Promise.all(users.map((user) => next.setPresence(user, 'new', 'away')));
      await changes.settled();
      for (const user of users) expect(changes.of(user)).toEqual(['offline > away']);
    });

    test('is idempotent, and everything after it fails', async () => {
      const presence = fixture.service();
      await presence.setPresence('ann', 's1');
      const closing = presence.close();
      expect(presence.close({ handoff: true })).toBe(closing);
      await closing;
      await presence[Symbol.asyncDispose]();
      const calls: [string, () => Promise<unknown>][] = [
        ['setPresence', () => presence.setPresence('ann', 's1')],
        ['removeSocket', () => presence.removeSocket('ann', 's1')],
        ['getPresence', () => presence.getPresence('ann')],
        ['getMultiplePresence', () => presence.getMultiplePresence(['ann'])],
        ['getOnlineCount', () => presence.getOnlineCount()],
        ['listOnlineUsers', async () => presence.listOnlineUsers().next()],
        ['onChange', () => presence.subscribe(() => {})],
        ['connect', () => presence.connect()],
      ];
      for (const [name, call] of calls) await expect(call(), name).rejects.toThrow(ClosedError);
    });

    test('of a service that was never used', async () => {
      await fixture.service().close();
      const connected = fixture.service();
      await connected.connect();
      await connected.close();
    });

    test('undoes a registration in progress', async () => {
      const observer = fixture.service();
      await observer.connect();
      const client = fixture.client();
      await fixture.service({ redis: client }).connect();
      // A service that is connected, one whose client is not connected yet, one whose client is.
      for (const how of ['connected', 'fresh', 'on a connected client']) {
        const presence = fixture.service(how === 'on a connected client' ? { redis: client } : {});
        if (how === 'connected') await presence.connect();
        const call = presence.setPresence('ann', 's1').catch((error: unknown) => error);
        await presence.close();
        const outcome = await call;
        if (outcome instanceof Error) expect(outcome).toBeInstanceOf(ClosedError);
        expect((await observer.getPresence('ann'))?.socketIds ?? [], how).toEqual([]);
        expect(await observer.getOnlineCount(), how).toBe(0);
      }
    });

    test('of one service leaves another on the same client alone', async () => {
      const client = fixture.client();
      const one = fixture.service({ redis: client });
      const [two, changes] = await fixture.observer({ redis: client });
      await one.setPresence('ann', 's1');
      await two.setPresence('ann', 's1');
      await one.close();
      expect(await two.getPresence('ann')).toMatchObject({ status: 'online', socketIds: ['s1'] });
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > online']);
    });
  });

  describe('limits', () => {
    test('a socket over the limit is rejected and leaves nothing behind', async () => {
      const [presence, changes] = await fixture.observer({ maxSocketsPerUser: 2 });
      const other = fixture.service({ maxSocketsPerUser: 2 });
      await presence.setPresence('ann', 's1');
      await other.setPresence('ann', 's2');
      for (const service of [presence, other]) {
        const refused = service.setPresence('ann', 's3');
        await expect(refused).rejects.toThrow(LimitError);
        await expect(refused).rejects.toMatchObject({ code: 'ERR_LIMIT', outcome: 'failed' });
      }
      expect((await presence.getPresence('ann'))?.socketIds.sort()).toEqual(['s1', 's2']);
      expect([presence.stats().sockets, other.stats().sockets]).toEqual([1, 1]);
      // Updates, other users, and the next one after a goodbye are no socket too many.
      expect((await presence.setPresence('ann', 's1', 'away')).sockets).toHaveLength(2);
      await presence.setPresence('bob', 's1');
      await presence.removeSocket('ann', 's1');
      expect((await other.setPresence('ann', 's3')).sockets).toHaveLength(2);
      await changes.settled();
      expect(changes.of('ann')).toEqual(['offline > online']);
    });

    test('services with different prefixes do not see each other', async () => {
      const [one, first] = await fixture.observer({ prefix: `${fixture.prefix}.a` });
      const [two, second] = await fixture.observer({ prefix: `${fixture.prefix}.b` });
      await one.setPresence('ann', 's1');
      await two.setPresence('bob', 's1');
      expect(await one.getPresence('bob')).toBeNull();
      expect(await two.getPresence('ann')).toBeNull();
      expect([await one.getOnlineCount(), await two.getOnlineCount()]).toEqual([1, 1]);
      expect(await two.removeSocket('ann', 's1')).toBeNull();
      await Promise.all([first.settled(), second.settled()]);
      expect(first.of('bob')).toEqual([]);
      expect(second.of('ann')).toEqual([]);
    });
  });

  describe('bad input', () => {
    type Call = (presence: PresenceService, value: never) => Promise<unknown>;
    const badIds: [string, unknown][] = [
      ['nothing', undefined],
      ['null', null],
      ['a number', 7],
      ['an object', {}],
      ['a String object', new String('ann')],
      ['an empty string', ''],
      ['513 bytes', 'x'.repeat(513)],
      ['513 bytes in fewer characters', 'é'.repeat(257)],
      ['a lone surrogate', 'a\ud800'],
      ['a lone low surrogate', '\udc00a'],
    ];
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    const calls: [call: string, argument: string, run: Call, values: [string, unknown][]][] = [
      ['setPresence', 'userId', (it, value) => it.setPresence(value, 's1'), badIds],
      ['setPresence', 'socketId', (it, value) => it.setPresence('ann', value), badIds],
      [
        'setPresence',
        'status',
        (it, value) => it.setPresence('ann', 's1', value),
        [
          ['an empty string', ''],
          ['offline', 'offline'],
          ['a space', 'do not disturb'],
          ['a quote', 'a"b'],
          ['a comma', 'a,b'],
          ['a line break', 'online\n'],
          ['65 letters', 'x'.repeat(65)],
          ['null', null],
          ['a number', 1],
        ],
      ],
      [
        'setPresence',
        'meta',
        (it, value) => it.setPresence('ann', 's1', 'online', value),
        [
          ['a BigInt', 10n],
          ['a function', () => {}],
          ['a symbol', Symbol('meta')],
          ['a cycle', cycle],
          [
            'a toJSON that throws',
            {
              toJSON() {
                throw new Error('no');
              },
            },
          ],
          ['more than maxMetaBytes', 'é'.repeat(2_048)],
        ],
      ],
      ['removeSocket', 'userId', (it, value) => it.removeSocket(value, 's1'), badIds],
      ['removeSocket', 'socketId', (it, value) => it.removeSocket('ann', value), badIds],
      ['removeSocket', 'options', (it, value) => it.removeSocket('ann', 's1', value), [['a string', 'now']]],
      ['getPresence', 'userId', (it, value) => it.getPresence(value), badIds],
      [
        'getMultiplePresence',
        'userIds',
        (it, value) => it.getMultiplePresence(value),
        [
          ['nothing', undefined],
          ['null', null],
          ['a string', 'ann'],
          ['an object', {}],
          ['a number', 3],
        ],
      ],
      ['getMultiplePresence', 'userId', (it, value) => it.getMultiplePresence(['ann', value]), badIds],
      [
        'listOnlineUsers',
        'pageSize',
        async (it, value) => it.listOnlineUsers({ pageSize: value }),
        [
          ['zero', 0],
          ['a fraction', 1.5],
          ['NaN', Number.NaN],
          ['too many', 100_001],
          ['text', '10'],
        ],
      ],
      [
        'listOnlineUsers',
        'signal',
        async (it, value) => it.listOnlineUsers({ signal: value }),
        [['a string', 'x']],
      ],
      [
        'onChange',
        'handler',
        (it, value) => it.subscribe(value),
        [
          ['nothing', undefined],
          ['an object', {}],
        ],
      ],
    ];

    test('is refused by the name of the argument, and nothing of it reaches Redis', async () => {
      const { driver, calls: sent } = counting(driverFor(fixture.client()));
      // No sweep runs in between.
      const presence = fixture.service({ redis: driver, sweepInterval: 15_000 });
      await presence.connect();
      sent.length = 0;
      for (const [call, argument, run, values] of calls) {
        for (const [what, value] of values) {
          const name = `${call} with ${what} as ${argument}`;
          const error = await run(presence, value as never).then(
            () => undefined,
            (thrown: unknown) => thrown,
          );
          expect(error, name).toBeInstanceOf(InvalidArgumentError);
          expect(error, name).toMatchObject({
            name: 'InvalidArgumentError',
            code: 'ERR_INVALID_ARGUMENT',
            outcome: 'failed',
            argument,
          });
          expect((error as Error).message.startsWith(`${argument}: `), name).toBe(true);
        }
      }
      expect(sent).toEqual([]);
      expect(presence.stats()).toMatchObject({ changes: 0, transactions: 0, sockets: 0 });
    });

    test('up to the limits is fine', async () => {
      const presence = fixture.service();
      await presence.setPresence('é'.repeat(256), 'x'.repeat(512), 'x'.repeat(64), 'é'.repeat(2_047));
      expect((await presence.getPresence('é'.repeat(256)))?.socketIds).toEqual(['x'.repeat(512)]);
    });
  });
}
