import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { PresenceService } from '../../src/index.js';
import { PresenceFixture } from '../shared/presence-fixture.js';
import { backendOn, nodeRedis, serviceClients } from '../shared/redis-clients.js';
import { ttlSocketsBehaviour } from '../shared/ttl-sockets-behaviour.js';
import { type InvocationOptions, type InvocationResult, invoke } from '../support/invocation.js';
import { period, timeLimit } from '../support/machine.js';
import { NodeProcess } from '../support/node-process.js';
import { PresenceObserver } from '../support/presence-observer.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type RoundTripProxy, startRoundTripProxy } from '../support/round-trip-proxy.js';
import { waitFor } from '../support/wait.js';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

beforeEach(async () => {
  await server.cli('FLUSHALL');
});

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');
const base = '{rollcall:0}';

describe.each(serviceClients)('sockets without a process with %s', (_name, make) => {
  ttlSocketsBehaviour(async () => backendOn(server, make));
});

const register = ['setPresence', 'ann', 's1', 'online', { device: 'phone' }, { ttl: 60_000 }] as const;
const calls = [
  ['a registration', register],
  ['a heartbeat', ['heartbeat', 'ann', 's1']],
  ['a read', ['getPresence', 'ann']],
  ['a status', ['setStatus', 'ann', 'busy']],
  ['a removal', ['removeSocket', 'ann', 's1']],
] as const;

describe.each(['node-redis', 'ioredis'] as const)('an invocation with %s', (client) => {
  /** Runs calls in a process of their own. */
  async function counted(...made: InvocationOptions['calls']): Promise<[InvocationResult, RoundTripProxy]> {
    const proxy = await startRoundTripProxy(server.port);
    try {
      // A process that waited for the timer of its time limits would live far too long.
      const options = { timeout: 600_000 };
      const result = await invoke({ client, ports: [proxy.port], calls: made, options });
      expect(result.errors).toEqual([]);
      return [result, proxy];
    } finally {
      await proxy.stop();
    }
  }

  /** Round trips of a call, repeated while they are more than `limit`: a busy process sends late. */
  async function fewest(call: InvocationOptions['calls'][number], limit: number): Promise<number> {
    let least = Number.POSITIVE_INFINITY;
    for (let triesLeft = 3; triesLeft > 0 && least > limit; triesLeft--) {
      least = Math.min(least, (await counted(call))[1].roundTrips);
    }
    return least;
  }

  test('takes at most two round trips and one connection, and leaves no node, lease or subscription', async () => {
    const handshake = await fewest(['connect'], 0);
    const [{ results }, proxy] = await counted(register);
    expect(results).toMatchObject([{ status: 'online', socketIds: ['s1'] }]);
    expect(proxy.connections).toBe(1);
    expect(proxy.sent).not.toMatch(/subscribe/i);
    expect(lines(await server.cli('KEYS', '*')).sort()).toEqual([
      `${base}:due`,
      `${base}:layout`,
      `${base}:online`,
      `${base}:sockets:ann`,
      `${base}:user:ann`,
    ]);
    for (const [what, call] of calls) {
      expect(await fewest(call, handshake + 2), what).toBeLessThanOrEqual(handshake + 2);
    }
    expect(lines(await server.cli('KEYS', '*')).sort()).toEqual([
      `${base}:due`,
      `${base}:layout`,
      `${base}:sockets:ann`,
      `${base}:user:ann`,
    ]);
  });

  test('ends what earlier invocations left behind', async () => {
    const invocation = (...calls: InvocationOptions['calls']) =>
      invoke({ client, ports: [server.port], calls });
    await invocation(['setPresence', 'ann', 's1', 'online', null, { ttl: 500 }]);
    const seen = await waitFor(async () => {
      const { results } = await invocation(
        ['setPresence', 'bob', 's1', 'online', null, { ttl: 60_000 }],
        ['getPresence', 'ann'],
      );
      const data = results[1] as { status: string };
      return data.status === 'offline' && data;
    });
    expect(seen).toMatchObject({ userId: 'ann', socketIds: [] });
    const online = lines(await server.cli('SMEMBERS', `${base}:online`));
    expect(online).toEqual(['bob']);
  });
});

