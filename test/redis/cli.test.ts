import type { EventEmitter } from 'node:events';
import { createClient, createCluster, createSentinel } from 'redis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createRollcall, type Peer, type RedisClient, type Rollcall } from '../../src/index.js';
import { MATRIX_ALL } from '../shared/redis-clients.js';
import { CliProcess, runCli, runJson } from '../support/cli.js';
import { period, timeLimit } from '../support/machine.js';
import { NodeProcess } from '../support/node-process.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

const host = '127.0.0.1';
const KEPT = { history: { size: 5, ttl: 60_000 } };

interface NodesReport {
  nodes: { nodeId: string; state: string; sockets: number; users: number; rooms: number }[];
}
interface UserReport {
  status: string | null;
  why: string;
  sockets: { socketId: string; nodeId: string; state: string; meta?: unknown }[];
  rooms: string[];
}
interface RoomReport {
  count: number;
  members: { userId: string; info: unknown }[];
  history: { messages: number; lastPosition?: string };
}

const peer = (): Peer => ({ send: () => true, close() {}, bufferedAmount: 0 });

/** An application on `client`, with ann in two rooms and bob in one, and some messages in the lobby. */
async function startApplication(client: RedisClient, options: { grace?: number } = {}) {
  (client as unknown as EventEmitter).on('error', () => {});
  const rollcall: Rollcall = createRollcall({
    redis: client,
    presence: { nodeName: 'web-1', ...options },
    rooms: KEPT,
    onError: () => {},
  });
  const ann = await rollcall.rooms.attach(peer(), {
    userId: 'ann',
    socketId: 'phone',
    meta: { device: 'phone' },
  });
  const bob = await rollcall.rooms.attach(peer(), { userId: 'bob', socketId: 'desk' });
  await ann.join('lobby', { info: { name: 'Ann' } });
  await ann.join('garden');
  await bob.join('lobby');
  for (let at = 0; at < 3; at++) await rollcall.rooms.broadcast('lobby', 'message', { at }, { from: 'ann' });
  return { ...rollcall, ann, bob };
}

