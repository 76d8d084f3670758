import { randomInt } from 'node:crypto';
import { Cluster as IoredisCluster, Redis } from 'ioredis';
import { createClient, createCluster } from 'redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRollcall, type RedisClient } from '../../src/index.js';
import { timeLimit } from '../support/machine.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type RedisServer, sparePort, startRedis } from '../support/redis-server.js';
import { type Certificates, createCertificates } from '../support/tls.js';
import { findOpenssl } from '../support/tools.js';
import { waitFor } from '../support/wait.js';

// The TLS options of the client also apply to rollcall's own connections, with a certificate authority that no system knows.

const host = '127.0.0.1';

let certificates: Certificates;
let server: RedisServer;
let cluster: RedisCluster;
/** Of the server, and of the nodes. */
let port: number;
let ports: number[];

/** Named in the titles of what is left out. */
const missing = findOpenssl() === undefined ? ' (needs openssl)' : '';

beforeAll(async () => {
  if (missing !== '') return;
  certificates = createCertificates();
  const args = (port: number) => ['--tls-port', String(port), ...certificates.args];
  [server, cluster] = await Promise.all([
    startRedis({ args: args(await sparePort()) }),
    // With `tls-cluster no`, Redis 7.0 announces the ports without TLS.
    startRedisCluster({
      replicas: 0,
      args: () => [...args(randomInt(20_000, 32_000)), '--tls-cluster', 'yes'],
    }),
  ]);
  const tlsPort = async (cli: RedisServer['cli']) =>
    Number((await cli('CONFIG', 'GET', 'tls-port')).split('\n')[1]);
  port = await tlsPort((...command) => server.cli(...command));
  ports = await Promise.all(
    cluster.ports.map((plain) => tlsPort((...command) => cluster.cli(plain, ...command))),
  );
});
afterAll(async () => {
  await Promise.all([server?.stop(), cluster?.stop()]);
  certificates?.remove();
});

interface Opened {
  client: RedisClient;
  end: () => unknown;
}

const clients: [name: string, open: (ca: string | undefined) => Opened][] = [
  [
    'node-redis',
    (ca) => {
      const client = createClient({ socket: { host, port, tls: true, ...(ca === undefined ? {} : { ca }) } });
      client.on('error', () => {});
      return { client, end: () => client.isOpen && client.destroy() };
    },
  ],
  [
    'ioredis',
    (ca) => {
      const client = new Redis({ host, port, lazyConnect: true, tls: ca === undefined ? {} : { ca } });
      client.on('error', () => {});
      return { client, end: () => client.disconnect() };
    },
  ],
];

const clusterClients: [name: string, open: (ca: string | undefined) => Opened][] = [
  [
    'node-redis on a Cluster',
    (ca) => {
      const tls = { tls: true as const, ...(ca === undefined ? {} : { ca }) };
      const rootNodes = ports.map((each) => ({ socket: { host, port: each, ...tls } }));
      const client = createCluster({ rootNodes, defaults: { socket: tls } });
      client.on('error', () => {});
      return { client, end: () => client.isOpen && client.destroy() };
    },
  ],
  [
    'ioredis on a Cluster',
    (ca) => {
      const nodes = ports.map((each) => ({ host, port: each }));
      const redisOptions = { tls: ca === undefined ? {} : { ca } };
      const client = new IoredisCluster(nodes, { lazyConnect: true, redisOptions });
      client.on('error', () => {});
      return { client, end: () => client.disconnect() };
    },
  ],
];

/** Runs a command on the server or on all nodes, over plain connections. */
const everywhere = (onCluster: boolean, ...command: string[]): Promise<string[]> =>
  Promise.all(
    onCluster ? cluster.ports.map((plain) => cluster.cli(plain, ...command)) : [server.cli(...command)],
  );

describe.skipIf(missing !== '').each([...clients, ...clusterClients])(
  `over TLS, with %s${missing}`,
  (name, open) => {
    const onCluster = name.endsWith('Cluster');

    it('messages, histories and presence work, also after all connections were cut', async () => {
      const { client, end } = open(certificates.ca);
      const errors: string[] = [];
      const { pubsub, presence, close } = createRollcall({
        redis: client,
        onError: (error) => errors.push(error.message),
      });
      const got: unknown[] = [];
      const history = { size: 10, ttl: 60_000 };
      const kept = `kept by ${name}`;
      await pubsub.subscribe(kept, (message) => void got.push(message), { since: 'latest' });
      await pubsub.subscribe('{s}harded', (message) => void got.push(message), { sharded: true });
      await presence.setPresence('ann', 's1');
      await pubsub.publish(kept, 1, { history });
      await pubsub.publish('{s}harded', 2, { sharded: true });
      await waitFor(() => got.length === 2, { message: () => `two messages; so far ${got}` });
      // Only this connection is not encrypted.
      const listed = (await everywhere(onCluster, 'CLIENT', 'LIST'))
        .join('\n')
        .split('\n')
        .filter((line) => line !== '');
      const encrypted = (line: string) =>
        (onCluster ? ports : [port]).some((each) => line.includes(`laddr=${host}:${each} `));
      expect(listed.filter((line) => !encrypted(line) && !line.includes('cmd=client'))).toEqual([]);
      expect(listed.filter(encrypted).length).toBeGreaterThan(1);
      for (const type of ['pubsub', 'normal']) {
        await everywhere(onCluster, 'CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes');
      }
      await waitFor(
        async () => {
          await pubsub.publish(kept, 3, { history, idempotencyKey: 'three' }).catch(() => {});
          return got.includes(3);
        },
        { message: () => `the third message; so far ${got}` },
      );
      expect((await presence.getPresence('ann'))?.status).toBe('online');
      await presence.removeSocket('ann', 's1');
      expect(errors).toEqual([]);
      await close();
      await end();
    });

    it('a certificate of an unknown authority is named by the first call', async () => {
      const { client, end } = open(undefined);
      const { pubsub, close } = createRollcall({
        redis: client,
        onError: null,
        pubsub: { timeout: timeLimit(2_000) },
      });
      await expect(pubsub.publish('news', 1)).rejects.toThrow(/certificate/);
      await close();
      await end();
    });
  },
);
