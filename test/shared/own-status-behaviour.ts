import { describe, expect, it } from 'vitest';
import { timeLimit } from '../support/machine.js';
import { fc } from '../support/property.js';
import { waitFor } from '../support/wait.js';
import { type PresenceBackend, withFixture } from './presence-fixture.js';

/** A user's own status in reads: until when, its text, and what follows. */
export function ownStatusBehaviour(backend: () => Promise<PresenceBackend>): void {
  const fixture = withFixture(backend);

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
