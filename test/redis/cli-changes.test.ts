import type { EventEmitter } from 'node:events';
import { createClient, createCluster, createSentinel } from 'redis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createRollcall,
  NotificationService,
  type Peer,
  type RedisClient,
  type Rollcall,
} from '../../src/index.js';
import { runCli, runJson } from '../support/cli.js';
import { period } from '../support/machine.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

const host = '127.0.0.1';

/** The application's lease, in ms: what `forget` waits for. */
const LEASE = period(1_000);

interface ForgetReport {
  sockets: number;
  rooms: string[];
  complete: boolean;
  remaining: { sockets: number; removals: number };
}

interface Topology {
  readonly urls: readonly string[];
  readonly redis: RedisClient;
  stop(): Promise<void>;
}

const topologies: Readonly<Record<string, () => Promise<Topology>>> = {
  async 'one server'() {
    const server = await startRedis();
    const redis = createClient({ url: server.url });
    return {
      urls: [server.url],
      redis,
      async stop() {
        redis.destroy();
        await server.stop();
      },
    };
  },
  async 'a Cluster'() {
    const cluster = await startRedisCluster();
    const redis = createCluster({ rootNodes: cluster.ports.map((port) => ({ socket: { host, port } })) });
    return {
      urls: [`redis://${host}:${cluster.ports[0]}`],
      redis,
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
    const servers = sentinels.map(({ port }) => `${host}:${port}`).join(',');
    return {
      urls: [`redis+sentinel://${servers}/${sentinel.name}`],
      redis,
      async stop() {
        redis.destroy();
        await sentinel.stop();
      },
    };
  },
};

describe.each(Object.entries(topologies))('on %s', (_name, start) => {
  let topology: Topology;
  let rollcall: Rollcall;
  const errors: unknown[] = [];

  beforeAll(async () => {
    topology = await start();
    (topology.redis as unknown as EventEmitter).on('error', () => {});
    rollcall = createRollcall({
      redis: topology.redis,
      presence: { lease: LEASE },
      rooms: { history: { size: 10, ttl: 60_000 }, bans: true },
      onError: (error) => errors.push(error),
    });
  });
  afterAll(async () => {
    await rollcall?.close();
    await topology?.stop();
    expect(errors).toEqual([]);
  });

  /** A connected user, with what their peer was sent and how it was closed. */
  const connect = async (userId: string) => {
    const sent: string[] = [];
    const closed: unknown[][] = [];
    const peer: Peer = {
      send: (data) => sent.push(String(data)) > 0,
      close: (...args) => void closed.push(args),
      bufferedAmount: 0,
    };
    const socket = await rollcall.rooms.attach(peer, { userId });
    return { socket, sent, closed };
  };

  test.each(['redis', 'ioredis'])('kick --room puts the user out of one room, with %s', async (client) => {
    const user = `kim-${client}`;
    const { socket, sent, closed } = await connect(user);
    await socket.join('lobby');
    await socket.join('garden');
    const args = [...topology.urls, '--client', client, '--yes'];
    const kicked = await runCli(['kick', user, '--room', 'lobby', '--reason', 'spam', ...args]);
    expect(kicked).toEqual({ status: 0, stdout: `${user}: put out of lobby\n`, stderr: '' });
    await waitFor(() => !socket.rooms.includes('lobby'), { message: 'the socket leaves the room' });
    expect(socket.rooms).toEqual(['garden']);
    expect(sent.join('\n')).toContain('spam');
    expect(closed).toEqual([]);

    await socket.join('lobby');
    const ban = ['--ban', '60000', '--reason', 'spam again'];
    expect(await runCli(['kick', user, '--room', 'lobby', ...ban, ...args])).toEqual({
      status: 0,
      stdout: `${user}: put out of lobby\nbanned for 1 min, where RoomService has the option bans: true\n`,
      stderr: '',
    });
    await waitFor(() => !socket.rooms.includes('lobby'), { message: 'the socket leaves the room' });
    await expect(socket.join('lobby')).rejects.toThrow('spam again');
    expect(await rollcall.rooms.unban('lobby', user)).toBe(true);
    await socket.detach({ immediate: true });
  });

  test('kick --room of a user without a connection is reported', async () => {
    const args = ['kick', 'nobody', '--room', 'lobby', '--yes', ...topology.urls];
    expect(await runCli(args)).toEqual({ status: 1, stdout: 'nobody is not in lobby\n', stderr: '' });
  });

  test.each(['redis', 'ioredis'])('forget removes a connected user, with %s', async (client) => {
    const user = `flo-${client}`;
    const { socket, closed } = await connect(user);
    await socket.join('lobby');
    await new NotificationService({ rooms: rollcall.rooms }).notify(user, 'hello');
    const args = [...topology.urls, '--client', client, '--yes', '--lease', String(LEASE)];
    // The process itself may be first to take the socket out of the room.
    const first = await runCli(['forget', user, '--reason', 'account deleted', ...args]);
    expect(first.stderr).toBe('');
    expect(first.stdout).toMatch(
      new RegExp(
        `^${user}: removed 1 socket, the record, (1 room, )?messages, notifications\\nthe removal of 1 socket is remembered for \\d+ m?s \\(--lease\\): run it again after that, or pass --wait\\n$`,
      ),
    );
    expect(first.status).toBe(1);
    await waitFor(() => closed.length > 0, { message: 'the close of the peer' });
    expect(closed[0]?.slice(0, 2)).toEqual([4403, 'account deleted']);

    const rest = await runCli(['forget', user, ...args, '--wait', '60000']);
    expect(rest).toEqual({ status: 0, stdout: `${user}: nothing was stored\n`, stderr: '' });
    expect(await rollcall.presence.getPresence(user)).toBeNull();
  });

  test('forget --wait repeats it until nothing remains', async () => {
    const { socket } = await connect('fay');
    await socket.join('lobby');
    const args = [...topology.urls, '--yes', '--lease', String(LEASE), '--wait', '60000'];
    expect(await runJson<ForgetReport>(['forget', 'fay', ...args])).toMatchObject({
      userId: 'fay',
      record: true,
      sockets: 1,
      remaining: { sockets: 0, removals: 0 },
      complete: true,
    });
  });

  test('forget --wait ends at its deadline', async () => {
    await connect('fin');
    // The default lease, which is longer.
    const args = [...topology.urls, '--yes', '--wait', '300'];
    const { status, stdout, stderr } = await runCli(['forget', 'fin', ...args]);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^fin: removed 1 socket, the record.*\nthe removal of 1 socket is remembered/);
    expect(status).toBe(1);
  });

  test('forget --keep-sockets leaves a connected user', async () => {
    const { closed } = await connect('gil');
    const kept = await runCli(['forget', 'gil', ...topology.urls, '--yes', '--keep-sockets']);
    expect(kept).toEqual({
      status: 1,
      stdout:
        'gil: removed messages\n1 socket is still connected: run it again when the user has disconnected\n',
      stderr: '',
    });
    expect(await rollcall.presence.getPresence('gil')).toMatchObject({ status: 'online' });
    expect(closed).toEqual([]);
  });
});

