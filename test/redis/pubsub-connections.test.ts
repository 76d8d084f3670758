import { execFile } from 'node:child_process';
import { type EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { Redis as Ioredis5 } from 'ioredis';
import { Redis as Ioredis6 } from 'ioredis6';
import { createClient } from 'redis';
import { createClient as createClient5 } from 'redis5';
import {
  CommandError,
  ConnectionError,
  type Discontinuity,
  type PubSubOptions,
  PubSubService,
  type RedisClient,
  TimeoutError,
} from 'rollcall';
import { build } from 'tsup';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { MATRIX_ALL } from '../shared/redis-clients.js';
import { timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// What pub/sub does on the wire and through faults, on real servers.

interface User {
  username?: string;
  password?: string;
}

type Make = (port: number, user?: User) => RedisClient;

const allClients: [string, Make][] = [
  ['node-redis 6', (port, user) => createClient({ socket: { host: '127.0.0.1', port }, ...user })],
  [
    'node-redis 6, RESP 2',
    (port, user) => createClient({ socket: { host: '127.0.0.1', port }, RESP: 2, ...user }),
  ],
  ['node-redis 5', (port, user) => createClient5({ socket: { host: '127.0.0.1', port }, ...user })],
  ['ioredis 5', (port, user) => new Ioredis5({ host: '127.0.0.1', port, ...user })],
  ['ioredis 6', (port, user) => new Ioredis6({ host: '127.0.0.1', port, ...user })],
];

/** One client of each library: drivers.test.ts holds that the others behave the same when connections break. */
const clients = MATRIX_ALL
  ? allClients
  : allClients.filter(([name]) => name === 'node-redis 6' || name === 'ioredis 5');

let cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
  cleanUps = [];
});

function end(client: RedisClient): void {
  const one = client as unknown as EventEmitter & {
    destroy?: () => void;
    isOpen?: boolean;
    disconnect(): void;
  };
  one.on('error', () => {});
  if (one.destroy === undefined) one.disconnect();
  else if (one.isOpen === true) one.destroy();
}

async function redis(args?: string[]): Promise<RedisServer> {
  const server = await startRedis(args === undefined ? {} : { args });
  cleanUps.push(() => server.stop());
  return server;
}

function serviceOn(client: RedisClient, options: Partial<PubSubOptions> = {}): PubSubService {
  // As an owner would: after `close`, the client's errors are his again.
  (client as unknown as EventEmitter).on('error', () => {});
  const service = new PubSubService({ redis: client, ...options });
  cleanUps.push(
    () => end(client),
    () => service.close(),
  );
  return service;
}

const channels = async (server: RedisServer) =>
  (await server.cli('PUBSUB', 'CHANNELS')).split('\n').filter((line) => line !== '');

/** Clients with a subscription, by the server's own account. */
const subscribers = async (server: RedisServer) =>
  (await server.cli('CLIENT', 'LIST')).split('\n').filter((line) => / p?sub=[1-9]| ssub=[1-9]/.test(line));

function keeping() {
  const got: unknown[] = [];
  const gaps: Discontinuity[] = [];
  return {
    got,
    gaps,
    handler: (message: unknown) => void got.push(message),
    options: { onDiscontinuity: (gap: Discontinuity) => void gaps.push(gap) },
  };
}

const until = (what: string, done: () => boolean | Promise<boolean>) =>
  waitFor(done, { timeout: 15_000, message: what });

/** Publishes until a message arrives, because each subscriber reconnects at its own time. */
async function untilReceived(
  server: RedisServer,
  name: string,
  got: unknown[],
  message: string,
): Promise<void> {
  await until(`${message} on ${name}`, async () => {
    if (got.includes(message)) return true;
    await server.cli('PUBLISH', name, JSON.stringify(message));
    return got.includes(message);
  });
}

