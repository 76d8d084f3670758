import type { EventEmitter } from 'node:events';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { createRollcall, type Discontinuity, type RedisClient } from '../../src/index.js';
import { timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type NumbProxy, startNumbProxy } from '../support/subscriber-blackhole-proxy.js';
import { waitFor } from '../support/wait.js';

// Services and load balancers drop connections that are idle: they close them, or deliver nothing more in silence. Here they do so after a
// much shorter time, which the commands that keep the connections alive do not prevent.

const host = '127.0.0.1';
/** Time after which a connection is dropped, in ms. */
const IDLE = 500;
/** Documented time in which a dead connection for commands is replaced, in ms. */
const REPLACED_WITHIN = 8_000;

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

interface OwnClient {
  client: RedisClient;
  connect(): Promise<unknown>;
  ping(): Promise<unknown>;
  end(): void;
}

const clients: [name: string, open: (port: number) => OwnClient][] = [
  [
    'node-redis',
    (port) => {
      const client = createClient({ url: `redis://${host}:${port}` });
      return {
        client,
        connect: () => client.connect(),
        ping: () => client.ping(),
        end: () => client.destroy(),
      };
    },
  ],
  [
    'ioredis',
    (port) => {
      const client = new Redis(port, host);
      return {
        client,
        connect: () => client.ping(),
        ping: () => client.ping(),
        end: () => client.disconnect(),
      };
    },
  ],
];

describe.concurrent.each(clients)('with %s, whose idle connections are dropped', (name, open) => {
  async function start() {
    const proxy: NumbProxy = await startNumbProxy(server.port);
    const { client, connect, ping, end } = open(proxy.port);
    (client as unknown as EventEmitter).on('error', () => {});
    // A client that is connected before is checked as well.
    await connect();
    const errors: Error[] = [];
    const { pubsub, close } = createRollcall({
      redis: client,
      onError: (error) => errors.push(error),
      pubsub: { probeInterval: 1_000 },
    });
    const stop = async () => {
      await close();
      end();
      await proxy.stop();
    };
    return { proxy, pubsub, ping, errors, stop };
  }

  /** Publishes a numbered message until it is acknowledged. */
  async function publishSurely(
    pubsub: Awaited<ReturnType<typeof start>>['pubsub'],
    channel: string,
    number: number,
  ): Promise<void> {
    const options = { history: { size: 100, ttl: 60_000 }, idempotencyKey: String(number) };
    await waitFor(() => pubsub.publish(channel, number, options).then(Boolean, () => false), {
      timeout: timeLimit(REPLACED_WITHIN + 7_000),
    });
  }

  describe.concurrent.each(['close', 'silence'] as const)('(%s)', (how) => {
    test('every message arrives once, and no gap stays open', async ({ expect }) => {
      const { proxy, pubsub, ping, stop } = await start();
      const channel = `${name} ${how}`;
      const got: unknown[] = [];
      const gaps: Discontinuity[] = [];
      await pubsub.subscribe(channel, (message) => got.push(message), {
        since: 'latest',
        onDiscontinuity: (gap) => gaps.push(gap),
      });
      await publishSurely(pubsub, channel, 1);
      proxy.dropIdle(IDLE, how);
      await waitFor(() => proxy.dropped >= 2);
      for (let number = 2; number <= 10; number++) await publishSurely(pubsub, channel, number);
      await waitFor(() => got.length >= 10, { timeout: timeLimit(12_000) });
      expect(got).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      expect(gaps.filter(({ recovered }) => !recovered)).toEqual([]);
      await ping();
      await stop();
    });
  });

  test('a dead connection for commands is replaced, and subscribers report no gap', async ({ expect }) => {
    const { proxy, pubsub, ping, errors, stop } = await start();
    const channel = `${name} plain`;
    const got: unknown[] = [];
    const gaps: Discontinuity[] = [];
    await pubsub.subscribe(channel, (message) => got.push(message), {
      onDiscontinuity: (gap) => gaps.push(gap),
    });
    await pubsub.publish(channel, 1);
    proxy.dropIdle(IDLE, 'silence', 'other');
    await waitFor(() => proxy.dropped >= 1);
    const began = performance.now();
    await waitFor(() => pubsub.publish(channel, 2).then(Boolean, () => false), {
      timeout: timeLimit(15_000),
    });
    expect(performance.now() - began).toBeLessThan(timeLimit(REPLACED_WITHIN));
    await waitFor(() => got.includes(2));
    expect(gaps).toEqual([]);
    expect(errors).toEqual([]);
    await ping();
    await stop();
  });

  test('a subscriber that was without subscriptions subscribes on another connection', async ({ expect }) => {
    const { proxy, pubsub, stop } = await start();
    const channel = `${name} again`;
    await (await pubsub.subscribe(channel, () => {})).unsubscribe();
    proxy.dropIdle(IDLE, 'silence', 'subscribed');
    await waitFor(() => proxy.dropped >= 1);
    const began = performance.now();
    const got: unknown[] = [];
    await pubsub.subscribe(channel, (message) => got.push(message));
    expect(performance.now() - began).toBeLessThan(timeLimit(4_000));
    await pubsub.publish(channel, 1);
    await waitFor(() => got.length === 1);
    await stop();
  });
});