test.each(serviceClients)('a call of a warm process with %s is one round trip', async (_name, make) => {
  const proxy = await startRoundTripProxy(server.port);
  const { client, end } = make(proxy.port);
  const service = new PresenceService({ redis: client, background: false, timeout: timeLimit(5_000) });
  try {
    await service.setPresence('bob', 's1', 'online', null, { ttl: 60_000 });
    await service.setStatus('bob', null);
    await service.removeSocket('bob', 's1');
    for (const [what, [method, ...args]] of calls) {
      await waitFor(
        async () => {
          const before = proxy.roundTrips;
          await (service[method] as (...given: readonly unknown[]) => Promise<unknown>).apply(service, args);
          return proxy.roundTrips - before === 1;
        },
        { message: `${what} in one round trip` },
      );
    }
  } finally {
    await service.close();
    end();
    await proxy.stop();
  }
});

test('an invocation runs as many commands as decision 24 says, those of scripts included', async () => {
  const { client, end } = nodeRedis(server.port);
  const service = new PresenceService({ redis: client, background: false, socketTtl: 60_000 });
  const ran = async (call: () => Promise<unknown>): Promise<number> => {
    await server.cli('CONFIG', 'RESETSTAT');
    await call();
    const stats = [...(await server.cli('INFO', 'commandstats')).matchAll(/cmdstat_(\S+):calls=(\d+)/g)];
    const counted = stats.filter(([, name]) => !/^(config|info|hello|client)/.test(name as string));
    return counted.reduce((sum, [, , calls]) => sum + Number(calls), 0);
  };
  try {
    expect(await ran(() => service.setPresence('ann', 's1'))).toBeLessThanOrEqual(20);
    expect(await ran(() => service.heartbeat('ann', 's1'))).toBeLessThanOrEqual(14);
    expect(await ran(() => service.setPresence('ann', 's1', 'away'))).toBeLessThanOrEqual(16);
    expect(await ran(() => service.removeSocket('ann', 's1'))).toBeLessThanOrEqual(12);
  } finally {
    await service.close();
    end();
  }
});

const TTL = period(2_000);

test('one process ends 10,000 sockets that fall silent together, each once and in time', async () => {
  const count = 10_000;
  const { client, end } = nodeRedis(server.port);
  const service = new PresenceService({ redis: client, background: false, timeout: timeLimit(20_000) });
  const sweeper = await NodeProcess.start({
    port: server.port,
    options: { lease: 60_000, sweepInterval: 200 },
  });
  const observer = await PresenceObserver.open(server.port, base);
  try {
    const calls = Array.from({ length: count }, (_, at) =>
      service.setPresence(`silent-${at}`, 's', 'online', undefined, { ttl: TTL }),
    );
    await Promise.all(calls);
    const registered = Date.now();
    const all = () => observer.changes.length >= 2 * count;
    await waitFor(all, { timeout: TTL + timeLimit(10_000), interval: 20 });
    expect(Date.now() - registered).toBeLessThan(TTL + timeLimit(2_000));
    expect(new Set(observer.offline('silent')).size).toBe(count);
    expect(observer.offline('silent')).toHaveLength(count);
  } finally {
    observer.close();
    await Promise.all([sweeper.kill(), service.close()]);
    end();
  }
});