describe.each(clients)('%s', (_, make) => {
  describe('commands', () => {
    test('a thousand handlers cost one SUBSCRIBE, and the last to unsubscribe one UNSUBSCRIBE', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port));
      await service.connect();
      const monitor = await server.monitor();
      let called = 0;
      const all = await Promise.all(
        Array.from({ length: 1_000 }, () => service.subscribe('x', () => void called++)),
      );
      await service.publish('x', 1);
      await until('all handlers', () => called === 1_000);
      await Promise.all(all.map(({ unsubscribe }) => unsubscribe()));
      const lines = (await monitor.stop()).filter((line) => /subscribe/i.test(line));
      expect(lines.map((line) => line.replace(/^.*\] /, '').toLowerCase())).toEqual([
        '"subscribe" "x"',
        '"unsubscribe" "x"',
      ]);
    });

    test('a thousand names in one tick cost few commands', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port));
      await service.subscribe('first', () => {});
      const monitor = await server.monitor();
      const names = Array.from({ length: 1_000 }, (_, at) => `name:${at}`);
      const all = await Promise.all(names.map((name) => service.subscribe(name, () => {})));
      expect((await channels(server)).length).toBe(1_001);
      await Promise.all(all.map(({ unsubscribe }) => unsubscribe()));
      expect(await channels(server)).toEqual(['first']);
      const lines = (await monitor.stop()).filter((line) => /subscribe/i.test(line));
      expect(lines.length).toBeLessThanOrEqual(4);
    });

    test('services on one client share one subscriber connection', async () => {
      const server = await redis();
      const client = make(server.port);
      const [one, two] = [serviceOn(client), new PubSubService({ redis: client })];
      cleanUps.push(() => two.close());
      const [a, b] = [keeping(), keeping()];
      await one.subscribe('x', a.handler);
      await one.psubscribe('p*', a.handler);
      await two.subscribe('x', b.handler);
      await two.subscribe('y', b.handler);
      expect(await subscribers(server)).toHaveLength(1);
      await one.close();
      expect(await subscribers(server)).toHaveLength(1);
      await two.publish('x', 1);
      await until('it', () => b.got.length === 1);
      await two.close();
      await until('no subscriber', async () => (await subscribers(server)).length === 0);
    });

    test('names that an ACL forbids do not affect those that it allows', async () => {
      const server = await redis();
      await server.cli('ACL', 'SETUSER', 'limited', 'on', '>secret', '~*', '+@all', 'resetchannels', '&ok*');
      const service = serviceOn(make(server.port, { username: 'limited', password: 'secret' }));
      const [before, beside, pattern] = [keeping(), keeping(), keeping()];
      await service.subscribe('ok:before', before.handler);
      const results = await Promise.allSettled([
        service.subscribe('forbidden', () => {}),
        service.subscribe('ok:beside', beside.handler),
        service.psubscribe('forbidden*', () => {}),
        service.psubscribe('ok*', pattern.handler),
      ]);
      expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected', 'fulfilled']);
      for (const result of results) {
        if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(CommandError);
      }
      await expect(service.publish('forbidden', 1)).rejects.toBeInstanceOf(CommandError);
      for (const name of ['ok:before', 'ok:beside', 'ok:end']) await service.publish(name, name);
      await until('the end', () => pattern.got.includes('ok:end'));
      expect(before.got).toEqual(['ok:before']);
      expect(beside.got).toEqual(['ok:beside']);
      expect(pattern.got).toEqual(['ok:before', 'ok:beside', 'ok:end']);
      expect(service.stats()).toMatchObject({ channels: 2, patterns: 1, handlers: 3 });
    });

    test('a pattern escaped by escapePattern matches only its text in Redis', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port), { prefix: 'a-b.' });
      const one = keeping();
      await service.psubscribe('*', one.handler);
      await server.cli('PUBLISH', 'a-b.x', '1');
      await server.cli('PUBLISH', 'axb.x', '2');
      await server.cli('PUBLISH', 'a-b.y', '3');
      await until('both', () => one.got.length === 2);
      expect(one.got).toEqual([1, 3]);
    });
  });

  describe('when the connection breaks', () => {
    test('handlers receive messages again, and get one discontinuity', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port));
      const [channel, pattern] = [keeping(), keeping()];
      // A gap begins at the last sign of the connection, which may be its subscription.
      const before = Date.now();
      await service.subscribe('x', channel.handler, channel.options);
      await service.psubscribe('p:*', pattern.handler, pattern.options);
      expect(Number(await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub'))).toBe(1);
      await until('the gaps', () => channel.gaps.length > 0 && pattern.gaps.length > 0);
      // After the discontinuity is reported, no message is missed.
      await server.cli('PUBLISH', 'x', '"back"');
      await server.cli('PUBLISH', 'p:1', '"back"');
      await until('messages', () => channel.got.length > 0 && pattern.got.length > 0);
      expect([channel.got, pattern.got]).toEqual([['back'], ['back']]);
      expect(channel.gaps).toEqual([{ reason: 'reconnected', since: expect.any(Date), recovered: false }]);
      expect(channel.gaps[0]!.since.getTime()).toBeGreaterThanOrEqual(before);
      expect(pattern.gaps).toHaveLength(1);
      expect(await subscribers(server)).toHaveLength(1);
    });

    test('handlers of sharded channels receive messages again', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port));
      const one = keeping();
      await service.subscribe('x', one.handler, { ...one.options, sharded: true });
      await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await until('the gap', () => one.gaps.length > 0);
      await server.cli('SPUBLISH', 'x', '1');
      await until('the message', () => one.got.length > 0);
      expect(one.gaps).toHaveLength(1);
    });

    test('all names are subscribed again at a restarted server', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port));
      const one = keeping();
      const names = ['__proto__', 'a{b}c', 'new\nline', 'plain'];
      for (const name of names) await service.subscribe(name, one.handler, one.options);
      await server.restart();
      await until('the gaps', () => one.gaps.length === names.length);
      for (const name of names) await service.publish(name, name);
      await until('all', () => one.got.length === names.length);
      expect(one.got).toEqual(names);
      expect(one.gaps).toHaveLength(names.length);
    });

    test('a name unsubscribed during an outage is not resubscribed, and the call does not wait', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port), { timeout: 1_000 });
      const [gone, stays] = [keeping(), keeping()];
      const subscription = await service.subscribe('gone', gone.handler);
      const other = await service.psubscribe('gone*', gone.handler);
      await service.subscribe('stays', stays.handler, stays.options);
      await server.kill();
      await until('the loss', async () => {
        // Unsubscribing while the loss is not yet known is another matter.
        const result = await Promise.race([service.publish('probe', 1), Promise.resolve('waits')]).catch(
          () => 'lost',
        );
        return result !== undefined;
      });
      await Promise.all([subscription.unsubscribe(), other.unsubscribe()]);
      await server.restart();
      await until('the gap', () => stays.gaps.length > 0);
      await untilReceived(server, 'stays', stays.got, 'back');
      expect(await channels(server)).toEqual(['stays']);
      expect(await server.cli('PUBSUB', 'NUMPAT')).toBe('0');
      expect(gone.got).toEqual([]);
    });

    test('unsubscribing does not fail during a long outage', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port), { timeout: timeLimit(500) });
      const stays = keeping();
      const { unsubscribe } = await service.subscribe('gone', () => {});
      await service.subscribe('stays', stays.handler, stays.options);
      await server.kill();
      await expect(service.publish('x', 1)).rejects.toMatchObject({ outcome: expect.any(String) });
      await unsubscribe();
      expect(service.stats()).toMatchObject({ channels: 1 });
      await server.restart();
      await untilReceived(server, 'stays', stays.got, 'back');
      expect(await channels(server)).toEqual(['stays']);
    });

    test('a name subscribed during an outage works when Redis is back', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port), { timeout: 20_000 });
      const [first, second, pattern] = [keeping(), keeping(), keeping()];
      await service.subscribe('first', first.handler);
      await server.kill();
      const subscribed = Promise.all([
        service.subscribe('second', second.handler),
        service.psubscribe('sec*', pattern.handler),
      ]);
      await server.restart();
      await subscribed;
      await server.cli('PUBLISH', 'second', '1');
      await until('both', () => second.got.length === 1 && pattern.got.length === 1);
      await untilReceived(server, 'first', first.got, 'back');
      expect([second.got, pattern.got]).toEqual([[1], [1]]);
    });

    test('a subscription whose deadline passes during an outage is not made later', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port), { timeout: timeLimit(500) });
      const stays = keeping();
      await service.subscribe('stays', stays.handler);
      await server.kill();
      await expect(service.subscribe('late', () => {})).rejects.toBeInstanceOf(TimeoutError);
      await server.restart();
      await untilReceived(server, 'stays', stays.got, 'back');
      await until('nothing else', async () => (await channels(server)).join() === 'stays');
      expect(service.stats()).toMatchObject({ channels: 1, handlers: 1 });
    });

    test('publish waits for Redis during an outage', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port), { timeout: 20_000 });
      await service.publish('x', 0);
      await server.kill();
      // What is already handed over when the loss is not yet known may be unknown; what waits is done.
      await until('the loss', async () => {
        const published = service.publish('x', 'probe').catch((error: ConnectionError) => error);
        return (
          (await Promise.race([published, new Promise((go) => setImmediate(go, 'waits'))])) === 'waits' &&
          service.stats().queued > 0
        );
      });
      const published = service.publish('x', 1);
      await server.restart();
      expect(await published).toEqual({ receivers: 0 });
    });

    test('publish fails at its deadline during an outage, and the message is never delivered', async () => {
      const server = await redis();
      const service = serviceOn(make(server.port), { timeout: timeLimit(500) });
      await service.publish('x', 0);
      await server.kill();
      const failed: string[] = [];
      const publish = async (text: string) => {
        const error = await service.publish('x', text).catch((reason) => reason);
        expect([ConnectionError, TimeoutError]).toContain(error.constructor);
        if (error.outcome === 'failed') failed.push(text);
        return error;
      };
      // What the client was handed before it knew of the loss may be unknown, and come out later.
      await Promise.all(['early 1', 'early 2'].map(publish));
      const last = await publish('never');
      expect(last).toBeInstanceOf(TimeoutError);
      expect(last).toMatchObject({ outcome: 'failed', cause: expect.any(Error) });
      expect(service.stats().queued).toBe(0);
      await server.restart();
      const monitor = await server.monitor();
      await waitFor(() => service.publish('x', 'later'), { timeout: 15_000, message: 'a publication' });
      const published = (await monitor.stop()).filter((line) => /publish/i.test(line)).join('\n');
      expect(published).toContain('later');
      for (const text of failed) expect(published).not.toContain(text);
    });

    test('close is quick during an outage, and leaves nothing running', async () => {
      const server = await redis();
      const client = make(server.port);
      const service = serviceOn(client, { timeout: 5_000 });
      await service.subscribe('x', () => {});
      const waiting = keeping();
      const pending = [service.publish('x', 0), service.messages('y').ready];
      await Promise.all(pending);
      await server.kill();
      const open = Promise.allSettled([service.publish('x', 1), service.subscribe('z', waiting.handler)]);
      const started = performance.now();
      await service.close();
      expect(performance.now() - started).toBeLessThan(timeLimit(2_000));
      for (const result of await open) expect(result.status).toBe('rejected');
      await server.restart();
      expect(await channels(server)).toEqual([]);
    });
  });
});