/** Users, processes and rooms are shown as they are. */
async function expectApplication(urls: readonly string[], client: string): Promise<void> {
  const args = [...urls, '--client', client];
  const { nodes } = await runJson<NodesReport>(['nodes', ...args]);
  const [node] = nodes.filter(({ state }) => state === 'alive');
  expect(node).toMatchObject({ sockets: 2, users: 2, rooms: 2 });
  expect(node?.nodeId).toMatch(/^web-1#/);
  expect(await runJson<UserReport>(['who', 'ann', ...args])).toMatchObject({
    status: 'online',
    why: 'highest status of 1 socket',
    sockets: [{ socketId: 'phone', nodeId: node?.nodeId, state: 'alive', meta: { device: 'phone' } }],
    rooms: ['garden', 'lobby'],
  });
  const room = await runJson<RoomReport>(['room', 'lobby', ...args]);
  expect(room.members.map(({ userId }) => userId).sort()).toEqual(['ann', 'bob']);
  expect(room.members).toContainEqual(expect.objectContaining({ userId: 'ann', info: { name: 'Ann' } }));
  expect(room).toMatchObject({ count: 2, history: { lastPosition: expect.any(String) } });
}

describe('on one server', () => {
  let server: RedisServer;
  let application: Awaited<ReturnType<typeof startApplication>>;
  let client: ReturnType<typeof createClient>;

  beforeAll(async () => {
    server = await startRedis();
    client = createClient({ url: server.url });
    application = await startApplication(client, { grace: 60_000 });
  });
  afterAll(async () => {
    await application.close();
    client.destroy();
    await server.stop();
  });

  test.each(['redis', 'ioredis'])('nodes, who and room show the application, with %s', async (library) => {
    await expectApplication([server.url], library);
  });

  test('the text of nodes, who and room is a table', async () => {
    const nodes = await runCli(['nodes', server.url]);
    expect(nodes.stdout).toMatch(
      /^NODE +STATE +LEASE +SOCKETS +USERS +ROOMS\nweb-1#\S+ +alive +\d+ s left +2 +2 +2\n/,
    );
    const who = await runCli(['who', 'ann', server.url]);
    expect(who.stdout).toContain('ann: online\nwhy        highest status of 1 socket\n');
    expect(who.stdout).toMatch(/phone +web-1#\S+ +online +\S+Z +\d+ s left +\{"device":"phone"\}\n$/);
    const room = await runCli(['room', 'lobby', server.url]);
    expect(room.stdout).toMatch(/^room lobby: 2 members\nhistory of room:lobby: \d messages, the last /);
    const other = await runCli(['room', 'nowhere', server.url]);
    expect(other.stdout).toContain('0 messages (if your PubSubService has a prefix, pass --pubsub-prefix)\n');
    for (const { status, stderr } of [nodes, who, room, other])
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test('who shows the time left of a socket without a process', async () => {
    const redis = createClient({ url: server.url });
    const { presence, close } = createRollcall({ redis, onError: () => {} });
    try {
      await presence.setPresence('carl', 'phone', 'online', null, { ttl: 600_000 });
      const { why, sockets } = await runJson<UserReport>(['who', 'carl', server.url]);
      expect(why).toBe('highest status of 1 socket');
      expect(sockets).toMatchObject([{ socketId: 'phone', nodeId: '*', state: 'alive' }]);
      await presence.removeSocket('carl', 'phone', { immediate: true });
    } finally {
      await close();
      redis.destroy();
    }
  });

  test('who says why: an own status, invisible, a grace, no record', async () => {
    const why = async (user: string) => {
      const { status, why } = await runJson<UserReport>(['who', user, server.url]);
      return `${status}: ${why}`;
    };
    const { presence } = application;
    await presence.setPresence('cleo', 's1');
    await presence.setStatus('cleo', 'busy');
    expect(await why('cleo')).toBe('busy: setStatus: busy; 1 socket');
    await presence.setStatus('cleo', 'invisible', { until: Date.now() + 3_600_000 });
    expect(await why('cleo')).toMatch(
      /^invisible: setStatus: invisible for another \d+ min.*, so that others see "offline"; 1 socket$/,
    );
    await presence.setStatus('cleo', null);
    await presence.removeSocket('cleo', 's1');
    expect(await why('cleo')).toMatch(/^online: no socket; the grace ends in \d+ s$/);
    await presence.removeSocket('cleo', 's1', { immediate: true });
    expect(await why('cleo')).toBe('offline: no socket');
    await presence.setLastSeenVisible('cleo', false);
    expect((await runCli(['who', 'cleo', server.url])).stdout).toMatch(
      /^last seen {2}\d{4}-\S+ \(hidden from other users\)$/m,
    );
    const { status, stdout } = await runCli(['who', 'nobody', server.url]);
    expect(stdout).toBe('no record of user nobody: never seen, or forgotten after lastSeenTtl\n');
    expect(status).toBe(1);
  });

  test('characters that move the cursor are escaped', async () => {
    const user = 'eve\x1b[31m\u202e';
    await application.presence.setPresence(user, 's1');
    const { stdout } = await runCli(['who', user, server.url]);
    expect(stdout).toContain('eve\\u{1b}[31m\\u{202e}: online');
    expect(stdout).not.toContain('\x1b');
    await application.presence.removeSocket(user, 's1', { immediate: true });
  });

  test('without presence data the prefix is named', async () => {
    const { status, stderr } = await runCli(['nodes', server.url, '--prefix', 'other']);
    expect(stderr).toMatch(/^rollcall: no presence data under prefix "other" in database 0: [^\n]+\n$/);
    expect(status).toBe(1);
  });

  test('memory shows keys by kind, and the largest rooms and histories', async () => {
    for (let at = 0; at < 20; at++) await client.set(`session:${at}`, 'x');
    const report = await runJson<{
      scanned: number;
      total: number;
      kinds: { kind: string; keys: number; bytes: number }[];
      rooms: { name: string; length: number }[];
      histories: { name: string; length: number }[];
    }>(['memory', server.url]);
    expect(report.scanned).toBe(report.total);
    const keys = Object.fromEntries(report.kinds.map(({ kind, keys }) => [kind, keys]));
    expect(keys).toMatchObject({ rooms: 2, 'owner sets': 1, 'not rollcall': 20 });
    expect(report.rooms[0]).toMatchObject({ name: 'lobby', length: 2 });
    expect(report.histories.map(({ name }) => name)).toContain('room:lobby');
    const { stdout } = await runCli(['memory', server.url, '--sample', '5']);
    expect(stdout).toMatch(/looked at \d+ of \d+ keys/);
    expect(await server.cli('INFO', 'commandstats')).not.toContain('cmdstat_keys:');
  });

  test('top shows counts and rates', async () => {
    const top = new CliProcess(['top', server.url, '--interval', '200', '--json']);
    await top.waitForOutput('\n');
    await application.presence.setPresence('dora', 's1');
    await application.rooms.broadcast('lobby', 'message', {});
    const samples = () =>
      top.stdout
        .split('\n')
        .filter((line) => line !== '')
        .map(
          (line) =>
            JSON.parse(line) as { usersOnline: number; rates: { connects: number; publishes: number } },
        );
    await waitFor(() => samples().some(({ rates }) => rates.connects > 0), { message: 'a connect' });
    await waitFor(() => samples().some(({ rates }) => rates.publishes > 0), { message: 'a message' });
    expect(samples().at(-1)?.usersOnline).toBe(3);
    top.interrupt();
    expect(await top.ended()).toMatchObject({ status: 0, stderr: '' });
    await application.presence.removeSocket('dora', 's1', { immediate: true });
    const text = await runCli(['top', server.url, '--interval', '100', '--count', '2']);
    expect(text.stdout).toMatch(
      /^(\S+Z {2}users 2 {2}\+0\/s -0\/s {2}processes 1 alive 0 suspect {2}.*\n){2}$/,
    );
  });

  test('tail prints messages as they come, from a position, by pattern', async () => {
    const { pubsub } = application;
    const { position } = await pubsub.publish('news', { n: 1 }, KEPT);
    await pubsub.publish('news', { n: 2 }, KEPT);
    const since = await runCli(['tail', 'news', server.url, '--since', String(position), '--count', '1']);
    expect(since).toMatchObject({ status: 0, stderr: '' });
    expect(since.stdout).toMatch(/^\S+Z {2}\d+-\d+ {2}\{"n":2\}\n$/);

    const live = new CliProcess(['tail', 'ne*', server.url, '--pattern', '--json']);
    await waitFor(async () => (await server.cli('PUBSUB', 'NUMPAT')) === '1', { message: 'the pattern' });
    await pubsub.publish('next', 'plain');
    await live.waitForOutput('plain');
    live.interrupt();
    const { status, stdout } = await live.ended();
    expect(JSON.parse(stdout)).toMatchObject({ channel: 'next', payload: 'plain' });
    expect(status).toBe(0);
  });

  test('tail shows gaps, with their reason', async () => {
    const { pubsub } = application;
    const { position } = await pubsub.publish('trimmed', 0, KEPT);
    for (let n = 1; n < 20; n++) await pubsub.publish('trimmed', n, KEPT);
    const { stdout } = await runCli([
      'tail',
      'trimmed',
      server.url,
      '--since',
      String(position),
      '--count',
      '2',
    ]);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^-- gap \(trimmed\) since \S+Z: messages may be missing$/);
    expect(lines[1]).toMatch(/ 15$/);

    // Without a history every lost connection is a gap.
    const live = new CliProcess(['tail', 'plain', server.url]);
    await waitFor(async () => (await server.cli('PUBSUB', 'NUMSUB', 'plain')).endsWith('\n1'), {
      message: 'tail',
    });
    await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await live.waitForOutput('-- gap (reconnected)');
    await pubsub.publish('plain', 'after');
    await live.waitForOutput('after');
    live.interrupt();
    expect((await live.ended()).status).toBe(0);
  });

  test('all of them work for a user with the printed read-only rules', async () => {
    const { readOnly } = await runJson<{ readOnly: string[] }>([
      'doctor',
      '--acl',
      '--channels',
      'room:*,news',
    ]);
    for (const line of readOnly) await server.cli(...line.split(' '));
    await server.cli('ACL', 'LOG', 'RESET');
    const { position } = await application.pubsub.publish('news', 'old', KEPT);
    await application.pubsub.publish('news', 'new', KEPT);
    const url = `redis://rollcall-read:password@${host}:${server.port}`;
    for (const library of ['redis', 'ioredis']) {
      await expectApplication([url], library);
      for (const args of [
        ['memory'],
        ['top', '--count', '1', '--interval', '100'],
        ['tail', 'news', '--since', String(position), '--count', '1'],
      ]) {
        expect(await runCli([...args, url, '--client', library])).toMatchObject({ status: 0, stderr: '' });
      }
    }
    expect(await server.cli('ACL', 'LOG')).toBe('');
    // And no more than that.
    await server.cli('ACL', 'SETUSER', 'rollcall-read', '-scan');
    const { status, stderr } = await runCli(['memory', url]);
    expect(stderr).toMatch(
      /^rollcall: SCAN: Redis refused: NOPERM [^\n]*; rollcall doctor --acl prints [^\n]+\n$/,
    );
    expect(status).toBe(1);
  });
});

describe('commands that change something', () => {
  let server: RedisServer;
  let application: Awaited<ReturnType<typeof startApplication>>;
  let client: ReturnType<typeof createClient>;

  beforeEach(async () => {
    server = await startRedis();
    client = createClient({ url: server.url });
    application = await startApplication(client);
    return async () => {
      await application.close();
      client.destroy();
      await server.stop();
    };
  });

  /** A peer of ann that notes how it was closed. */
  const closablePeer = async () => {
    const closed: unknown[][] = [];
    await application.rooms.attach(
      { ...peer(), close: (...args) => void closed.push(args) },
      { userId: 'ann' },
    );
    return closed;
  };

  test('kick closes the connections of a user for good, also those without a RoomService', async () => {
    const closed = await closablePeer();
    await application.presence.setPresence('ann', 'elsewhere');
    const result = await runCli(['kick', 'ann', server.url, '--yes', '--reason', 'abuse']);
    expect(result).toMatchObject({ status: 0, stdout: 'ann: 3 sockets removed, now offline\n', stderr: '' });
    await waitFor(() => closed.length > 0, { message: 'the close of the peer' });
    expect(closed[0]?.slice(0, 2)).toEqual([4403, 'abuse']);
    expect(await application.presence.getPresence('bob')).toMatchObject({ status: 'online' });
    expect(await runCli(['kick', 'nobody', server.url, '--yes'])).toMatchObject({
      status: 1,
      stdout: 'no record of user nobody\n',
    });
  });

  test('drain asks the clients of one process to reconnect', async () => {
    const closed = await closablePeer();
    const other = createClient({ url: server.url });
    const second = await startApplication(other);
    try {
      const { nodeId } = application.presence.stats();
      const result = await runJson<{ asked: number; left: number }>(['drain', nodeId, server.url, '--yes']);
      expect(result).toEqual({ nodeId, asked: 3, left: 0, connectedMeanwhile: 0 });
      expect(closed[0]?.[0]).toBe(1012);
      expect(application.rooms.stats().sockets).toBe(0);
      expect(second.rooms.stats().sockets).toBe(2);
      expect(await second.presence.getPresence('ann')).toMatchObject({
        status: 'online',
        socketIds: ['phone'],
      });
    } finally {
      await second.close();
      other.destroy();
    }
    const { status, stderr } = await runCli(['drain', 'web-9', server.url, '--yes']);
    expect(stderr).toBe('rollcall: there is no process "web-9": rollcall nodes lists them\n');
    expect(status).toBe(1);
  });

  test('without a terminal and --yes nothing is changed', async () => {
    const { nodeId } = application.presence.stats();
    for (const args of [
      ['kick', 'ann'],
      ['drain', nodeId],
    ]) {
      const { status, stderr } = await runCli([...args, server.url], { input: 'y\n' });
      expect(stderr).toMatch(/^rollcall: [^\n]+ pass --yes\n$/);
      expect(status).toBe(2);
    }
    expect(application.rooms.stats().sockets).toBe(2);
  });
});

describe('when things fail', () => {
  let server: RedisServer;

  beforeEach(async () => {
    server = await startRedis();
    return () => server.stop();
  });

  test('a killed process is a suspect, and who says so', async () => {
    const options = { lease: period(600), sweepInterval: 50, nodeName: 'doomed' };
    const node = await NodeProcess.start({ port: server.port, options });
    await node.register('user', 1);
    await node.kill();
    const read = () => runJson<NodesReport>(['nodes', server.url]);
    await waitFor(async () => (await read()).nodes[0]?.state === 'suspect', {
      timeout: 10_000,
      message: 'the end of the lease',
    });
    const { stdout } = await runCli(['who', 'user0', server.url]);
    expect(stdout).toContain('1 of them on processes whose lease has ended');
    expect(stdout).toMatch(/doomed#\S+ +online +\S+Z +ended \d+ m?s ago/);
    const doctor = await runCli(['doctor', server.url]);
    expect(doctor.stdout).toContain('0 processes alive, 1 with an expired lease: doomed#');
    expect(doctor.status).toBe(1);
  });

  test.each(['redis', 'ioredis'])(
    'tail of a server that goes away ends with one line, with %s',
    async (library) => {
      const tail = new CliProcess(['tail', 'news', server.url, '--wait', '300', '--client', library]);
      await waitFor(async () => (await server.cli('PUBSUB', 'NUMSUB', 'news')).endsWith('\n1'), {
        message: 'tail',
      });
      await server.kill();
      const { status, stderr } = await tail.ended();
      expect(status).toBe(1);
      const lines = stderr.trimEnd().split('\n');
      expect(lines[0]).toMatch(/^rollcall: the connection is lost: .*; waiting up to 300 ms$/);
      expect(lines.at(-1)).toContain(`${server.url} has not answered for 300 ms`);
      expect(stderr).not.toMatch(/^\s+at /m);
    },
  );

  test('top of a server that goes away ends with one line', async () => {
    await server.cli('SET', '{rollcall:0}:layout', 'f2 1 kJ3x_9aQ');
    const top = new CliProcess(['top', server.url, '--interval', '100', '--timeout', '500']);
    await top.waitForOutput('users 0');
    await server.kill();
    const { status, stderr } = await top.ended();
    expect(status).toBe(1);
    expect(stderr).toMatch(/^rollcall: [^\n]+\n$/);
  });
});

// Long, and dependent on the machine's load.
describe.runIf(MATRIX_ALL)('on a Cluster and with sentinels, with a killed master', () => {
  interface Topology {
    readonly urls: string[];
    readonly redis: RedisClient;
    killMaster(): Promise<void>;
    stop(): Promise<void>;
  }

  const topologies: Readonly<Record<string, () => Promise<Topology>>> = {
    async Cluster() {
      const cluster = await startRedisCluster({ replicas: 1 });
      const rootNodes = cluster.ports.map((port) => ({ socket: { host, port } }));
      const redis = createCluster({ rootNodes });
      return {
        urls: cluster.ports.slice(0, 4).map((port) => `redis://${host}:${port}`),
        redis,
        async killMaster() {
          await cluster.kill(await cluster.nodeOf('room:lobby'));
          await cluster.waitUntilOk();
        },
        async stop() {
          redis.destroy();
          await cluster.stop();
        },
      };
    },
    async Sentinel() {
      const sentinel = await startRedisSentinel({ replicas: 1 });
      const sentinels = sentinel.sentinels.map((port) => ({ host, port }));
      const redis = createSentinel({ name: sentinel.name, sentinelRootNodes: sentinels });
      return {
        urls: [
          `redis+sentinel://${sentinels.map(({ port }) => `${host}:${port}`).join(',')}/${sentinel.name}`,
        ],
        redis,
        async killMaster() {
          const old = await sentinel.master();
          await sentinel.kill(old);
          await sentinel.waitForMaster(old);
        },
        async stop() {
          redis.destroy();
          await sentinel.stop();
        },
      };
    },
  };

  test.each(Object.keys(topologies))(
    '%s: all commands follow',
    async (name) => {
      const topology = await (topologies[name] as () => Promise<Topology>)();
      try {
        const application = await startApplication(topology.redis);
        const { urls } = topology;
        const tails = ['redis', 'ioredis'].map(
          (client) =>
            new CliProcess(['tail', 'room:lobby', ...urls, '--since', 'earliest', '--client', client]),
        );
        for (const tail of tails) await tail.waitForOutput('"at":2');
        await topology.killMaster();
        const broadcast = () =>
          application.rooms.broadcast('lobby', 'message', { at: 'after' }).catch(() => undefined);
        await waitFor(broadcast, { timeout: 30_000, message: 'a broadcast after the failover' });
        for (const tail of tails) {
          await tail.waitForOutput('"at":"after"', 30_000);
          // On a Cluster the subscription may have been at another node.
          if (name === 'Sentinel') expect(tail.stdout).toContain('-- gap (failover)');
          tail.interrupt();
          expect((await tail.ended()).status).toBe(0);
        }
        for (const client of ['redis', 'ioredis']) {
          await waitFor(
            async () => {
              await expectApplication(urls, client);
              return true;
            },
            { timeout: 20_000 },
          );
          const args = [...urls, '--client', client];
          expect(await runCli(['memory', ...args])).toMatchObject({ status: 0, stderr: '' });
          const top = await runJson<{ usersOnline: number }>([
            'top',
            ...args,
            '--count',
            '1',
            '--interval',
            '100',
          ]);
          expect(top.usersOnline).toBe(2);
        }
        await application.close();
      } finally {
        await topology.stop();
      }
      // Two servers' failovers and some twenty processes.
    },
    timeLimit(240_000),
  );
});