describe('wrong usage and missing rights', () => {
  let server: RedisServer;

  beforeAll(async () => {
    server = await startRedis();
    // One write, so that there is presence data.
    const redis = createClient({ url: server.url });
    const { presence, close } = createRollcall({ redis, onError: () => {} });
    await presence.setPresence('ann', 's1');
    await close();
    redis.destroy();
  });
  afterAll(() => server.stop());

  test.each([
    [['kick', 'ann', '--ban', '1000'], '--ban needs --room NAME'],
    [['kick', 'ann', '--room', 'lobby', '--ban', '1000'], '--ban needs --reason'],
    [
      ['kick', 'ann', '--room', 'lobby', '--ban', '0', '--reason', 'x'],
      '--ban must be a whole number from 1 to',
    ],
    [
      ['kick', 'ann', '--room', 'lobby', '--ban', '31536000001', '--reason', 'x'],
      '31536000000, not "31536000001"',
    ],
    [['kick', 'ann', '--room', 'lobby', '--ban', '1.5', '--reason', 'x'], 'not "1.5"'],
    [['kick', 'ann', '--room', ''], '--room'],
    [['kick', ''], 'USER'],
    [['kick', 'ann', '--pubsub-prefix', 'a b'], '--pubsub-prefix'],
    [['forget', 'ann', '--lease', '10'], '--lease must be a whole number from 500 to 86400000'],
    [['forget', 'ann', '--wait', '-1'], '--wait'],
    [['forget'], 'forget USER: USER is missing'],
  ])('%j', async (args, text) => {
    const { status, stdout, stderr } = await runCli([...args, server.url, '--yes']);
    expect(stderr).toContain(text);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(await server.cli('KEYS', 'rollcall:ban:*')).toBe('');
  });

  test('forget and kick --room without a terminal and --yes change nothing', async () => {
    for (const args of [
      ['forget', 'ann'],
      ['kick', 'ann', '--room', 'lobby', '--ban', '1000', '--reason', 'x'],
    ]) {
      const { status, stderr } = await runCli([...args, server.url], { input: 'y\n' });
      expect(stderr).toMatch(/^rollcall: [^\n]+ pass --yes\n$/);
      expect(status).toBe(2);
    }
    expect(await server.cli('KEYS', 'rollcall:ban:*')).toBe('');
  });

  test('forget under a wrong prefix is no success', async () => {
    const { status, stderr } = await runCli(['forget', 'ann', server.url, '--yes', '--prefix', 'other']);
    expect(stderr).toContain('no presence data under prefix "other"');
    expect(status).toBe(1);
  });

  test('a refused command names the rules that it needs', async () => {
    const { application, readOnly } = await runJson<{
      application: { always: string[] };
      readOnly: string[];
    }>(['doctor', '--acl']);
    for (const line of [...application.always, ...readOnly]) await server.cli(...line.split(' '));
    const reader = `redis://rollcall-read:password@${host}:${server.port}`;
    for (const args of [
      ['kick', 'ann'],
      ['kick', 'ann', '--room', 'lobby'],
      ['forget', 'ann'],
    ]) {
      const { status, stderr } = await runCli([...args, reader, '--yes']);
      expect(stderr).toMatch(
        /^rollcall: [^\n]*NOPERM[^\n]*; rollcall doctor --acl prints the rules of an application, which (kick|forget) needs\n$/,
      );
      expect(status).toBe(1);
    }
    // And they are enough.
    await server.cli('ACL', 'LOG', 'RESET');
    const app = `redis://app:password@${host}:${server.port}`;
    for (const args of [
      ['kick', 'ann'],
      ['kick', 'ann', '--room', 'lobby'],
      ['forget', 'ann', '--lease', '500'],
    ]) {
      expect((await runCli([...args, app, '--yes', '--client', 'redis'])).stderr).toBe('');
    }
    // Clients send their name to servers that know the command.
    expect(await server.cli('ACL', 'LOG')).not.toContain('channel');
  });
});