describe('a server that does not exist', () => {
  const lazy: [string, Make][] = [
    ...allClients,
    [
      'node-redis 6 without reconnecting',
      (port) => createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: false } }),
    ],
    [
      'node-redis 5 without reconnecting',
      (port) => createClient5({ socket: { host: '127.0.0.1', port, reconnectStrategy: false } }),
    ],
    ['ioredis 5, lazyConnect', (port) => new Ioredis5({ host: '127.0.0.1', port, lazyConnect: true })],
    ['ioredis 6, lazyConnect', (port) => new Ioredis6({ host: '127.0.0.1', port, lazyConnect: true })],
    [
      'ioredis 5 without reconnecting',
      (port) => new Ioredis5({ host: '127.0.0.1', port, lazyConnect: true, retryStrategy: () => null }),
    ],
  ];

  test.each(lazy)('%s: connect rejects in time with the cause, and works later', async (_, make) => {
    const server = await redis();
    await server.kill();
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    cleanUps.push(() => process.off('unhandledRejection', unhandled));
    const service = serviceOn(make(server.port), { timeout: timeLimit(500) });
    const started = performance.now();
    const error = await service.connect().catch((reason) => reason);
    expect(performance.now() - started).toBeLessThan(timeLimit(1_500));
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({ name: 'ConnectionError', code: 'ERR_CONNECTION', outcome: 'failed' });
    expect(error.cause).toBeInstanceOf(Error);
    expect(String(error.cause.message)).toContain('ECONNREFUSED');
    await expect(service.publish('x', 1)).rejects.toMatchObject({ outcome: 'failed' });
    await expect(service.subscribe('x', () => {})).rejects.toBeInstanceOf(Error);
    await server.restart();
    await waitFor(() => service.connect().then(() => true), { timeout: 15_000, message: 'the connection' });
    const one = keeping();
    await waitFor(() => service.subscribe('x', one.handler), {
      timeout: 15_000,
      message: 'the subscription',
    });
    await service.publish('x', 1);
    await until('it', () => one.got.length === 1);
    expect(unhandled).not.toHaveBeenCalled();
  });
});

