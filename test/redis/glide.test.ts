import { GlideClient, GlideClusterClient, Logger } from '@valkey/valkey-glide';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { createGlideDriver } from '../../src/glide/index.js';
import { createRollcall, type Discontinuity, defineChannel } from '../../src/index.js';
import { InvalidArgumentError } from '../../src/internal/errors.js';
import { type DriverUnderTest, driverConformanceCases } from '../../src/testing/driver-conformance.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

const host = '127.0.0.1';
/** Short, because each case waits for at least one check. */
const options = { checkInterval: 50 };
// More than GLIDE's default of 250 ms, for a busy machine.
const requestTimeout = 2_000;

// Otherwise it writes warnings about the connections that the tests break.
Logger.setLoggerConfig('off');

describe('on one server', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  const configure = () => ({ addresses: [{ host, port: server.port }], requestTimeout });

  const make = async (): Promise<DriverUnderTest> => {
    const client = await GlideClient.createClient(configure());
    return {
      driver: createGlideDriver(client, configure(), options),
      breakConnections: async () => {
        await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
        await server.cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      },
      forgetScripts: async () => {
        await server.cli('SCRIPT', 'FLUSH', 'SYNC');
      },
      dispose: async () => client.close(),
    };
  };

  const cases = driverConformanceCases.filter(({ requires }) => requires !== 'sharded');

  it.each(cases)('$name', (driverCase) => driverCase.run(make));

  test('a client closed by its owner is reported', async () => {
    const client = await GlideClient.createClient(configure());
    const driver = createGlideDriver(client, configure(), options);
    const states: string[] = [];
    const ended = new Promise<void>((resolve) => {
      driver.attach({
        message() {},
        dropped() {},
        connection(state) {
          states.push(state);
          if (state === 'ended') resolve();
        },
      });
    });
    await driver.connect();
    client.close();
    await ended;
    expect(states).toEqual(['ready', 'ended']);
    await expect(driver.execute([['PING']])).rejects.toThrow('its owner has closed it');
    await driver.close();
  });

  test('a channel that Redis refuses does not affect the others', async () => {
    await server.cli(
      'ACL',
      'SETUSER',
      'reader',
      'on',
      '>secret',
      '+@all',
      '~*',
      'resetchannels',
      '&allowed*',
    );
    const configuration = { ...configure(), credentials: { username: 'reader', password: 'secret' } };
    const client = await GlideClient.createClient(configuration);
    const driver = createGlideDriver(client, configuration, options);
    const received: string[] = [];
    const dropped: string[] = [];
    driver.attach({
      message: (_kind, name) => received.push(name),
      dropped: (_kind, names) => dropped.push(...names),
      connection() {},
    });
    await driver.connect();
    await driver.subscribe('channel', ['allowed:1']);
    // GLIDE says no more than that its time limit passed.
    await expect(driver.subscribe('channel', ['forbidden'])).rejects.toThrow('timed out');
    await driver.subscribe('channel', ['allowed:2']);
    await driver.execute([
      ['PUBLISH', 'allowed:1', 'x'],
      ['PUBLISH', 'allowed:2', 'x'],
    ]);
    await waitFor(() => received.length === 2);
    expect(received).toEqual(['allowed:1', 'allowed:2']);
    expect(dropped).toEqual([]);
    await driver.close();
    client.close();
  });

  test('a gap is reported although GLIDE subscribes again by itself, and history fills it', async () => {
    const client = await GlideClient.createClient(configure());
    const { pubsub, presence, close } = createRollcall({
      redis: createGlideDriver(client, configure(), options),
    });
    const gaps: Discontinuity[] = [];
    const received: unknown[] = [];
    const kept = defineChannel<number>()('kept:{id}', { history: { size: 100, ttl: 60_000 } })({ id: '1' });
    await pubsub.subscribe('plain', () => {}, { onDiscontinuity: (gap) => gaps.push(gap) });
    await pubsub.subscribe(kept, (number) => received.push(number));
    await pubsub.publish(kept, 1);
    await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
    for (let number = 2; number <= 20; number++) await pubsub.publish(kept, number);
    await waitFor(() => received.length >= 20 && gaps.length > 0);
    expect(received).toEqual(Array.from({ length: 20 }, (_, at) => at + 1));
    expect(gaps.map(({ recovered }) => recovered)).toEqual([false]);

    await presence.setPresence('ann', 'socket-1', 'busy', { device: 'phone' });
    expect(await presence.getPresence('ann')).toMatchObject({ status: 'busy' });
    expect(await presence.getOnlineCount()).toBe(1);
    await presence.removeSocket('ann', 'socket-1');
    expect(await presence.getPresence('ann')).toMatchObject({ status: 'offline' });
    await close();
    client.close();
  });

  test('calls that are not awaited keep their order', async () => {
    const { driver, dispose } = await make();
    driver.attach({ message() {}, dropped() {}, connection() {} });
    await driver.connect();
    const numbers = Array.from({ length: 300 }, (_, at) => String(at));
    const calls = numbers.map((number) =>
      driver.execute([['RPUSH', 'ordered', number]], { atomic: Number(number) % 7 === 0, key: 'ordered' }),
    );
    expect((await Promise.all(calls)).flat()).toEqual(numbers.map((_, at) => at + 1));
    expect(await driver.execute([['LRANGE', 'ordered', '0', '-1']])).toEqual([numbers]);
    await driver.close();
    await dispose();
  });

  test('bad arguments are refused', () => {
    const client = { customCommand() {}, exec() {} } as never;
    expect(() => createGlideDriver({} as never, configure())).toThrow(InvalidArgumentError);
    expect(() => createGlideDriver(client, {} as never)).toThrow('with addresses');
    expect(() => createGlideDriver(client, configure(), { checkInterval: 1 })).toThrow('checkInterval');
    expect(() => createGlideDriver(client, configure(), { interval: 1 } as never)).toThrow('interval');
  });
});

