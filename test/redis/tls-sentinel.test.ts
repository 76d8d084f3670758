import { Redis } from 'ioredis';
import { createSentinel } from 'redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRollcall, type RedisClient } from '../../src/index.js';
import { timeLimit } from '../support/machine.js';
import { type SentinelProcess, startSentinel } from '../support/redis-sentinel.js';
import { type RedisServer, sparePort, startRedis } from '../support/redis-server.js';
import { type Certificates, createCertificates } from '../support/tls.js';
import { findOpenssl } from '../support/tools.js';
import { waitFor } from '../support/wait.js';

// Everything is encrypted: clients, replication, and what a sentinel sends. Only the test itself uses plain connections.

const host = '127.0.0.1';

let certificates: Certificates;
let servers: RedisServer[];
let sentinel: SentinelProcess;
/** Of the servers, and of the sentinel. */
let tlsPorts: number[];
let sentinelTlsPort: number;

/** Named in the titles of what is left out. */
const missing = findOpenssl() === undefined ? ' (needs openssl)' : '';

const masterPort = async () =>
  Number(((await sentinel.cli('SENTINEL', 'get-master-addr-by-name', 'main')) as unknown[])[1]);

beforeAll(async () => {
  if (missing !== '') return;
  certificates = createCertificates();
  tlsPorts = [await sparePort(), await sparePort()];
  sentinelTlsPort = await sparePort();
  servers = await Promise.all(
    tlsPorts.map((port) =>
      startRedis({ args: ['--tls-port', String(port), '--tls-replication', 'yes', ...certificates.args] }),
    ),
  );
  const [master, replica] = servers as [RedisServer, RedisServer];
  await replica.cli('REPLICAOF', host, String(tlsPorts[0]));
  await waitFor(async () =>
    (await master.cli('INFO', 'replication')).includes(`port=${tlsPorts[1]},state=online`),
  );
  const files = certificates.args.join(' ').split('--').filter(Boolean);
  sentinel = await startSentinel([
    `tls-port ${sentinelTlsPort}`,
    'tls-replication yes',
    ...files.map((line) => line.trim()),
    `sentinel monitor main ${host} ${tlsPorts[0]} 1`,
    'sentinel down-after-milliseconds main 1000',
    'sentinel failover-timeout main 3000',
  ]);
  await waitFor(async () =>
    String(await sentinel.cli('SENTINEL', 'replicas', 'main')).includes(`${tlsPorts[1]},`),
  );
});
afterAll(async () => {
  await Promise.all([...(servers ?? []).map((server) => server.stop()), sentinel?.stop()]);
  certificates?.remove();
});

interface Opened {
  client: RedisClient;
  end: () => unknown;
}

const clients: [name: string, open: (ca: string) => Opened][] = [
  [
    'node-redis',
    (ca) => {
      const socket = { tls: true as const, ca };
      const client = createSentinel({
        name: 'main',
        sentinelRootNodes: [{ host, port: sentinelTlsPort }],
        sentinelClientOptions: { socket },
        nodeClientOptions: { socket },
      });
      client.on('error', () => {});
      return { client, end: () => client.isOpen && client.destroy() };
    },
  ],
  [
    'ioredis',
    (ca) => {
      const tls = { ca };
      const client = new Redis({
        name: 'main',
        sentinels: [{ host, port: sentinelTlsPort }],
        enableTLSForSentinelMode: true,
        sentinelTLS: tls,
        tls,
        failoverDetector: true,
      });
      client.on('error', () => {});
      return { client, end: () => client.disconnect() };
    },
  ],
];

describe.skipIf(missing !== '').each(clients)(`under Sentinel over TLS, with %s${missing}`, (name, open) => {
  it('messages, histories and presence follow the master of a failover', async () => {
    const { client, end } = open(certificates.ca);
    const errors: string[] = [];
    const { pubsub, presence, close } = createRollcall({
      redis: client,
      onError: ({ message }) => errors.push(message),
    });
    const channel = `kept by ${name}`;
    const history = { size: 10, ttl: 60_000 };
    const got: unknown[] = [];
    await pubsub.subscribe(channel, (message) => got.push(message), { since: 'latest' });
    await presence.setPresence('ann', 's1');
    await pubsub.publish(channel, 1, { history });
    await waitFor(() => got.length === 1);
    const before = await masterPort();
    // Only the connection of the test is not encrypted.
    const listed = (await servers[tlsPorts.indexOf(before)]!.cli('CLIENT', 'LIST'))
      .split('\n')
      .filter(Boolean);
    expect(
      listed.filter((line) => !line.includes(`laddr=${host}:${before} `) && !line.includes('cmd=client')),
    ).toEqual([]);
    await waitFor(
      async () => String(await sentinel.cli('SENTINEL', 'FAILOVER', 'main').catch(String)) === 'OK',
      {
        timeout: timeLimit(20_000),
      },
    );
    await waitFor(async () => (await masterPort()) !== before, { timeout: timeLimit(20_000) });
    await waitFor(
      async () => {
        await pubsub.publish(channel, 2, { history, idempotencyKey: `two ${name}` }).catch(() => {});
        return got.includes(2);
      },
      { timeout: timeLimit(20_000), message: () => `the second message; so far ${got}; errors: ${errors}` },
    );
    await waitFor(async () => (await presence.getPresence('ann'))?.status === 'online', {
      timeout: timeLimit(15_000),
    });
    await close();
    await end();
  });
});
