import type { EventEmitter } from 'node:events';
import { Redis as Redis5 } from 'ioredis';
import { Redis as Redis6 } from 'ioredis6';
import { createClient } from 'redis';
import { createClient as createClient5 } from 'redis5';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRollcall, type Discontinuity, type RedisClient, type Rollcall } from '../../src/index.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type FaultyProxy, startFaultyProxy } from '../support/tcp-proxy.js';
import { waitFor } from '../support/wait.js';

// A planned failover behind an address that stays: the demoted server keeps its connections open, and
// answers PUBLISH as if nothing had happened.

const host = '127.0.0.1';
/** Within how many ms everything works again, with the defaults of every option. */
const BACK_WITHIN = 5_000;

const clients: Record<string, (port: number) => { client: RedisClient; end(): void }> = {
  'node-redis 6': (port) => {
    const client = createClient({ url: `redis://${host}:${port}` });
    return { client, end: () => client.destroy() };
  },
  'node-redis 5': (port) => {
    const client = createClient5({ url: `redis://${host}:${port}` });
    return { client: client as unknown as RedisClient, end: () => client.destroy() };
  },
  'ioredis 5': (port) => {
    const client = new Redis5(port, host);
    return { client, end: () => client.disconnect() };
  },
  'ioredis 6': (port) => {
    const client = new Redis6(port, host);
    return { client: client as unknown as RedisClient, end: () => client.disconnect() };
  },
};

let master: RedisServer;
let replica: RedisServer;
let endpoint: FaultyProxy;
const ends: (() => Promise<void> | void)[] = [];

beforeEach(async () => {
  master = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
  replica = await startRedis({ args: ['--replicaof', `${host} ${master.port}`] });
  await waitFor(async () => (await replica.cli('INFO', 'replication')).includes('link_status:up'));
  // FAILOVER needs a replica that has acknowledged something.
  await master.cli('SET', 'x', '1');
  await waitFor(async () => (await replica.cli('GET', 'x')) === '1');
  endpoint = await startFaultyProxy(master.port);
});

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  await endpoint.stop();
  await Promise.all([master.stop(), replica.stop()]);
});

function open(make: (port: number) => { client: RedisClient; end(): void }): Rollcall {
  const { client, end } = make(endpoint.port);
  (client as unknown as EventEmitter).on('error', () => {});
  const rollcall = createRollcall({ redis: client, onError: () => {} });
  ends.push(end, () => rollcall.close());
  return rollcall;
}

async function failover(): Promise<void> {
  await waitFor(async () =>
    /OK/.test(await master.cli('FAILOVER', 'TO', host, String(replica.port)).catch(() => '')),
  );
  await waitFor(async () => (await replica.cli('ROLE')).startsWith('master'));
}

describe.each(Object.entries(clients))(
  'after a planned failover behind a stable address, %s',
  (_name, make) => {
    test('publishes at the new master within 5 s, and subscribes there, with the gap reported', async () => {
      const one = open(make);
      const received = { one: [] as unknown[], other: [] as unknown[] };
      const gaps: Discontinuity[] = [];
      await one.pubsub.subscribe('c', (message) => received.one.push(message), {
        onDiscontinuity: (gap) => gaps.push(gap),
      });
      await failover();
      endpoint.leadTo(replica.port);
      const moved = performance.now();
      const other = open(make);
      await other.pubsub.subscribe('c', (message) => received.other.push(message));
      await waitFor(
        async () => {
          await one.pubsub.publish('c', 'from one').catch(() => {});
          await other.pubsub.publish('c', 'from other');
          return (
            received.other.includes('from one') && received.one.includes('from other') && gaps.length > 0
          );
        },
        { timeout: BACK_WITHIN },
      );
      expect(performance.now() - moved).toBeLessThan(BACK_WITHIN);
      // It is still the old server's clients that are gone, not a message that came by replication.
      await waitFor(async () => (await master.cli('PUBSUB', 'NUMSUB', 'c')).split('\n')[1] === '0');
    });

    test('writes presence at the new master, also if the address still led to the old one for a while', async () => {
      const one = open(make);
      await one.presence.setPresence('ann', 's', 'online');
      await failover();
      const accepted = endpoint.accepted;
      const written = one.presence.setPresence('ann', 's', 'away');
      // It has tried at least twice, and found the replica each time.
      await waitFor(() => endpoint.accepted >= accepted + 2);
      endpoint.leadTo(replica.port);
      await written.catch(() => {});
      await waitFor(
        () =>
          one.presence.setPresence('ann', 's', 'busy').then(
            () => true,
            () => false,
          ),
        { timeout: BACK_WITHIN },
      );
      const other = open(make);
      expect((await other.presence.getPresence('ann'))?.status).toBe('busy');
    });
  },
);
