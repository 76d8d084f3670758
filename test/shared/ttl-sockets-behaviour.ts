import { afterEach, beforeEach, expect, test } from 'vitest';
import { InvalidArgumentError, LimitError, UnsupportedError } from '../../src/index.js';
import { period, timeLimit } from '../support/machine.js';
import { waitFor } from '../support/wait.js';
import { type PresenceBackend, PresenceFixture } from './presence-fixture.js';

/** Sockets without a process, with services that run, with services without background work, and with both. */
export function ttlSocketsBehaviour(open: () => Promise<PresenceBackend>): void {
  let fixture: PresenceFixture;

  beforeEach(async () => {
    fixture = new PresenceFixture(await open());
  });

  afterEach(() => fixture.end());

  const TTL = period(1_500);
  const onDemand = { background: false, socketTtl: TTL } as const;

  test('a socket without a process ends once, within its TTL and 2 s, at its last heartbeat', async () => {
    const [, changes] = await fixture.observer();
    const invocation = fixture.service(onDemand);
    const data = await invocation.setPresence('ann', 's1', 'busy', { device: 'phone' });
    expect(data.status).toBe('busy');
    expect(data.sockets).toMatchObject([
      { socketId: 's1', nodeId: '*', status: 'busy', meta: { device: 'phone' } },
    ]);
    await changes.until('ann', 'busy');
    expect(await invocation.heartbeat('ann', 's1')).toBe(true);
    const beat = Date.now();
    const gone = await changes.until('ann', 'offline', TTL + 4_000);
    expect(Date.now() - beat).toBeLessThan(TTL + timeLimit(2_000));
    expect(Math.abs(gone.lastSeen.getTime() - beat)).toBeLessThan(timeLimit(500));
    await changes.settled();
    expect(changes.of('ann')).toEqual(['offline > busy', 'busy > offline']);
    expect(await invocation.heartbeat('ann', 's1')).toBe(false);
    expect((await invocation.getPresence('ann'))?.status).toBe('offline');
  });

  test('heartbeats from any process prolong a socket; its status, meta and time of registration stay', async () => {
    const [observer, changes] = await fixture.observer();
    const [one, other] = [fixture.service(onDemand), fixture.service()];
    const first = await one.setPresence('ann', 's1', 'away', { a: 1 }, { ttl: TTL });
    const end = performance.now() + 2.5 * TTL;
    await waitFor(
      async () => {
        for (const service of [one, other, observer]) expect(await service.heartbeat('ann', 's1')).toBe(true);
        return performance.now() > end;
      },
      { timeout: 5 * TTL, interval: TTL / 10 },
    );
    expect((await one.getPresence('ann'))?.sockets).toEqual(first.sockets);
    const again = await other.setPresence('ann', 's1', 'online', undefined, { ttl: TTL });
    expect(again.sockets).toMatchObject([{ connectedAt: first.sockets[0]?.connectedAt, status: 'online' }]);
    expect(changes.of('ann').slice(0, 2)).not.toContain('away > offline');
    await changes.until('ann', 'offline', TTL + 4_000);
    expect(changes.of('ann')).toEqual(['offline > away', 'away > online', 'online > offline']);
  });

  test('where no process runs, the next call ends what is overdue', async () => {
    const service = fixture.service(onDemand);
    await service.setPresence('ann', 's1', 'online', undefined, { ttl: 500 });
    await service.setPresence('ann', 's2', 'away', undefined, { ttl: 60_000 });
    // Reads show it, at the first read after the end.
    const left = await waitFor(async () => {
      const data = await service.getPresence('ann');
      return data?.socketIds.length === 1 && data;
    });
    expect(left).toMatchObject({ status: 'away', socketIds: ['s2'] });
    await service.setPresence('bob', 's', 'online', undefined, { ttl: 500 });
    await waitFor(async () => (await fixture.service(onDemand).getOnlineCount()) === 1);
    await service.setPresence('bob', 's', 'online', undefined, { ttl: 500 });
    await waitFor(async () => (await fixture.service(onDemand).sweep()) > 0);
    expect((await service.getPresence('bob'))?.status).toBe('offline');
    expect((await service.getPresence('ann'))?.status).toBe('away');
  });

  test('owned sockets and sockets without a process are one user', async () => {
    const [owner, changes] = await fixture.observer();
    const invocation = fixture.service(onDemand);
    await owner.setPresence('ann', 'tab', 'online');
    const both = await invocation.setPresence('ann', 'phone', 'busy');
    expect(both.status).toBe('busy');
    expect(both.socketIds.sort()).toEqual(['phone', 'tab']);
    await changes.until('ann', 'busy');
    // The socket without a process ends; the other one stays.
    await waitFor(async () => (await owner.getPresence('ann'))?.socketIds.join() === 'tab', {
      timeout: TTL + 4_000,
    });
    await waitFor(() => changes.of('ann').includes('busy > online'));
    await invocation.setPresence('ann', 'phone', 'busy', undefined, { ttl: 60_000 });
    await owner.removeSocket('ann', 'tab');
    expect(await owner.getPresence('ann')).toMatchObject({ status: 'busy', socketIds: ['phone'] });
    expect(await owner.removeSocket('ann', 'phone')).toMatchObject({ status: 'offline' });
    await changes.settled();
    expect(changes.of('ann')).toEqual([
      'offline > online',
      'online > busy',
      'busy > online',
      'online > busy',
      'busy > offline',
    ]);
  });

  test('without background work, sockets of processes are removed too, and users have a status of their own', async () => {
    const owner = fixture.service();
    const invocation = fixture.service(onDemand);
    await owner.setPresence('ann', 'tab');
    expect(await invocation.removeSocket('ann', 'tab')).toMatchObject({ status: 'offline' });
    await waitFor(() => owner.stats().sockets === 0);
    await invocation.setPresence('ann', 'phone', 'online', undefined, { ttl: 60_000 });
    expect(await invocation.setStatus('ann', 'invisible')).toMatchObject({ status: 'invisible' });
    expect(await owner.getPresence('ann')).toMatchObject({ status: 'offline', socketIds: [] });
    expect(await invocation.setStatus('ann', null)).toMatchObject({ status: 'online' });
    expect(await invocation.removeSocket('ann', 'phone')).toMatchObject({ status: 'offline' });
    expect(await invocation.removeSocket('nobody', 'phone')).toBeNull();
  });

  test('calls in flight take effect in order', async () => {
    const service = fixture.service(onDemand);
    const calls = [
      service.setPresence('ann', 's1', 'online'),
      service.heartbeat('ann', 's1'),
      service.removeSocket('ann', 's1'),
      service.heartbeat('ann', 's1'),
      service.setPresence('ann', 's1', 'away'),
    ];
    await Promise.all(calls);
    expect(await service.getPresence('ann')).toMatchObject({ status: 'away', socketIds: ['s1'] });
    await Promise.all([service.setPresence('ann', 's1', 'busy'), service.removeSocket('ann', 's1')]);
    expect(await service.getPresence('ann')).toMatchObject({ status: 'offline', socketIds: [] });
  });

  test('a grace begins when a socket without a process is removed, and not when it ends', async () => {
    const [, changes] = await fixture.observer();
    const service = fixture.service({ ...onDemand, grace: 60_000 });
    await service.setPresence('ann', 's1');
    expect(await service.removeSocket('ann', 's1')).toMatchObject({ status: 'online', socketIds: [] });
    expect(await service.removeSocket('ann', 's1', { immediate: true })).toMatchObject({ status: 'offline' });
    await service.setPresence('ann', 's1', 'online', undefined, { ttl: 500 });
    await waitFor(() => changes.of('ann').length === 4);
    expect(changes.of('ann')).toEqual([
      'offline > online',
      'online > offline',
      'offline > online',
      'online > offline',
    ]);
  });

  test('a socket beyond the limit is refused, and heartbeats of the others are not', async () => {
    const service = fixture.service({ ...onDemand, maxSocketsPerUser: 2 });
    await service.setPresence('ann', 's1');
    await service.setPresence('ann', 's2');
    const refusal = await service.setPresence('ann', 's3').catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(LimitError);
    expect((refusal as LimitError).retryAfter).toBe(TTL);
    expect(await service.setPresence('ann', 's1', 'busy')).toMatchObject({ socketIds: ['s1', 's2'] });
    expect(await service.heartbeat('ann', 's3')).toBe(false);
  });

  test('wrong arguments are refused before anything is sent', async () => {
    const service = fixture.service({ background: false });
    const running = fixture.service();
    for (const ttl of [0, -1, 499, 1_000.5, Number.NaN, Number.POSITIVE_INFINITY, 86_400_001, '5000', null]) {
      const call = service.setPresence('ann', 's1', 'online', undefined, { ttl: ttl as number });
      await expect(call, String(ttl)).rejects.toThrow(InvalidArgumentError);
      expect(() => fixture.service({ socketTtl: ttl as number })).toThrow(InvalidArgumentError);
    }
    const misspelt = { ttll: 1_000 } as unknown as { ttl: number };
    await expect(service.setPresence('ann', 's1', 'online', null, misspelt)).rejects.toThrow(/ttl/);
    await expect(service.setPresence('ann', 's1')).rejects.toThrow(UnsupportedError);
    await expect(service.join('room', 'ann', 's1')).rejects.toThrow(UnsupportedError);
    await expect(service.watch(['ann'], () => {})).rejects.toThrow(UnsupportedError);
    await expect(service.watchRoom('room', () => {})).rejects.toThrow(UnsupportedError);
    await expect(service.subscribe(() => {})).rejects.toThrow(UnsupportedError);
    await expect(service.heartbeat('', 's1')).rejects.toThrow(InvalidArgumentError);
    expect(() => fixture.service({ background: 'no' as unknown as boolean })).toThrow(InvalidArgumentError);
    await running.setPresence('ann', 's1');
    await expect(running.setPresence('ann', 's1', 'online', null, { ttl: 1_000 })).rejects.toThrow(
      /registered the socket without one/,
    );
    expect(await running.heartbeat('ann', 'unknown')).toBe(false);
    expect(await service.getPresence('ann')).toMatchObject({ socketIds: ['s1'] });
  });
}
