import type { RollcallError } from 'rollcall';
import { afterEach, expect, test } from 'vitest';
import {
  device,
  type NotificationServer,
  notificationsBehaviour,
  openServer,
  type ServerOptions,
} from '../shared/notifications-behaviour.js';
import { backendOn, ioredis, type Maker, nodeRedis } from '../shared/redis-clients.js';
import { timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

const makers: [string, Maker][] = [
  ['node-redis 6', nodeRedis],
  ['ioredis 5', ioredis],
];

for (const [name, make] of makers) {
  notificationsBehaviour(`notifications on ${name}`, async () => {
    const server = await startRedis();
    const fixture = backendOn(server, make);
    const end = async () => {
      await fixture.end();
      await server.stop();
    };
    return { ...fixture, end };
  });
}

let ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.reverse()) await end();
  ends = [];
});

async function redis(...args: string[]): Promise<RedisServer> {
  const server = await startRedis({ args });
  ends.push(() => server.stop());
  return server;
}

function open(server: RedisServer, make: Maker, options?: ServerOptions): NotificationServer {
  const { client, end } = make(server.port);
  const opened = openServer(client, options);
  ends.push(async () => end());
  ends.push(() => opened.close());
  return opened;
}

/** `call` as often as it takes: a client needs a moment to be back. */
const sooner = <T>(call: () => Promise<T>) =>
  waitFor(
    () =>
      call().then(
        (value) => [value] as const,
        () => undefined,
      ),
    { timeout: 15_000 },
  ).then((found) => (found as readonly [T])[0]);

test.each(makers)('%s: a restart with its data changes nothing', async (_, make) => {
  const server = await redis('--appendonly', 'yes', '--appendfsync', 'always');
  const { notifications } = open(server, make);
  const ids: string[] = [];
  for (const at of [1, 2, 3]) ids.push((await notifications.notify('ann', at)).id);
  await notifications.acknowledge('ann', ids[0] as string);
  const before = await notifications.list('ann');
  await server.restart();
  expect(await sooner(() => notifications.list('ann'))).toEqual(before);
  const { id } = await sooner(() => notifications.notify('ann', 4));
  expect(await notifications.acknowledge('ann', id)).toEqual({ readUpTo: id });
});

test.each(makers)('%s: a restart without its data starts from nothing', async (_, make) => {
  const server = await redis();
  const { notifications } = open(server, make);
  const { id: lost } = await notifications.notify('ann', 1);
  await notifications.acknowledge('ann', lost);
  await server.restart();
  const empty = await sooner(() => notifications.list('ann'));
  expect(empty).toMatchObject({ notifications: [], readUpTo: '0-0', unread: { count: 0 } });
  const { id } = await notifications.notify('ann', 2);
  expect(await notifications.list('ann')).toMatchObject({
    notifications: [{ id, read: false }],
    unread: { count: 1, capped: false, complete: true },
  });
});

test.each(makers)(
  '%s: while Redis is unreachable every error says whether the call may have happened',
  async (_, make) => {
    const server = await redis('--appendonly', 'yes', '--appendfsync', 'always');
    const { notifications, rooms } = open(server, make, { timeout: timeLimit(600) });
    const phone = await device({ rooms }, 'ann');
    const { id } = await notifications.notify('ann', 1);
    await waitFor(() => phone.received.length === 1);
    await server.kill();
    const key = { idempotencyKey: 'k' };
    const failures = await Promise.all(
      [
        () => notifications.notify('ann', 2, key),
        () => notifications.list('ann'),
        () => notifications.unread('ann'),
        () => notifications.acknowledge('ann', id),
      ].map((call) =>
        call().then(
          () => undefined,
          (error: RollcallError) => error,
        ),
      ),
    );
    for (const error of failures) {
      expect(['ERR_CONNECTION', 'ERR_TIMEOUT']).toContain(error?.code);
      expect(['failed', 'unknown']).toContain(error?.outcome);
    }
    await server.restart();
    // With the same key it is one notification, whatever became of the first try.
    await sooner(() => notifications.notify('ann', 2, key));
    await notifications.notify('ann', 2, key);
    await waitFor(() => phone.received.length === 2, { timeout: 15_000 });
    expect(phone.received.map((each) => each.data)).toEqual([1, 2]);
    const list = await notifications.list('ann');
    expect(list.notifications.map((each) => each.data)).toEqual([2, 1]);
    expect(list.unread.count).toBe(2);
  },
);
