import { randomUUID } from 'node:crypto';
import { Cluster } from 'ioredis';
import {
  ConnectionError,
  type ForgetResult,
  InvalidArgumentError,
  NotificationService,
  type RedisClient,
  type RollcallError,
} from 'rollcall';
import { createChaosDriver } from 'rollcall/testing';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { nodeRedis } from '../shared/redis-clients.js';
import { RoomsFixture, TestPeer, type TestServer } from '../shared/rooms-fixture.js';
import { period } from '../support/machine.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type Cli, keyKinds, keysWith } from '../support/stored-keys.js';
import { waitFor } from '../support/wait.js';

// Everything of a user is gone: every key of the server is read before and after, with all that is in it.

let server: RedisServer | undefined;
let cluster: RedisCluster | undefined;
const ends: (() => void)[] = [];

beforeAll(async () => {
  [server, cluster] = await Promise.all([startRedis(), startRedisCluster({ replicas: 0 })]);
});
afterAll(async () => {
  await Promise.all([server?.stop(), cluster?.stop()]);
});

const topologies: Record<string, { client: () => RedisClient; masters: () => Cli[] }> = {
  'one Redis': {
    client: () => {
      const { client, end } = nodeRedis(server?.port as number);
      ends.push(end);
      return client;
    },
    masters: () => [(...args) => (server as RedisServer).cli(...args)],
  },
  'a Cluster': {
    client: () => {
      const client = new Cluster((cluster?.ports ?? []).map((port) => ({ host: '127.0.0.1', port })));
      client.on('error', () => {});
      ends.push(() => client.disconnect());
      return client;
    },
    masters: () =>
      (cluster as RedisCluster).ports.map(
        (port): Cli =>
          (...args) =>
            (cluster as RedisCluster).cli(port, ...args),
      ),
  },
};

