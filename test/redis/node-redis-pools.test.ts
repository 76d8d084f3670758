import type { EventEmitter } from 'node:events';
import { createClientPool } from 'redis';
import { createClientPool as createClientPool5 } from 'redis5';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ConfigurationError, createRollcall, type RedisClient } from '../../src/index.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// What a pool has besides the cases of the driver conformance suite: its database, its limit, its end.

let server: RedisServer;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  server = await startRedis();
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => server.stop());

type Create = (client: object, options: object) => unknown;

interface Pool extends EventEmitter {
  readonly isOpen: boolean;
  connect(): Promise<unknown>;
  close(): Promise<unknown>;
  destroy(): void;
  execute<T>(use: () => T): Promise<T>;
}

const versions: [name: string, create: Create][] = [
  ['node-redis 6', createClientPool],
  ['node-redis 5', createClientPool5],
];

describe.each(versions)('a pool of %s', (_, create) => {
  function makePool(database: number, options = {}): Pool {
    const pool = create({ url: `redis://127.0.0.1:${server.port}/${database}` }, options) as Pool;
    pool.on('error', () => {});
    ends.push(() => pool.destroy());
    return pool;
  }

  function serve(pool: Pool) {
    const rollcall = createRollcall({ redis: pool as unknown as RedisClient, onError: null });
    ends.push(() => rollcall.close());
    return rollcall;
  }

  test('that is connected is used with its database, in keys and channels', async () => {
    const pool = makePool(3);
    await pool.connect();
    const { presence, pubsub } = serve(pool);
    expect(pubsub.database).toBe(3);
    const changes: string[] = [];
    await presence.subscribe(({ userId, status }) => void changes.push(`${userId} ${status}`));
    await presence.setPresence('ann', 's');
    await waitFor(() => changes.includes('ann online'));
    const keyspace = await server.cli('INFO', 'keyspace');
    expect(keyspace).toContain('db3:');
    expect(keyspace).not.toContain('db0:');
    expect(await server.cli('PUBSUB', 'CHANNELS')).toContain('@3');
  });

  test('that hides its database is refused at the first call, instead of mixing databases', async () => {
    const { pubsub } = serve(makePool(3));
    const refused = pubsub.publish('x', 1);
    await expect(refused).rejects.toThrow(ConfigurationError);
    await expect(refused).rejects.toThrow('use database 3');
  });

  test('whose clients are all busy is used as soon as one is idle', async () => {
    const pool = makePool(0, { maximum: 1, acquireTimeout: 50 });
    await pool.connect();
    let release = (): void => {};
    const busy = new Promise<void>((resolve) => {
      release = resolve;
    });
    const work = pool.execute(() => busy);
    const { pubsub } = serve(pool);
    const publishing = pubsub.publish('x', 1);
    // Fails after `acquireTimeout`, when the pool has refused rollcall too.
    await expect(pool.execute(() => 1)).rejects.toThrow();
    release();
    await work;
    expect(await publishing).toEqual({ receivers: 0 });
  });

  test('that its owner closes takes the connections of rollcall with it, and subscriptions return with it', async () => {
    const pool = makePool(0);
    const { pubsub } = serve(pool);
    const seen: unknown[] = [];
    await pubsub.subscribe('x', (message) => void seen.push(message));
    await pool.close();
    await waitFor(async () => (await server.cli('INFO', 'clients')).includes('connected_clients:1'));
    await expect(pubsub.publish('x', 1)).rejects.toThrow('its owner has closed it');
    await pool.connect();
    await waitFor(async () => (await pubsub.publish('x', 2)).receivers === 1);
    await waitFor(() => seen.includes(2));
  });
});
