import { Redis as Ioredis5 } from 'ioredis';
import { Redis as Ioredis6 } from 'ioredis6';
import { createClient } from 'redis';
import { createClient as createClient5 } from 'redis5';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigurationError, createRollcall, type RedisClient } from '../../src/index.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// Where Redis refuses the SELECT of ioredis, the client goes on in database 0.

const host = '127.0.0.1';
const DATABASE = 2;
const USER = { username: 'app', password: 'secret' };

interface OwnClient {
  client: RedisClient;
  /** Resolves when the client has connected, or would have. */
  connect(): Promise<unknown>;
  end(): void;
}

type Credentials = Partial<typeof USER>;

function ioredis(Class: typeof Ioredis5, port: number, credentials: Credentials): OwnClient {
  const client = new Class({ host, port, db: DATABASE, ...credentials });
  client.on('error', () => {});
  return { client, connect: () => waitFor(() => client.status === 'ready'), end: () => client.disconnect() };
}

const clients: [name: string, open: (port: number, credentials: Credentials) => OwnClient][] = [
  ['ioredis 5', (port, credentials) => ioredis(Ioredis5, port, credentials)],
  ['ioredis 6', (port, credentials) => ioredis(Ioredis6 as never, port, credentials)],
  [
    'node-redis 6',
    (port, credentials) => {
      const client = createClient({ socket: { host, port }, database: DATABASE, ...credentials });
      client.on('error', () => {});
      return { client, connect: async () => {}, end: () => client.isOpen && client.destroy() };
    },
  ],
  [
    'node-redis 5',
    (port, credentials) => {
      const client = createClient5({ socket: { host, port }, database: DATABASE, ...credentials });
      client.on('error', () => {});
      return {
        client: client as unknown as RedisClient,
        connect: async () => {},
        end: () => client.isOpen && client.destroy(),
      };
    },
  ],
];

let small: RedisServer;
let server: RedisServer;
beforeAll(async () => {
  [small, server] = await Promise.all([startRedis({ args: ['--databases', '1'] }), startRedis()]);
});
afterAll(() => Promise.all([small.stop(), server.stop()]));

describe.each(clients)('with %s', (_name, open) => {
  test.each([false, true])(
    'a database that the server does not have is refused, and nothing is written to another one (connected before: %s)',
    async (before) => {
      const { client, connect, end } = open(small.port, {});
      if (before) await connect();
      const { presence, pubsub, close } = createRollcall({ redis: client, onError: null });
      const history = { size: 3, ttl: 60_000 };
      for (const call of [
        () => presence.setPresence('ann', 's'),
        () => pubsub.publish('c', 1, { history }),
      ]) {
        const error = await call().then(
          () => undefined,
          (error: unknown) => error,
        );
        expect(error).toBeInstanceOf(ConfigurationError);
        expect((error as Error).message).toMatch(/refuses database 2 .*out of range/);
      }
      expect(await small.cli('KEYS', '*')).toBe('');
      await close();
      end();
    },
  );

  test('a user who may not SELECT is refused, until they may', async () => {
    await server.cli('FLUSHALL');
    await server.cli(
      'ACL',
      'SETUSER',
      USER.username,
      'reset',
      'on',
      `>${USER.password}`,
      '~*',
      '&*',
      '+@all',
      '-select',
    );
    const { client, end } = open(server.port, USER);
    const { presence, close } = createRollcall({ redis: client, onError: null });
    await expect(presence.setPresence('ann', 's')).rejects.toThrow(/refuses database 2 .*NOPERM/);
    expect(await server.cli('INFO', 'keyspace')).not.toContain('db0');
    await server.cli('ACL', 'SETUSER', USER.username, '+select');
    await waitFor(() =>
      presence.setPresence('ann', 's').then(
        () => true,
        () => false,
      ),
    );
    expect(await server.cli('INFO', 'keyspace')).toContain('db2');
    expect(await server.cli('INFO', 'keyspace')).not.toContain('db0');
    await close();
    end();
  });
});
