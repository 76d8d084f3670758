import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, type PresenceWatch, type RoomChange } from '../../src/index.js';
import { createChaosDriver } from '../../src/testing/chaos-driver.js';
import { timeLimit } from '../support/machine.js';
import { waitFor } from '../support/wait.js';
import { type PresenceBackend, type PresenceFixture, weirdIds, withFixture } from './presence-fixture.js';

/** Persons' own statuses, activity, watches and rooms: the same on every client and on the embedded Redis. */
export function userStatusBehaviour(
  backend: () => Promise<PresenceBackend>,
  { userCount = 3_000 } = {},
): void {
  const fixture = withFixture(backend);

  describe('the status of setStatus', () => {
    it(
      'overrides the statuses of all sockets until it is removed',
      fixture(async (fixture) => {
        const [service, changes] = await fixture.observer();
        await service.setPresence('ann', 's1', 'away');
        const busy = await service.setStatus('ann', 'busy');
        expect(busy?.status).toBe('busy');
        expect(busy?.sockets[0]?.status).toBe('away');
        await service.setPresence('ann', 's2', 'online');
        expect((await service.getPresence('ann'))?.status).toBe('busy');
        expect((await service.setStatus('ann', null))?.status).toBe('online');
        await changes.settled();
        expect(changes.of('ann')).toEqual(['offline > away', 'away > busy', 'busy > online']);
        changes.expectUnbroken();
      }),
    );

    it(
      'ends by itself at `until`, also after the process that set it has gone',
      fixture(async (fixture) => {
        const [service, changes] = await fixture.observer({ sweepInterval: 30 });
        await service.setPresence('ann', 's1');
        await service.setStatus('ann', 'busy', { until: new Date(Date.now() + 400) });
        await changes.until('ann', 'busy');
        await waitFor(() => changes.of('ann').includes('busy > online'), { message: 'the status to end' });
        changes.expectUnbroken();
      }),
    );

    it(
      'survives the last socket, and does not make the user online by itself',
      fixture(async (fixture) => {
        const [service] = await fixture.observer();
        expect(await service.setStatus('nobody', 'busy')).toBeNull();
        expect(await service.getPresence('nobody')).toBeNull();
        await service.setPresence('ann', 's1');
        await service.setStatus('ann', 'busy');
        expect((await service.removeSocket('ann', 's1'))?.status).toBe('offline');
        expect((await service.setPresence('ann', 's2')).status).toBe('busy');
      }),
    );

    it(
      'of an invisible user is offline, except in reads with reveal',
      fixture(async (fixture) => {
        const [service, changes] = await fixture.observer();
        const seen: string[] = [];
        const watch = await service.watch(['ann'], ({ status }) => seen.push(status));
        await service.setPresence('ann', 's1');
        const before = await service.setStatus('ann', 'invisible');
        expect(before?.status).toBe('invisible');
        await service.setPresence('ann', 's2', 'busy');
        const public_ = await service.getPresence('ann');
        expect(public_).toMatchObject({ status: 'offline', socketIds: [], sockets: [] });
        expect(public_?.lastSeen).toEqual(before?.lastSeen);
        expect(await service.getPresence('ann', { reveal: true })).toMatchObject({
          status: 'invisible',
          socketIds: ['s1', 's2'],
        });
        expect(await service.getOnlineCount()).toBe(0);
        expect((await service.setStatus('ann', null))?.status).toBe('busy');
        expect(await service.getOnlineCount()).toBe(1);
        await changes.settled();
        expect(changes.of('ann')).toEqual(['offline > online', 'online > offline', 'offline > busy']);
        expect(seen).toEqual(['online', 'offline', 'busy']);
        expect(watch.current().get('ann')?.status).toBe('busy');
      }),
    );

    it(
      'invisible takes the user out of rooms, on all processes, and puts them back when it is removed',
      fixture(async (fixture) => {
        const [here, there, other] = [fixture.service(), fixture.service(), fixture.service()];
        const changes: string[] = [];
        await other.watchRoom('lobby', ({ type, userId, info }) =>
          changes.push(`${type} ${userId} ${String(info)}`),
        );
        await other.setPresence('bob', 's');
        await other.join('lobby', 'bob', 's', 0);
        await here.setPresence('ann', 's1');
        await here.join('lobby', 'ann', 's1', 1);
        await there.setPresence('ann', 's2');
        await there.join('lobby', 'ann', 's2', 2);
        await waitFor(() => changes.includes('update ann 2'));
        changes.length = 0;
        // From a process without sockets of the user; the other processes are notified.
        await other.setStatus('ann', 'invisible');
        await waitFor(() => changes.some((one) => one.startsWith('leave ann')));
        expect([here.isInvisible('ann'), there.isInvisible('ann'), other.isInvisible('ann')]).toEqual([
          true,
          true,
          false,
        ]);
        changes.length = 0;
        // While hidden, the user joins, changes their info, leaves and adds one more socket.
        await here.join('lobby', 'ann', 's1', 3);
        await here.join('hall', 'ann', 's1');
        await there.leave('lobby', 'ann', 's2');
        await here.setPresence('ann', 's3');
        await here.join('lobby', 'ann', 's3', 4);
        await other.join('lobby', 'bob', 's', 5);
        await waitFor(() => changes.length > 0);
        expect(changes).toEqual(['update bob 5']);
        expect(await other.getRoomCounts(['lobby', 'hall'])).toEqual(
          new Map([
            ['lobby', 1],
            ['hall', 0],
          ]),
        );
        changes.length = 0;
        await other.setStatus('ann', null);
        await waitFor(() => changes.includes('update ann 4'));
        expect(changes).toEqual(['join ann 3', 'update ann 4']);
        expect(await other.getRoomCounts(['lobby', 'hall'])).toEqual(
          new Map([
            ['lobby', 2],
            ['hall', 1],
          ]),
        );
        expect(here.isInvisible('ann')).toBe(false);
      }),
    );

    it(
      'invisible hides a user from the first moment, also if they join before they are registered',
      fixture(async (fixture) => {
        const [service, other] = [fixture.service({ sweepInterval: 30 }), fixture.service()];
        const changes: string[] = [];
        await other.watchRoom('lobby', ({ type, userId }) => changes.push(`${type} ${userId}`));
        await other.setStatus('ann', 'invisible');
        const registered = service.setPresence('ann', 's');
        const joined = service.join('lobby', 'ann', 's');
        const left = [service.join('hall', 'ann', 's'), service.leave('hall', 'ann', 's')];
        await Promise.all([registered, joined, ...left]);
        await other.join('lobby', 'bob', 's');
        await waitFor(() => changes.length > 0);
        expect(changes).toEqual(['join bob']);
        // Now it has an end, and ends by itself.
        await other.setStatus('ann', 'invisible', { until: Date.now() + 200 });
        await waitFor(() => changes.length > 1);
        expect(changes).toEqual(['join bob', 'join ann']);
        expect((await other.getPresence('ann'))?.status).toBe('online');
        expect(await other.getRoomMembers('hall')).toEqual([]);
      }),
    );

    it(
      'is not removed by removeSocket',
      fixture(async (fixture) => {
        const service = fixture.service({ grace: 60_000 });
        await service.setPresence('ann', 's1');
        await service.setStatus('ann', 'invisible');
        await service.removeSocket('ann', 'status');
        await service.removeSocket('ann', 'grace');
        expect((await service.getPresence('ann'))?.status).toBe('offline');
        expect((await service.getPresence('ann', { reveal: true }))?.status).toBe('invisible');
      }),
    );

    it(
      'is rejected with invalid arguments',
      fixture(async (fixture) => {
        const service = fixture.service();
        for (const status of ['offline', '', 'two words']) {
          await expect(service.setStatus('ann', status)).rejects.toBeInstanceOf(InvalidArgumentError);
        }
        for (const until of [Number.NaN, -1, 0, new Date(Number.NaN)]) {
          await expect(service.setStatus('ann', 'busy', { until })).rejects.toThrow('until');
        }
        await expect(service.setStatus('ann', null, { until: Date.now() + 1_000 })).rejects.toThrow('until');
        await expect(service.setStatus('ann', 'busy', { meta: 'x'.repeat(5_000) })).rejects.toThrow('meta');
        await expect(service.setStatus('ann', 'busy', { meta: Number.NaN })).rejects.toThrow('meta');
        await expect(service.setPresence('ann', 's', 'invisible')).rejects.toThrow('setStatus');
      }),
    );
  });

  describe('a socket removed twice', () => {
    it(
      'is removed once, because another process may own the socket by then',
      fixture(async (fixture) => {
        const [first, second] = [fixture.service(), fixture.service()];
        await first.setPresence('ann', 's1');
        await first.removeSocket('ann', 's1');
        // The connection was resumed elsewhere before the first server had seen the last of its events.
        await second.setPresence('ann', 's1');
        expect((await first.removeSocket('ann', 's1'))?.socketIds).toEqual(['s1']);
        expect(second.stats().sockets).toBe(1);
        // The first server registers the socket again and removes it, and a third process removes a socket that it never had.
        await first.setPresence('ann', 's1');
        expect((await first.removeSocket('ann', 's1'))?.socketIds).toEqual(['s1']);
        expect((await fixture.service().removeSocket('ann', 's1'))?.status).toBe('offline');
        await waitFor(() => second.stats().sockets === 0);
      }),
    );

    it(
      'with immediate ends the grace: the user logged out',
      fixture(async (fixture) => {
        const service = fixture.service({ grace: 60_000 });
        await service.setPresence('ann', 's1');
        expect((await service.removeSocket('ann', 's1'))?.status).toBe('online');
        expect((await service.removeSocket('ann', 's1', { immediate: true }))?.status).toBe('offline');
      }),
    );
  });

  describe('while Redis is away', () => {
    it(
      'a call that times out does not take effect when Redis is back',
      fixture(async (fixture) => {
        const driver = createChaosDriver(fixture.client());
        const service = fixture.service({ redis: driver, timeout: timeLimit(600), lease: 900 });
        const other = fixture.service();
        await service.setPresence('ann', 's1');
        driver.cut();
        const late = await service.setPresence('bob', 's1').catch((error: unknown) => error);
        expect(late).toMatchObject({ name: 'TimeoutError', outcome: 'failed' });
        driver.restore();
        // Earlier queued writes would be sent before this one.
        await service.setPresence('ann', 's1', 'busy');
        expect((await other.getPresence('ann'))?.status).toBe('busy');
        expect(await other.getPresence('bob')).toBeNull();
        expect(service.stats().sockets).toBe(1);
        // Writes after the gap may still be queued.
        await waitFor(() => service.stats().queued === 0);
        fixture.errors.length = 0;
      }),
    );

    it(
      'a socket removed during the outage goes, and one added within the deadline comes',
      fixture(async (fixture) => {
        const driver = createChaosDriver(fixture.client());
        const service = fixture.service({ redis: driver, timeout: timeLimit(600), lease: 900 });
        const other = fixture.service();
        await service.setPresence('ann', 's1');
        await service.setPresence('bob', 's1');
        driver.cut();
        const [removed] = await Promise.allSettled([service.removeSocket('ann', 's1')]);
        expect(removed.status).toBe('rejected');
        const waiting = service.setPresence('cat', 's1');
        driver.restore();
        expect((await waiting).status).toBe('online');
        await waitFor(async () => (await other.getPresence('ann'))?.status === 'offline', {
          message: 'the removal to be made up for',
        });
        expect((await other.getPresence('bob'))?.status).toBe('online');
        fixture.errors.length = 0;
      }),
    );

    it(
      'a failed call leaves sockets and room memberships unchanged',
      fixture(async (fixture) => {
        const driver = createChaosDriver(fixture.client());
        const service = fixture.service({ redis: driver, timeout: timeLimit(600), lease: 900 });
        const other = fixture.service();
        await service.setPresence('ann', 's1');
        await service.join('lobby', 'ann', 's1', 'first');
        driver.cut();
        const outcomes = await Promise.allSettled([
          service.join('lobby', 'ann', 's1', 'second'),
          service.join('lobby', 'ann', 's1', 'third'),
          service.setPresence('bob', 's1'),
          service.setPresence('bob', 's1', 'busy'),
        ]);
        expect(outcomes.map(({ status }) => status)).toEqual(Array(4).fill('rejected'));
        driver.restore();
        // Renewed, and with it repaired, at least once.
        const { transactions } = service.stats();
        await waitFor(() => service.stats().transactions > transactions);
        await service.setPresence('ann', 's1', 'away');
        expect(await other.getRoomMembers('lobby')).toMatchObject([
          { userId: 'ann', info: 'first', sockets: 1 },
        ]);
        expect((await other.getPresence('bob'))?.socketIds ?? []).toEqual([]);
        expect(service.stats().sockets).toBe(1);
        fixture.errors.length = 0;
      }),
    );

    it(
      'a socket that another process removed during the outage stays removed',
      fixture(async (fixture) => {
        const driver = createChaosDriver(fixture.client());
        const service = fixture.service({ redis: driver, lease: 900 });
        const other = fixture.service();
        await service.setPresence('ann', 's1');
        await service.setPresence('bob', 's1');
        driver.cut();
        await other.removeSocket('ann', 's1');
        driver.restore();
        await waitFor(() => service.stats().sockets === 1, { message: 'the owner to find out' });
        expect((await other.getPresence('ann'))?.status).toBe('offline');
        expect((await other.getPresence('bob'))?.status).toBe('online');
        fixture.errors.length = 0;
      }),
    );

    it(
      'the later of two calls for one socket wins, also after a lost reply',
      fixture(async (fixture) => {
        const driver = createChaosDriver(fixture.client());
        const service = fixture.service({ redis: driver });
        const other = fixture.service();
        for (let round = 0; round < 10; round++) {
          driver.failNext(round % 2 === 0 ? 'reply-lost' : 'request-lost');
          const calls = [
            service.setPresence('ann', 's1', 'busy'),
            service.removeSocket('ann', 's1'),
            service.setPresence('ann', 's1', 'away'),
          ];
          if (round % 3 === 0) calls.push(service.removeSocket('ann', 's1') as never);
          await Promise.all(calls);
          const ann = await other.getPresence('ann');
          expect(ann?.status ?? 'offline').toBe(round % 3 === 0 ? 'offline' : 'away');
        }
      }),
    );
  });

  describe('activity', () => {
    it(
      'an idle socket becomes away, and online again with the next touch',
      fixture(async (fixture) => {
        const [service, changes] = await fixture.observer({ idleAfter: 300 });
        await service.setPresence('ann', 's1');
        await service.setPresence('bob', 's1', 'busy');
        await changes.until('ann', 'away');
        expect(await service.touch('ann', 's1')).toBe(true);
        await changes.settled();
        expect(changes.of('ann').slice(0, 3)).toEqual(['offline > online', 'online > away', 'away > online']);
        // Only online users become away.
        expect(changes.of('bob')).toEqual(['offline > busy']);
        changes.expectUnbroken();
      }),
    );

    it(
      'is written at most once per touchInterval',
      fixture(async (fixture) => {
        const service = fixture.service({ touchInterval: 600_000 });
        const { lastSeen } = await service.setPresence('ann', 's1');
        await service.touch('ann', 's1');
        const { changes } = service.stats();
        for (let count = 0; count < 100; count++) await service.touch('ann', 's1');
        expect(service.stats().changes).toBe(changes);

        const eager = fixture.service({ touchInterval: 0 });
        await eager.setPresence('bob', 's1');
        await waitFor(async () => {
          await eager.touch('bob', 's1');
          const bob = await eager.getPresence('bob');
          return bob !== null && bob.lastSeen.getTime() > lastSeen.getTime() + 20;
        });
      }),
    );

    it(
      'of an unknown socket changes nothing',
      fixture(async (fixture) => {
        const service = fixture.service({ touchInterval: 0 });
        expect(await service.touch('nobody', 's1')).toBe(false);
        expect(await service.getPresence('nobody')).toBeNull();
      }),
    );
  });

  describe('a watch', () => {
    it(
      'has a snapshot at once, then receives every change of its users only',
      fixture(async (fixture) => {
        const [service] = await fixture.observer();
        const other = fixture.service();
        await other.setPresence('ann', 's1', 'away');
        const changes: string[] = [];
        const watch = await service.watch(['ann', 'bob'], (it) => {
          changes.push(`${it.userId} ${it.previous} > ${it.status}`);
        });
        expect([...watch.current().keys()]).toEqual(['ann']);
        expect(watch.current().get('ann')).toMatchObject({ status: 'away', sockets: 1 });
        await other.setPresence('cat', 's1');
        await other.setPresence('bob', 's1');
        await other.removeSocket('ann', 's1');
        await waitFor(() => changes.length === 2);
        expect(changes).toEqual(['bob offline > online', 'ann away > offline']);

        watch.remove(['bob']);
        await watch.add(['cat']);
        expect([...watch.current().keys()].sort()).toEqual(['ann', 'cat']);
        await other.removeSocket('bob', 's1');
        await other.removeSocket('cat', 's1');
        await waitFor(() => changes.length === 3);
        expect(changes[2]).toBe('cat online > offline');

        await watch.close();
        await watch.close();
        await other.setPresence('ann', 's2');
        await other.getPresence('ann');
        expect(changes).toHaveLength(3);
      }),
    );

    it(
      'shares one subscription with all other watches, and ends when its signal aborts',
      fixture(async (fixture) => {
        const [service, changes] = await fixture.observer();
        const controller = new AbortController();
        const users = Array.from({ length: 500 }, (_, at) => `user-${at}`);
        const reported: string[] = [];
        const aborted: string[] = [];
        const watch = await service.watch(users, ({ userId }) => reported.push(userId));
        await service.watch(users, ({ userId }) => aborted.push(userId), { signal: controller.signal });
        await service.setPresence('user-7', 's');
        await changes.settled();
        controller.abort();
        await service.setPresence('user-8', 's');
        await changes.settled();
        expect(reported).toEqual(['user-7', 'user-8']);
        expect(aborted).toEqual(['user-7']);
        await watch.close();
      }),
    );

    it(
      'is right again after a lost connection',
      fixture(async (fixture) => {
        const driver = createChaosDriver(fixture.client());
        const service = fixture.service({ redis: driver });
        const other = fixture.service();
        await other.setPresence('ann', 's1');
        await other.setPresence('bob', 's1');
        const changes: string[] = [];
        const watch = await service.watch(['ann', 'bob', 'cat'], (it) => {
          changes.push(`${it.userId} ${it.previous} > ${it.status}`);
        });
        driver.cut();
        await other.removeSocket('ann', 's1');
        await other.setPresence('cat', 's1', 'busy');
        // The status changed and changed back, so no change is reported.
        await other.setPresence('bob', 's1', 'away');
        await other.setPresence('bob', 's1', 'online');
        driver.restore();
        await waitFor(() => changes.length === 2);
        expect(changes.sort()).toEqual(['ann online > offline', 'cat offline > busy']);
        expect([...watch.current().values()].map(({ status }) => status)).toEqual([
          'offline',
          'online',
          'busy',
        ]);
        await other.setPresence('ann', 's2');
        await waitFor(() => changes.length === 3);
      }),
    );

    it(
      'misses no change between its snapshot and its subscription',
      fixture(async (fixture) => {
        const service = fixture.service();
        const other = fixture.service();
        const writing = (async () => {
          for (let round = 0; round < 40; round++) {
            await other.setPresence('ann', 's1', round % 2 === 0 ? 'away' : 'online');
          }
        })();
        const watches: { watch: PresenceWatch; chain: string[]; first: string }[] = [];
        for (let count = 0; count < 10; count++) {
          const chain: string[] = [];
          const watch = await service.watch(['ann'], (it) => chain.push(`${it.previous} > ${it.status}`));
          watches.push({ watch, chain, first: watch.current().get('ann')?.status ?? 'offline' });
        }
        await writing;
        await waitFor(() => watches.every(({ watch }) => watch.current().get('ann')?.status === 'online'));
        for (const { chain, first } of watches) {
          let status = first;
          for (const link of chain) {
            expect(link.startsWith(`${status} > `), `${link} after ${status}`).toBe(true);
            status = link.split(' > ')[1] as string;
          }
          expect(status).toBe('online');
        }
      }),
    );
  });

  describe('a room', () => {
    const watched = async (fixture: PresenceFixture, room: string) => {
      const service = fixture.service();
      const changes: RoomChange[] = [];
      const watch = await service.watchRoom(room, (change) => changes.push(change));
      const lines = () =>
        changes.map((it) => `${it.type} ${it.userId} ${JSON.stringify(it.info)} ${it.sockets}`);
      return { service, watch, changes, lines };
    };

    it(
      "is joined with a user's first socket and left with their last",
      fixture(async (fixture) => {
        const [a, b] = [fixture.service(), fixture.service()];
        const { watch, lines } = await watched(fixture, 'lobby');
        await a.join('lobby', 'ann', 's1', { color: 'red' });
        await a.join('lobby', 'ann', 's1', { color: 'red' });
        await b.join('lobby', 'ann', 's2', { color: 'blue' });
        await b.join('lobby', 'bob', 's3');
        await waitFor(() => lines().length === 3);
        expect(watch.current().get('ann')).toMatchObject({ info: { color: 'blue' }, sockets: 2 });
        const members = new Map((await a.getRoomMembers('lobby')).map((member) => [member.userId, member]));
        expect(members).toEqual(watch.current());
        expect(await a.getRoomCounts(['lobby', 'empty', 'lobby'])).toEqual(
          new Map([
            ['lobby', 2],
            ['empty', 0],
          ]),
        );
        await a.leave('lobby', 'ann', 's1');
        await b.leave('lobby', 'ann', 's2');
        await b.leave('lobby', 'ann', 's2');
        await b.leave('lobby', 'stranger', 's9');
        await waitFor(() => lines().length === 5);
        expect(lines()).toEqual([
          'join ann {"color":"red"} 1',
          'update ann {"color":"blue"} 2',
          'join bob null 1',
          'update ann {"color":"blue"} 1',
          'leave ann {"color":"blue"} 0',
        ]);
        expect([...watch.current().keys()]).toEqual(['bob']);
        expect(await a.getRoomMembers('empty')).toEqual([]);
      }),
    );

    it(
      'is left when the socket is removed by its owner or another process, and when its owner closes',
      fixture(async (fixture) => {
        const [a, b] = [fixture.service(), fixture.service()];
        const { lines } = await watched(fixture, 'lobby');
        for (const user of ['ann', 'bob', 'cat']) {
          await a.setPresence(user, 's');
          await a.join('lobby', user, 's');
          await a.join('hall', user, 's');
        }
        await a.removeSocket('ann', 's');
        await b.removeSocket('bob', 's');
        await waitFor(async () => (await b.getRoomCounts(['hall'])).get('hall') === 1);
        await a.close();
        await waitFor(() => lines().length === 6);
        expect(lines().slice(3)).toEqual(['leave ann null 0', 'leave bob null 0', 'leave cat null 0']);
        expect(await b.getRoomCounts(['lobby', 'hall'])).toEqual(
          new Map([
            ['lobby', 0],
            ['hall', 0],
          ]),
        );
      }),
    );

    it(
      'is left by the users of a dead process',
      fixture(async (fixture) => {
        const times = { lease: 600, sweepInterval: 50 };
        const driver = createChaosDriver(fixture.client());
        const dying = fixture.service({ ...times, redis: driver });
        const survivor = fixture.service(times);
        await survivor.setPresence('bob', 's');
        await survivor.join('lobby', 'bob', 's');
        await dying.setPresence('ann', 's');
        await dying.join('lobby', 'ann', 's', 'hello');
        const { lines } = await watched(fixture, 'lobby');
        driver.cut();
        await waitFor(() => lines().length === 1, { timeout: 8_000 });
        expect(lines()).toEqual(['leave ann "hello" 0']);
        await dying.close();
        fixture.errors.length = 0;
      }),
    );

    it(
      'is restored after a wipe without reporting a change to watches',
      fixture(async (fixture) => {
        const service = fixture.service({ lease: 600 });
        await service.setPresence('ann', 's');
        await service.join('lobby', 'ann', 's', [1, 2]);
        const { lines, watch } = await watched(fixture, 'lobby');
        await fixture.flush();
        await waitFor(async () => (await service.getRoomCounts(['lobby'])).get('lobby') === 1);
        await waitFor(async () => (await service.getPresence('ann'))?.status === 'online');
        await service.join('lobby', 'bob', 's');
        await waitFor(() => lines().length === 1);
        expect(lines()).toEqual(['join bob null 1']);
        expect([...watch.current().keys()]).toEqual(['ann', 'bob']);
      }),
    );

    it(
      'is read again when a watch lost its connection',
      fixture(async (fixture) => {
        const service = fixture.service();
        await service.join('lobby', 'ann', 's');
        await service.join('lobby', 'bob', 's');
        const driver = createChaosDriver(fixture.client());
        const watcher = fixture.service({ redis: driver });
        const changes: string[] = [];
        const watch = await watcher.watchRoom('lobby', ({ type, userId }) =>
          changes.push(`${type} ${userId}`),
        );
        driver.cut();
        await service.leave('lobby', 'ann', 's');
        await service.join('lobby', 'cat', 's');
        driver.restore();
        await waitFor(() => changes.length === 2);
        expect(changes.sort()).toEqual(['join cat', 'leave ann']);
        expect([...watch.current().keys()].sort()).toEqual(['bob', 'cat']);
      }),
    );

    it(
      'works with any room name and any user id',
      fixture(async (fixture) => {
        const service = fixture.service();
        for (const room of weirdIds) await service.join(room, room, room, { room });
        for (const room of weirdIds) {
          expect(await service.getRoomMembers(room)).toMatchObject([
            { userId: room, info: { room }, sockets: 1 },
          ]);
        }
        for (const user of weirdIds) await service.join('all', user, user);
        expect((await service.getRoomMembers('all')).map(({ userId }) => userId).sort()).toEqual(
          [...weirdIds].sort(),
        );
        await expect(service.join('', 'ann', 's')).rejects.toThrow('room');
        await expect(service.getRoomCounts('lobby')).rejects.toThrow('rooms');
      }),
    );

    it(
      'of thousands is listed in pages, each member once, and counted in one round trip',
      fixture(async (fixture) => {
        const service = fixture.service();
        const users = Array.from({ length: userCount }, (_, at) => `user-${at}`);
        await Promise.all(users.map((user) => service.join('stadium', user, 's', 1)));
        const listed: string[] = [];
        for await (const { userId } of service.listRoomMembers('stadium')) listed.push(userId);
        expect(listed).toHaveLength(users.length);
        expect(new Set(listed)).toEqual(new Set(users));
        expect((await service.getRoomCounts(['stadium'])).get('stadium')).toBe(userCount);
      }),
    );
  });
}