describe('on a cluster', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster({ replicas: 0 });
  });
  afterAll(() => cluster.stop());

  const configure = () => ({ addresses: cluster.ports.map((port) => ({ host, port })), requestTimeout });
  const everywhere = async (...command: string[]) => {
    await Promise.all(cluster.ports.map((port) => cluster.cli(port, ...command)));
  };

  const make = async (): Promise<DriverUnderTest> => {
    const client = await GlideClusterClient.createClient(configure());
    return {
      driver: createGlideDriver(client, configure(), options),
      breakConnections: async () => {
        await everywhere('CLIENT', 'KILL', 'TYPE', 'pubsub');
        await everywhere('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      },
      forgetScripts: () => everywhere('SCRIPT', 'FLUSH', 'SYNC'),
      dispose: async () => client.close(),
    };
  };

  it.each(driverConformanceCases)('$name', (driverCase) => driverCase.run(make));

  test('plain messages on one channel keep their order, sent one by one or with other commands', async () => {
    const { driver, dispose } = await make();
    const received: unknown[] = [];
    driver.attach({ message: (...[, , , payload]) => received.push(payload), dropped() {}, connection() {} });
    await driver.connect();
    await driver.subscribe('channel', ['ordered']);
    const numbers = Array.from({ length: 300 }, (_, at) => String(at));
    const replies = await Promise.all(
      numbers.map((number) =>
        driver.execute([
          ['SET', `key:${number}`, number],
          ['PUBLISH', 'ordered', number],
          ['GET', `key:${number}`],
        ]),
      ),
    );
    expect(replies.map((reply) => [reply[0], reply[2]])).toEqual(numbers.map((number) => ['OK', number]));
    await waitFor(() => received.length === numbers.length);
    expect(received).toEqual(numbers);
    await driver.close();
    await dispose();
  });
});
