import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { Redis as IoredisFive } from 'ioredis';
import { Redis as IoredisSix } from 'ioredis6';
import { createClient } from 'redis';
import { afterEach, describe, expect, test } from 'vitest';
import { PubSubService, type RedisClient, type RollcallError } from '../../src/index.js';
import { serviceClients } from '../shared/redis-clients.js';
import { period, timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// What docs/pubsub.md promises about calls while Redis is frozen, and about clients that send a command again.

let ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.reverse()) await end();
  ends = [];
});

async function start(): Promise<RedisServer> {
  const server = await startRedis();
  ends.push(() => server.stop());
  return server;
}

function open(redis: RedisClient, timeout?: number): PubSubService {
  const pubsub = new PubSubService({ redis, onError: null, ...(timeout && { timeout }) });
  ends.push(() => pubsub.close());
  return pubsub;
}

const failure = (call: Promise<unknown>): Promise<RollcallError> =>
  call.then(
    (value) => {
      throw new Error(`resolved with ${JSON.stringify(value)}`);
    },
    (error: RollcallError) => error,
  );

describe.each(serviceClients)('while Redis is frozen, with %s', (_name, make) => {
  test('every call settles within its deadline, with the outcome of the guide', async () => {
    const server = await start();
    const { client, end } = make(server.port);
    ends.push(end);
    const timeout = period(400);
    const calm = open(client);
    const pubsub = open(client, timeout);
    const seen: unknown[] = [];
    await calm.subscribe('kept', (message) => seen.push(message));
    const removed = await waitFor(() => pubsub.subscribe('removed', (message) => seen.push(message)));
    await waitFor(() => pubsub.connect().then(() => true));

    server.freeze();
    const startedAt = performance.now();
    const stream = pubsub.messages('streamed');
    const fresh = make(server.port);
    ends.push(fresh.end);
    const unconnected = open(fresh.client, timeout);
    const [publish, subscribe, psubscribe, ready, next, history, recover, unsubscribe, connect] =
      await Promise.all([
        failure(pubsub.publish('kept', 1)),
        failure(pubsub.subscribe('new', () => {})),
        failure(pubsub.psubscribe('new*', () => {})),
        failure(stream.ready),
        failure(stream.next()),
        failure(pubsub.history('kept')),
        failure(pubsub.recover({ channels: { kept: '0-0' } })),
        failure(removed.unsubscribe()),
        failure(unconnected.connect()),
      ]);
    expect(performance.now() - startedAt).toBeLessThan(timeLimit(2 * timeout));
    for (const error of [publish, subscribe, psubscribe, ready, next, unsubscribe]) {
      expect(error).toMatchObject({ name: 'TimeoutError', outcome: 'unknown' });
    }
    for (const error of [history, recover]) expect(error.name).toBe('TimeoutError');
    expect(connect).toMatchObject({ name: 'ConnectionError', outcome: 'failed' });
    await pubsub.connect();
    expect(pubsub.stats()).toMatchObject({ handlers: 0, published: 0 });

    const closingAt = performance.now();
    await pubsub.close();
    expect(performance.now() - closingAt).toBeLessThan(timeLimit(2.5 * timeout));

    // What was sent before is executed now: a call that is `unknown` may have happened.
    server.thaw();
    await waitFor(() => seen.length === 1);
    await calm.publish('removed', 2);
    await calm.publish('kept', 3);
    await waitFor(() => seen.length === 2);
    expect(seen).toEqual([1, 3]);
  });
});