test('a process dies while it sweeps: another one announces the ends, each once', async () => {
  const options = { lease: 60_000, sweepInterval: 200 };
  const observer = await PresenceObserver.open(server.port, base);
  const [one, other] = await Promise.all([
    NodeProcess.start({ port: server.port, options }),
    NodeProcess.start({ port: server.port, options }),
  ]);
  try {
    const users = Array.from({ length: 200 }, (_, at) => `user-${at}`);
    await Promise.all(
      users.map((user) =>
        one.ask('call', { method: 'setPresence', args: [user, 's', 'online', undefined, { ttl: TTL }] }),
      ),
    );
    const registered = Date.now();
    await waitFor(() => observer.offline('user').length > 0, { timeout: TTL + 4_000, interval: 1 });
    await one.kill();
    await waitFor(() => observer.offline('user').length === users.length, { timeout: TTL + 4_000 });
    expect(Date.now() - registered).toBeLessThan(TTL + timeLimit(2_000));
    expect(observer.offline('user').sort()).toEqual([...users].sort());
  } finally {
    await Promise.all([one.kill(), other.kill()]);
    observer.close();
  }
});

test('the process that registered a socket dies, and heartbeats from another one keep it', async () => {
  const observer = await PresenceObserver.open(server.port, base);
  const options = { lease: 1_000, sweepInterval: 200 };
  const [one, other] = await Promise.all([
    NodeProcess.start({ port: server.port, options }),
    NodeProcess.start({ port: server.port, options }),
  ]);
  try {
    await one.ask('call', { method: 'setPresence', args: ['ann', 's', 'online', undefined, { ttl: TTL }] });
    await one.ask('call', { method: 'setPresence', args: ['bob', 's'] });
    await one.kill();
    const beat = () => other.ask('call', { method: 'heartbeat', args: ['ann', 's'] });
    await waitFor(async () => (await beat()) === true && observer.offline('bob').length === 1, {
      timeout: 20_000,
      interval: 50,
    });
    const end = performance.now() + 2 * TTL;
    await waitFor(async () => (await beat()) === true && performance.now() > end, {
      timeout: 4 * TTL + 5_000,
      interval: 50,
    });
    expect(observer.offline('ann')).toEqual([]);
  } finally {
    await Promise.all([one.kill(), other.kill()]);
    observer.close();
  }
});

test('nobody goes offline because Redis was frozen for longer than the TTL', async () => {
  const fixture = new PresenceFixture(backendOn(server, nodeRedis));
  const [service, changes] = await fixture.observer({ lease: 60_000, sweepInterval: 200, onError: null });
  await service.setPresence('ann', 's', 'online', undefined, { ttl: TTL });
  await waitFor(async () => (await service.getOnlineCount()) === 1);
  // Sweeps must have begun.
  const { transactions } = service.stats();
  await service.setPresence('soon', 's', 'online', undefined, { ttl: 500 });
  await changes.until('soon', 'offline');
  expect(service.stats().transactions).toBeGreaterThan(transactions);
  await service.heartbeat('ann', 's');
  server.freeze();
  const end = performance.now() + 1.5 * TTL;
  await waitFor(() => performance.now() > end, { timeout: 3 * TTL });
  server.thaw();
  // A heartbeat that comes as late as one can.
  const late = performance.now() + 0.7 * TTL;
  await waitFor(() => performance.now() > late, { timeout: 2 * TTL });
  expect(await service.heartbeat('ann', 's')).toBe(true);
  expect(changes.of('ann')).toEqual(['offline > online']);
  await changes.until('ann', 'offline', TTL + 4_000);
  await fixture.end();
});

test('the keys of a user live as long as their longest TTL', async () => {
  const fixture = new PresenceFixture(backendOn(server, nodeRedis));
  const service = fixture.service({ prefix: 'rollcall', keyTtl: 60_000, lease: 5_000, background: false });
  await service.setPresence('ann', 's', 'online', undefined, { ttl: 600_000 });
  for (const key of [`${base}:sockets:ann`, `${base}:user:ann`]) {
    expect(Number(await server.cli('PTTL', key))).toBeGreaterThan(600_000);
  }
  expect(await server.cli('HGET', `${base}:sockets:ann`, '*"s')).toMatch(/^\d{13}"600000"[\da-z]{8}$/);
  const due = Number(await server.cli('ZSCORE', `${base}:due`, 'ann'));
  expect(Math.abs(due - Date.now() - 600_000)).toBeLessThan(timeLimit(1_000));
  await fixture.end();
});
