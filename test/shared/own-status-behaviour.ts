import { describe, expect, it } from 'vitest';
import { timeLimit } from '../support/machine.js';
import { fc } from '../support/property.js';
import { waitFor } from '../support/wait.js';
import { type PresenceBackend, withFixture } from './presence-fixture.js';

/** A user's own status in reads: until when, its text, and what follows. */
/** `lookupCache`: false on a Cluster, which has none. */
export function ownStatusBehaviour(
  backend: () => Promise<PresenceBackend>,
  { lookupCache = true }: { lookupCache?: boolean } = {},
): void {
  const fixture = withFixture(backend);

  describe('a hidden lastSeen', () => {
    it(
      'is 0 in everything that others read, and the version tells no time; reads with reveal show it',
      fixture(async (fixture) => {
        const lastSeenTtl = 3_600_000;
        const [service, changes] = await fixture.observer({ lastSeenTtl, touchInterval: 1 });
        const other = fixture.service({ lastSeenTtl });
        const caching = fixture.service({ lastSeenTtl, ...(lookupCache ? { lookupCache: {} } : {}) });
        // A cache is used for lookups of eight users or more.
        const crowd = ['ann', ...Array.from({ length: 9 }, (_, at) => `nobody-${at}`)];
        const watch = await other.watch(['ann'], () => {});
        await other.watchRoom('lobby', () => {});
        const hidAt = Date.now();
        expect(await service.setLastSeenVisible('ann', false)).toBeNull();
        const steps = [
          () => service.setPresence('ann', 's1', 'away'),
          () => service.join('lobby', 'ann', 's1'),
          () => service.setStatus('ann', 'busy', { meta: 'in a call' }),
          () => service.setStatus('ann', 'invisible', { until: Date.now() + 3_600_000 }),
          () => service.setStatus('ann', null),
          () => service.touch('ann', 's1'),
          // A repetition changes nothing.
          () => service.setLastSeenVisible('ann', false),
          () => service.removeSocket('ann', 's1'),
        ];
        let version = 0;
        for (const [at, step] of steps.entries()) {
          await step();
          const read = await other.getPresence('ann');
          expect(read?.lastSeen.getTime(), `step ${at}`).toBe(0);
          expect(read).not.toHaveProperty('lastSeenHidden');
          const cached = (await caching.getMultiplePresence(crowd)).get('ann');
          expect(cached, `step ${at}`).toEqual(read);
          if (at === 0) {
            expect(read?.version).toBeLessThan((Date.now() + lastSeenTtl + 600_000) * 1_000);
            expect(read?.version).toBeGreaterThan((hidAt - 600_000) * 1_000);
          } else {
            expect(read?.version, `step ${at}`).toBeGreaterThanOrEqual(version);
            expect(read?.version, `step ${at}`).toBeLessThanOrEqual(version + 2_000);
          }
          version = read?.version ?? 0;
          const own = await other.getPresence('ann', { reveal: true });
          expect(own?.lastSeenHidden).toBe(true);
          expect(Math.abs((own?.lastSeen.getTime() ?? 0) - Date.now()), `step ${at}`).toBeLessThan(600_000);
        }
        await changes.settled();
        expect(changes.of('ann').at(-1)).toBe('away > offline');
        expect(
          changes.list.filter(({ userId }) => userId === 'ann').map((it) => it.lastSeen.getTime()),
        ).toEqual(changes.of('ann').map(() => 0));
        await waitFor(() => watch.get('ann')?.version === version);
        expect(watch.get('ann')?.lastSeen.getTime()).toBe(0);

        const shown = await service.setLastSeenVisible('ann', true);
        expect(shown).not.toHaveProperty('lastSeenHidden');
        expect(shown?.lastSeen.getTime()).toBeGreaterThan(hidAt - 600_000);
        expect((await other.getPresence('ann'))?.lastSeen).toEqual(shown?.lastSeen);
        await waitFor(() => watch.get('ann')?.lastSeen.getTime() === shown?.lastSeen.getTime());
        await service.setPresence('ann', 's1', 'online');
        expect((await other.getPresence('ann'))?.version).toBeGreaterThan(version);
        changes.expectUnbroken();
      }),
    );

    it(
      'hides what a watch, and the version, show of a user who is offline',
      fixture(async (fixture) => {
        const service = fixture.service();
        await service.setPresence('ann', 's1', 'online');
        const gone = await service.removeSocket('ann', 's1');
        const watch = await service.watch(['ann'], () => {});
        expect(watch.get('ann')?.lastSeen).toEqual(gone?.lastSeen);
        const own = await service.setLastSeenVisible('ann', false);
        expect(own).toMatchObject({ lastSeen: gone?.lastSeen, lastSeenHidden: true });
        await waitFor(() => watch.get('ann')?.lastSeen.getTime() === 0);
        expect(watch.get('ann')?.version).toBe(own?.version);
        expect((await service.getPresence('ann'))?.version).toBe(own?.version);
        expect(own?.version).toBeGreaterThan(gone?.version ?? 0);
      }),
    );

    it(
      'is restored after a wipe by the process that has a socket of the user, whichever process has set it',
      fixture(async (fixture) => {
        const timing = { lease: timeLimit(1_000), sweepInterval: 100 };
        const [owner, other] = [fixture.service(timing), fixture.service(timing)];
        await owner.setPresence('ann', 's1', 'online');
        const { changes } = owner.stats();
        await other.setLastSeenVisible('ann', false);
        // The owner is notified, and looks; the reply to a later command comes after that of the look.
        await waitFor(() => owner.stats().changes > changes);
        await owner.getPresence('ann');
        const seen: number[] = [];
        const watch = await other.watch(['ann'], ({ lastSeen }) => seen.push(lastSeen.getTime()));
        const before = watch.get('ann')?.version ?? 0;
        expect(before).toBeGreaterThan(0);
        await fixture.flush();
        const after = await waitFor(() => other.getPresence('ann'), { timeout: timeLimit(10_000) });
        expect(after?.lastSeen.getTime()).toBe(0);
        expect(after?.version).toBeGreaterThan(before);
        expect((await other.getPresence('ann', { reveal: true }))?.lastSeenHidden).toBe(true);
        expect(seen).toEqual([]);
      }),
    );

    it(
      'is refused for what is not a boolean, and removed by forget',
      fixture(async (fixture) => {
        const service = fixture.service();
        for (const bad of [undefined, null, 'false', 0]) {
          await expect(service.setLastSeenVisible('ann', bad as unknown as boolean)).rejects.toThrow(
            'visible: must be true or false: whether others see lastSeen',
          );
        }
        await expect(service.setLastSeenVisible('', false)).rejects.toThrow('userId: ');
        await service.setLastSeenVisible('ann', false);
        expect(await service.forget('ann')).toMatchObject({ record: false, status: true });
        await service.setPresence('ann', 's1', 'online');
        expect((await service.getPresence('ann'))?.lastSeen.getTime()).toBeGreaterThan(0);
      }),
    );
  });

  describe('a status of setStatus', () => {
    it(
      'ends in the one before it, which ends in its turn',
      fixture(async (fixture) => {
        const [service, changes] = await fixture.observer({ sweepInterval: 30 });
        await service.setPresence('ann', 's1', 'away');
        await service.setStatus('ann', 'holiday', { meta: { text: 'back on Monday', emoji: '🏖' } });
        const [soon, later] = [new Date(Date.now() + timeLimit(300)), new Date(Date.now() + 3_600_000)];
        await service.setStatus('ann', 'busy', { until: later });
        const last = await service.setStatus('ann', 'meeting', { until: soon, meta: ['5 "o\t\n'] });
        const holiday = { status: 'holiday', meta: { text: 'back on Monday', emoji: '🏖' } };
        const busy = { status: 'busy', until: later, next: holiday };
        const meeting = { status: 'meeting', until: soon, meta: ['5 "o\t\n'], next: busy };
        expect(last).toMatchObject({ status: 'meeting', ownStatus: meeting });
        expect((await service.getPresence('ann'))?.ownStatus).toEqual(meeting);
        await waitFor(() => changes.of('ann').includes('meeting > busy'));
        expect((await service.getPresence('ann'))?.ownStatus).toEqual(busy);
        // One that has ended changes nothing; one without an end replaces all.
        await service.setStatus('ann', 'meeting', { until: 1 });
        expect((await service.getPresence('ann'))?.ownStatus).toEqual(busy);
        await service.setStatus('ann', 'busy');
        expect((await service.getPresence('ann'))?.ownStatus).toEqual({ status: 'busy' });
        expect((await service.setStatus('ann', null))?.ownStatus).toBeUndefined();
        expect(await service.getPresence('ann')).not.toHaveProperty('ownStatus');
        changes.expectUnbroken();
      }),
    );

    it(
      'can be a text alone, for the status of the sockets',
      fixture(async (fixture) => {
        const [service, changes] = await fixture.observer();
        await service.setPresence('ann', 's1', 'away');
        await service.setStatus('ann', null, { meta: 'at lunch' });
        await service.setPresence('ann', 's1', 'online');
        expect(await service.getPresence('ann')).toMatchObject({
          status: 'online',
          ownStatus: { status: null, meta: 'at lunch' },
        });
        await service.setPresence('ann', 's2', 'busy');
        await service.removeSocket('ann', 's1');
        await service.removeSocket('ann', 's2');
        await changes.settled();
        expect(changes.of('ann')).toEqual([
          'offline > away',
          'away > online',
          'online > busy',
          'busy > offline',
        ]);
        changes.expectUnbroken();
      }),
    );

    it(
      'is shown of users who are offline or invisible only with reveal, and so is an invisible status that follows',
      fixture(async (fixture) => {
        const [service] = await fixture.observer();
        const [until, meta] = [new Date(Date.now() + 3_600_000), 'secret'];
        await service.setPresence('off', 's');
        await service.setStatus('off', 'busy', { meta });
        await service.removeSocket('off', 's');
        await service.setPresence('hid', 's');
        await service.setStatus('hid', 'invisible', { meta });
        for (const userId of ['off', 'hid']) {
          const shown = await service.getPresence(userId);
          expect(shown?.status).toBe('offline');
          expect(JSON.stringify(shown)).not.toContain(meta);
          expect(shown).not.toHaveProperty('ownStatus');
          expect((await service.getPresence(userId, { reveal: true }))?.ownStatus?.meta).toBe(meta);
        }
        await service.setStatus('hid', 'busy', { until });
        expect((await service.getPresence('hid'))?.ownStatus).toEqual({ status: 'busy', until });
        expect((await service.getPresence('hid', { reveal: true }))?.ownStatus?.next).toEqual({
          status: 'invisible',
          meta,
        });
        // Set while they are offline, it neither changes the version nor what others see.
        const before = await service.getPresence('off');
        await service.setStatus('off', 'away', { until, meta });
        expect(await service.getPresence('off')).toEqual(before);
      }),
    );

    it(
      'keeps, of many, the eight that matter',
      fixture(async (fixture) => {
        const service = fixture.service();
        const now = Date.now();
        await service.setPresence('ann', 's1');
        await fc.assert(
          fc.asyncProperty(
            fc.array(
              fc.option(fc.record({ hours: fc.option(fc.integer({ min: 1, max: 40 })), meta: fc.nat(9) })),
              {
                maxLength: 12,
              },
            ),
            async (calls) => {
              await service.setStatus('ann', null);
              let model: { until: number; meta: number }[] = [];
              // Together, so that some share a transaction.
              const done = calls.map((call) => {
                if (call === null) {
                  model = [];
                  return service.setStatus('ann', null);
                }
                const { hours, meta } = call;
                const until = hours === null ? Number.POSITIVE_INFINITY : now + hours * 3_600_000;
                const [current, ...rest] = model;
                const below = current?.meta === meta ? rest : model;
                model = [{ until, meta }, ...below.filter((layer) => layer.until > until)];
                if (model.length > 8) model.splice(7, 1);
                return service.setStatus('ann', 'busy', { meta, ...(hours === null ? {} : { until }) });
              });
              await Promise.all(done);
              const layers: { until: number; meta: unknown }[] = [];
              let own = (await service.getPresence('ann'))?.ownStatus;
              for (; own !== undefined; own = own.next) {
                layers.push({ until: own.until?.getTime() ?? Number.POSITIVE_INFINITY, meta: own.meta });
              }
              expect(layers).toEqual(model);
            },
          ),
          { numRuns: 20 },
        );
      }),
    );
  });
}