/** Passes bytes on to the server at `target`, remembers the last of those to it, and can hold them back or break all connections. */
async function startProxy(target: number) {
  const pairs = new Set<[near: Socket, far: Socket]>();
  let isHolding = false;
  let sent = '';
  const server = createServer((near) => {
    const far = createConnection({ host: '127.0.0.1', port: target });
    const pair: [Socket, Socket] = [near, far];
    pairs.add(pair);
    near.on('data', (chunk) => {
      sent = `${sent}${chunk.toString('latin1')}`.slice(-10_000);
      far.write(chunk);
    });
    far.on('data', (chunk) => near.write(chunk));
    for (const [one, other] of [pair, [far, near] as const]) {
      one.on('error', () => {});
      one.on('close', () => {
        pairs.delete(pair);
        other.destroy();
      });
    }
    if (isHolding) near.pause();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy = {
    port: (server.address() as AddressInfo).port,
    sent: () => sent,
    hold(on: boolean) {
      isHolding = on;
      for (const [near] of pairs) on ? near.pause() : near.resume();
    },
    cut() {
      for (const [near] of pairs) near.destroy();
    },
  };
  ends.push(() => {
    server.close();
    proxy.cut();
  });
  return proxy;
}

/** What arrives on a channel, on a connection that does not go through the proxy. */
async function watch(server: RedisServer): Promise<unknown[]> {
  const client = createClient({ url: server.url });
  client.on('error', () => {});
  ends.push(() => client.isOpen && client.destroy());
  const seen: unknown[] = [];
  await open(client).subscribe('x', (message) => seen.push(message));
  return seen;
}

describe('a publish whose connection breaks before the reply', () => {
  const libraries: [name: string, (port: number, resend: boolean) => IoredisFive | IoredisSix][] = [
    [
      'ioredis 5',
      (port, autoResendUnfulfilledCommands) =>
        new IoredisFive(port, { autoResendUnfulfilledCommands, retryStrategy: () => 20 }),
    ],
    [
      'ioredis 6',
      (port, autoResendUnfulfilledCommands) =>
        new IoredisSix(port, { autoResendUnfulfilledCommands, retryStrategy: () => 20 }),
    ],
  ];

  function openNodeRedis(port: number) {
    const client = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: 20 } });
    client.on('error', () => {});
    ends.push(() => client.isOpen && client.destroy());
    return client;
  }

  /** Publishes while the server is frozen, breaks the connection, and lets the server continue. */
  async function interrupt(
    server: RedisServer,
    client: RedisClient,
    proxy: Awaited<ReturnType<typeof startProxy>>,
    callOfTheOwner: () => void = () => {},
  ) {
    const pubsub = open(client);
    await pubsub.publish('x', 'before');
    server.freeze();
    callOfTheOwner();
    const publishing = failure(pubsub.publish('x', 'interrupted'));
    await waitFor(() => proxy.sent().includes('interrupted'));
    proxy.cut();
    expect(await publishing).toMatchObject({ name: 'ConnectionError', outcome: 'unknown' });
    server.thaw();
    await waitFor(() => pubsub.publish('x', 'after').then(() => true));
  }

  test.each(libraries)('is sent a second time by %s, as it is by default', async (_name, make) => {
    const server = await start();
    const proxy = await startProxy(server.port);
    const seen = await watch(server);
    const client = make(proxy.port, true);
    client.on('error', () => {});
    ends.push(() => client.disconnect());
    await interrupt(server, client, proxy);
    await waitFor(() => seen.at(-1) === 'after');
    expect(seen).toEqual(['before', 'interrupted', 'interrupted', 'after']);
  });

  test.each(libraries)(
    'is not sent again by %s without autoResendUnfulfilledCommands; calls of the owner stay pending',
    async (_name, make) => {
      const server = await start();
      const proxy = await startProxy(server.port);
      const seen = await watch(server);
      const client = make(proxy.port, false);
      client.on('error', () => {});
      ends.push(() => client.disconnect());
      let isSettled = false;
      const settle = () => {
        isSettled = true;
      };
      await interrupt(server, client, proxy, () => void client.get('key').then(settle, settle));
      await waitFor(() => seen.at(-1) === 'after');
      expect(seen).toEqual(['before', 'interrupted', 'after']);
      expect(await client.ping()).toBe('PONG');
      expect(isSettled).toBe(false);
    },
  );

  test('is not sent again by node-redis', async () => {
    const server = await start();
    const proxy = await startProxy(server.port);
    const seen = await watch(server);
    const client = openNodeRedis(proxy.port);
    await interrupt(server, client, proxy);
    await waitFor(() => seen.at(-1) === 'after');
    expect(seen).toEqual(['before', 'interrupted', 'after']);
  });

  test('may be sent by node-redis after its rejection, if it was not written before', async () => {
    const server = await start();
    const proxy = await startProxy(server.port);
    const seen = await watch(server);
    const client = openNodeRedis(proxy.port);
    const pubsub = open(client);
    await pubsub.publish('x', 'before');
    proxy.hold(true);
    // More than the buffers of both sockets take: node-redis writes what follows only when this is gone.
    const filling = client.set('key', Buffer.alloc(32 * 2 ** 20)).catch(() => {});
    const publishing = failure(pubsub.publish('x', 'interrupted'));
    await waitFor(() => pubsub.stats().queued === 0);
    proxy.hold(false);
    proxy.cut();
    expect(await publishing).toMatchObject({ name: 'ConnectionError', outcome: 'unknown' });
    await filling;
    await waitFor(() => seen.length === 2);
    expect(seen).toEqual(['before', 'interrupted']);
  });
});