describe.each(Object.entries(topologies))('on %s', (name, { client, masters }) => {
  const fixture = new RoomsFixture(() => ({ client, end: async () => {} }));

  afterEach(async () => {
    await fixture.end();
    for (const end of ends.splice(0)) end();
    for (const cli of masters()) await cli('FLUSHALL');
  });

  const open = (lease = period(1_000), options = {}, shared = {}): TestServer =>
    fixture.server({
      ...shared,
      presence: {
        prefix: 'p',
        lease,
        ...(name === 'a Cluster' ? { partitions: 4 } : {}),
        ...options,
      },
    });

  /** Two sockets on two processes, in rooms, and all that services store of a user. */
  async function live(ann: string, one: TestServer, other: TestServer): Promise<TestPeer[]> {
    const peers = [new TestPeer(), new TestPeer()];
    const [first, second] = [
      await one.rooms.attach(peers[0] as TestPeer, { userId: ann }),
      await other.rooms.attach(peers[1] as TestPeer, { userId: ann }),
    ];
    await Promise.all([first.join('lobby', { members: true }), second.join('lobby'), second.join('kitchen')]);
    await one.presence.setStatus(ann, 'busy', { until: Date.now() + 3_600_000 });
    await one.presence.setPresence(ann, 'without a process', 'online', { device: 'phone' }, { ttl: 60_000 });
    await other.rooms.sendToUser(ann, 'hello', 'x', { idempotencyKey: 'k' });
    const notifications = new NotificationService({ rooms: one.rooms });
    await notifications.notify(ann, { text: 'one' }, { idempotencyKey: 'k' });
    const { id } = await notifications.notify(ann, { text: 'two' });
    await notifications.acknowledge(ann, id);
    return peers;
  }

  /** Until nothing remains. */
  async function forgetAll({ forget }: TestServer, ann: string): Promise<ForgetResult> {
    let result: ForgetResult | undefined;
    await waitFor(
      async () => {
        result = await forget(ann);
        return result.complete;
      },
      { timeout: 20_000, message: () => JSON.stringify(result) },
    );
    return result as ForgetResult;
  }

  test('every key of the user is gone from Redis, in all services, and their connections are closed', async () => {
    // Characters that mean something in patterns, keys and JSON.
    const ann = `ann*"[1]{x}-${randomUUID()}`;
    const part = ann.slice(-36);
    const [one, other] = [open(), open()];
    const peers = await live(ann, one, other);
    // A bystander with a name that a pattern of the user's would match.
    const bob = ann.replace('*', 'bob');
    await one.presence.setPresence(bob, 'b');
    expect(keyKinds(await keysWith(part, masters()))).toEqual(
      expect.arrayContaining([
        ':sockets',
        ':user',
        ':online',
        ':due',
        ':room',
        ':node',
        'rollcall:log',
        'rollcall:last',
        'rollcall:once',
        'rollcall:read',
      ]),
    );
    await one.presence.removeSocket(bob, 'b', { immediate: true });
    const watch = await other.presence.watchRoom('lobby', () => {});
    const first = await one.forget(ann, { reason: 'account deleted' });
    expect(first).toEqual({
      complete: false,
      record: true,
      status: true,
      sockets: 3,
      rooms: expect.any(Array),
      messages: true,
      notifications: true,
      readMarker: true,
      removedMessages: 0,
      remaining: { sockets: 0, removals: 1 },
    });
    await waitFor(() => peers.every(({ closed }) => closed?.code === 4403), { timeout: 10_000 });
    expect(peers.map(({ closed }) => closed?.reason)).toEqual(['account deleted', 'account deleted']);
    await waitFor(() => watch.size === 0);
    expect(await one.presence.getPresence(ann, { reveal: true })).toBeNull();
    const remaining = keyKinds((await keysWith(part, masters())).filter((key) => !key.includes('bob')));
    expect([':sockets', ':inbox']).toEqual(expect.arrayContaining(remaining));
    const last = await forgetAll(other, ann);
    expect(last).toMatchObject({ record: false, sockets: 0, rooms: [], messages: false, readMarker: false });
    await forgetAll(one, bob);
    expect(await keysWith(part, masters())).toEqual([]);
    // The sockets that were closed come not back with a renewal.
    await one.presence.setPresence('bob', 'b');
    expect(await keysWith(part, masters())).toEqual([]);
    await watch.close();
  });

  test('sockets that are kept keep their presence; a later call removes it', async () => {
    const ann = `ann-${randomUUID()}`;
    const [one, other] = [open(), open()];
    const peers = await live(ann, one, other);
    const kept = await one.forget(ann, { keepSockets: true });
    expect(kept).toMatchObject({ complete: false, record: false, sockets: 0, rooms: [], messages: true });
    expect(kept.remaining).toEqual({ sockets: 3, removals: 0 });
    expect(peers.map(({ closed }) => closed)).toEqual([undefined, undefined]);
    expect(await one.presence.getPresence(ann)).toMatchObject({ status: 'busy' });
    expect(keyKinds(await keysWith(ann, masters())).filter((kind) => kind.startsWith('rollcall:'))).toEqual(
      [],
    );
    await other.rooms.sendToUser(ann, 'hello', 'again');
    await waitFor(() => peers.every((peer) => peer.receivedData().includes('again')), { timeout: 10_000 });
    await forgetAll(one, ann);
    await waitFor(() => peers.every(({ closed }) => closed?.code === 4403));
    expect(await keysWith(ann, masters())).toEqual([]);
  });

  test('a user who is offline, in a grace or unknown', async () => {
    const ann = `ann-${randomUUID()}`;
    const one = open(period(1_000), { grace: period(2_000) });
    expect(await one.forget(ann)).toEqual({
      complete: true,
      record: false,
      status: false,
      sockets: 0,
      rooms: [],
      messages: false,
      notifications: false,
      readMarker: false,
      removedMessages: 0,
      remaining: { sockets: 0, removals: 0 },
    });
    expect(await keysWith(ann, masters())).toEqual([]);
    await one.presence.setStatus(ann, 'invisible');
    expect(await one.forget(ann)).toMatchObject({ complete: true, record: false, status: true });
    expect(await keysWith(ann, masters())).toEqual([]);
    await one.presence.setPresence(ann, 's');
    await one.presence.removeSocket(ann, 's', { immediate: true });
    expect(await one.forget(ann)).toMatchObject({ complete: true, record: true, sockets: 0 });
    expect(await keysWith(ann, masters())).toEqual([]);
    const changes: string[] = [];
    await one.presence.subscribe(({ status }) => void changes.push(status));
    await one.presence.setPresence(ann, 's');
    await one.presence.removeSocket(ann, 's');
    expect(await one.forget(ann)).toMatchObject({ complete: true, record: true, sockets: 0 });
    expect(await keysWith(ann, masters())).toEqual([]);
    await waitFor(() => changes.includes('offline'));
    // They may come again.
    expect(await one.presence.setPresence(ann, 's')).toMatchObject({ status: 'online' });
  });

  // Of presence, of the rooms, and of the histories; a failed write is sent again before it counts as failed.
  test.each([1, 2, 3, 5, 7])(
    'a call whose commands fail from number %i on is completed by a second one',
    async (number) => {
      const ann = `ann-${randomUUID()}`;
      const driver = createChaosDriver(client());
      const execute = driver.execute.bind(driver);
      let left = Number.POSITIVE_INFINITY;
      driver.execute = async (...args) => {
        if (--left > 0) return execute(...args);
        // Redis has run them.
        await execute(...args);
        throw new ConnectionError('no reply', { outcome: 'unknown' });
      };
      const [one, other] = [open(), open(undefined, {}, { redis: driver, timeout: period(500) })];
      await live(ann, one, one);
      await other.presence.connect();
      left = number;
      const error = await other.forget(ann).then(
        () => undefined,
        (thrown: RollcallError) => thrown,
      );
      left = Number.POSITIVE_INFINITY;
      // The number of commands varies, because writes share transactions.
      if (number <= 3) expect(error).toBeDefined();
      if (error !== undefined) expect(['unknown', 'failed']).toContain(error.outcome);
      await forgetAll(number % 2 === 0 ? one : other, ann);
      await waitFor(async () => (await keysWith(ann, masters())).length === 0);
    },
  );

  test('wrong arguments are refused', async () => {
    const one = open();
    await expect(one.forget('')).rejects.toThrow(InvalidArgumentError);
    for (const options of [{ keepSockets: 1 }, { reason: 7 }, { keep: true }]) {
      await expect(one.forget('ann', options as never)).rejects.toThrow(InvalidArgumentError);
    }
  });
});