describe('processes', () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  let dir: string;
  let server: RedisServer;
  let bundle: string;

  beforeAll(async () => {
    server = await startRedis();
    dir = mkdtempSync(join(tmpdir(), 'rollcall-wire-'));
    await build({
      config: false,
      silent: true,
      entry: { rollcall: join(root, 'src/index.ts') },
      outDir: dir,
      format: 'esm',
      target: 'node20',
      outExtension: () => ({ js: '.mjs' }),
      loader: { '.lua': 'text' },
    });
    bundle = pathToFileURL(join(dir, 'rollcall.mjs')).href;
  });
  afterAll(async () => {
    rmSync(dir, { recursive: true, force: true });
    await server.stop();
  });

  const make = {
    'node-redis': `(await import('redis')).createClient({ url: '${'URL'}' })`,
    ioredis: `new (await import('ioredis')).Redis('${'URL'}')`,
  };
  const stop = { 'node-redis': 'redis.isOpen && redis.destroy();', ioredis: 'redis.disconnect();' };

  /** Runs `body` in a node of its own; it ends by itself or the test fails. */
  async function run(client: keyof typeof make, body: string): Promise<string> {
    const source = `
      const { PubSubService } = await import(${JSON.stringify(bundle)});
      const redis = ${make[client].replace('URL', server.url)};
      redis.on('error', () => {});
      const pubsub = new PubSubService({ redis });
      ${body}
    `;
    const args = ['--unhandled-rejections=strict', '--input-type=module', '--eval', source];
    const { stdout } = await promisify(execFile)(process.execPath, args, {
      cwd: root,
      timeout: timeLimit(20_000),
    });
    return stdout;
  }

  test.each(['node-redis', 'ioredis'] as const)('a process with %s can exit after close', async (client) => {
    const out = await run(
      client,
      `
        await pubsub.subscribe('x', () => {});
        await pubsub.psubscribe('x*', () => {});
        await pubsub.publish('x', 1);
        await pubsub.close();
        ${stop[client]}
        console.log('closed');
      `,
    );
    expect(out).toBe('closed\n');
  });

  test('with node-redis and with ioredis exchange messages', async () => {
    const body = (me: string, other: string) => `
      const received = new Set();
      let answering;
      await new Promise((resolve) => {
        pubsub.subscribe('to:${me}', (message, { channel }) => {
          received.add(channel + ' ' + JSON.stringify(message));
          if (message.question) answering = pubsub.publish('to:${other}', { answer: message.question });
          if (received.size === 2) resolve();
        }).then(ask);
        // Until the other process has subscribed.
        async function ask() {
          const { receivers } = await pubsub.publish('to:${other}', { question: 'héllo from ${me}' });
          if (receivers === 0) setTimeout(ask, 20);
        }
      });
      await answering;
      console.log([...received].sort().join('\\n'));
      await pubsub.close();
    `;
    const [one, two] = await Promise.all([
      run('node-redis', body('a', 'b') + stop['node-redis']),
      run('ioredis', body('b', 'a') + stop.ioredis),
    ]);
    expect(one).toBe('to:a {"answer":"héllo from a"}\nto:a {"question":"héllo from b"}\n');
    expect(two).toBe('to:b {"answer":"héllo from b"}\nto:b {"question":"héllo from a"}\n');
  });
});

test('the client still reaches its owner’s listeners after close', async () => {
  const server = await redis();
  const client = createClient({ socket: { host: '127.0.0.1', port: server.port } });
  const service = new PubSubService({ redis: client });
  await service.subscribe('x', () => {});
  await service.close();
  const ready = once(client, 'ready');
  await client.connect();
  await ready;
  client.destroy();
});
