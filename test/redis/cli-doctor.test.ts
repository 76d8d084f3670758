import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createClient } from 'redis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createRollcall } from '../../src/index.js';
import { runCli, runJson } from '../support/cli.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type RedisSentinel, startRedisSentinel } from '../support/redis-sentinel.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

interface Report {
  ok: boolean;
  url: string;
  client: string;
  findings: { level: string; check: string; message: string; action?: string }[];
}

/** `level check: message` of the findings that are not as they should be. */
const problems = ({ findings }: Report): string[] =>
  findings
    .filter(({ level }) => level === 'warning' || level === 'error')
    .map(({ level, check, message }) => `${level} ${check}: ${message}`);

const actions = ({ findings }: Report): (string | undefined)[] =>
  findings.filter(({ level }) => level !== 'ok').map(({ action }) => action);

/** After a failure, servers and sentinels agree about it one after the other. */
const doctorUntil = (args: readonly string[], check: (report: Report) => void) =>
  waitFor(
    async () => {
      check(await runJson<Report>(['doctor', ...args]));
      return true;
    },
    { timeout: 20_000, interval: 100, message: 'the report' },
  );

describe('on one server', () => {
  let server: RedisServer;

  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());
  beforeEach(() => server.cli('FLUSHALL'));

  test.each(['redis', 'ioredis'])('finds no problem on a fresh server, with %s', async (client) => {
    const { status, stdout, stderr } = await runCli(['doctor', server.url, '--client', client]);
    expect(stderr).toBe('');
    expect(stdout).toContain(`redis://127.0.0.1:${server.port} by ${client} `);
    expect(stdout).toContain('no problem found');
    // Not a terminal.
    expect(stdout).not.toContain('\x1b');
    expect(status).toBe(0);
  });

  test('REDIS_URL names the server', async () => {
    const { url } = await runJson<Report>(['doctor'], { env: { REDIS_URL: server.url } });
    expect(url).toBe(server.url);
  });

  test('an eviction policy and a small output buffer are found, with what to do', async () => {
    await server.cli('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    await server.cli('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 100000 50000 10');
    try {
      const { status, stdout } = await runCli(['doctor', server.url]);
      expect(status).toBe(1);
      expect(stdout).toContain('maxmemory-policy is allkeys-lru');
      expect(stdout).toContain('→ CONFIG SET maxmemory-policy noeviction');
      expect(stdout).toContain('one large message cuts it off');
      expect(stdout).toContain('errors: 0, warnings: 2');
    } finally {
      await server.cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
      await server.cli('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 32mb 8mb 60');
    }
  });

  test('other formats and prefixes are found', async () => {
    await server.cli('SET', '{rollcall:0}:layout', '1 kJ3x_9aQ');
    await server.cli('SET', '{staging:0}:layout', 'f2 64s kJ3x_9aQ');
    await server.cli('XADD', 'rollcall:log:{news}', '*', 'd', '1');
    const report = await runJson<Report>(['doctor', server.url]);
    expect(problems(report)).toEqual([
      'error format: presence data under prefix "rollcall" has format 1, this release uses format 2',
      'warning format: 1 histories have the format of an earlier release; the first: "rollcall:log:{news}"',
    ]);
    expect(actions(report)).toContain('rollcall … --prefix staging');
  });

  test('the permissions that a user lacks are named as the line to add', async () => {
    await server.cli('ACL', 'SETUSER', 'app', 'reset', 'on', '>password', '+@all', '~*', '&news:*');
    await server.cli('ACL', 'SETUSER', 'app', '-evalsha', '-hset', '-exec', '-config');
    const own = await runJson<Report>(['doctor', `redis://app:password@127.0.0.1:${server.port}`]);
    const asked = await runJson<Report>(['doctor', server.url, '--user', 'app']);
    const lines = [
      'ACL SETUSER app +evalsha +hset &{rollcall:* &rollcall:probe:* +exec',
      'ACL SETUSER app +config|get',
      'ACL SETUSER app &room:* &user:*',
    ];
    expect(actions(own)).toEqual(expect.arrayContaining(lines));
    expect(actions(asked)).toEqual(expect.arrayContaining(lines));
    expect(await server.cli('DBSIZE')).toBe('0');
    // The application uses these channels for certain.
    const given = await runJson<Report>([
      'doctor',
      server.url,
      '--user',
      'app',
      '--channels',
      'news:*,chat:*',
    ]);
    expect(actions(given)[0]).toBe(
      'ACL SETUSER app +evalsha +hset &{rollcall:* &rollcall:probe:* &chat:* +exec',
    );
  });

  test('a user with the printed rules lacks nothing', async () => {
    const { application } = await runJson<{ application: { always: string[] } }>(['doctor', '--acl']);
    for (const line of application.always) await server.cli(...line.split(' '));
    const report = await runJson<Report>(['doctor', `redis://app:password@127.0.0.1:${server.port}`]);
    expect(problems(report)).toEqual([]);
    expect(report.findings).toContainEqual({
      level: 'ok',
      check: 'permissions',
      message: `127.0.0.1:${server.port}: user app may use all commands, keys and channels of rollcall`,
    });
  });

  test('a user with the printed rules of a reader is told to name the application', async () => {
    const { readOnly } = await runJson<{ readOnly: string[] }>(['doctor', '--acl']);
    for (const line of readOnly) await server.cli(...line.split(' '));
    const url = `redis://rollcall-read:password@127.0.0.1:${server.port}`;
    const { ok, findings } = await runJson<Report>(['doctor', url]);
    expect(findings.find(({ check }) => check === 'permissions')).toEqual({
      level: 'unknown',
      check: 'permissions',
      message: `127.0.0.1:${server.port}: user rollcall-read may only read; the permissions of the application are not checked`,
      action: "name the application's user with --user",
    });
    expect(ok).toBe(true);
  });

  test('in a database other than 0, rules and check name its channels and SELECT', async () => {
    type Printed = { application: { always: string[]; inOtherDatabase: string[] }; readOnly: string[] };
    const { application, readOnly } = await runJson<Printed>(['doctor', '--acl', `${server.url}/1`]);
    const rules = [...application.always, ...application.inOtherDatabase, ...readOnly];
    for (const line of rules) await server.cli(...line.split(' '));
    await server.cli('ACL', 'SETUSER', 'app', '+client|setinfo').catch(() => {});
    await server.cli('ACL', 'LOG', 'RESET');
    const client = createClient({ url: `redis://app:password@127.0.0.1:${server.port}/1` });
    client.on('error', () => {});
    const { rooms, close } = createRollcall({ redis: client });
    const got: string[] = [];
    const send = (frame: string | Buffer) => void got.push(String(frame));
    const peer = await rooms.attach({ bufferedAmount: 0, send, close: () => {} }, { userId: 'ann' });
    await peer.join('lobby');
    await rooms.broadcast('lobby', 'said', 'hello');
    await rooms.sendToUser('ann', 'said', 'psst');
    await waitFor(() => ['hello', 'psst'].every((text) => got.join().includes(text)), {
      message: 'both messages',
    });
    await close();
    client.destroy();
    const reader = `redis://rollcall-read:password@127.0.0.1:${server.port}/1`;
    const report = await runJson<Report>(['doctor', reader, '--user', 'app']);
    expect(report.findings.filter(({ level }) => level !== 'ok' && level !== 'note')).toEqual([]);
    expect(await server.cli('ACL', 'LOG')).toBe('');
    // The rules of database 0 are too few.
    await server.cli('ACL', 'SETUSER', 'app', '-select', 'resetchannels');
    await server.cli('ACL', 'SETUSER', 'app', '&{rollcall:*', '&rollcall:probe:*', '&room:*', '&user:*');
    const lacking = await runJson<Report>(['doctor', `${server.url}/1`, '--user', 'app']);
    expect(actions(lacking)).toEqual(['ACL SETUSER app +select', 'ACL SETUSER app &room@1:* &user@1:*']);
  });

  test('works for a user with the printed read-only rules', async () => {
    const { application, readOnly } = await runJson<{
      application: { always: string[] };
      readOnly: string[];
    }>(['doctor', '--acl']);
    for (const line of [...application.always, ...readOnly]) await server.cli(...line.split(' '));
    await server.cli('ACL', 'LOG', 'RESET');
    const url = `redis://rollcall-read:password@127.0.0.1:${server.port}`;
    for (const client of ['redis', 'ioredis']) {
      const report = await runJson<Report>(['doctor', url, '--user', 'app', '--client', client]);
      expect(report.findings.filter(({ level }) => level !== 'ok' && level !== 'note')).toEqual([]);
    }
    expect(await server.cli('ACL', 'LOG')).toBe('');
  });

  test('a replica is an error', async () => {
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(server.port)] });
    try {
      const { status, stdout, stderr } = await runCli(['doctor', replica.url]);
      expect(status).toBe(1);
      expect(stdout + stderr).toContain('replica');
    } finally {
      await replica.stop();
    }
  });
});

describe('mistakes end with one line', () => {
  const fails = async (args: string[], status: number, text: string) => {
    const result = await runCli(args);
    expect(result.stderr).toContain(text);
    expect(result.stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(result).toMatchObject({ status, stdout: '' });
  };

  test('no server', async () => {
    const server = await startRedis();
    await server.stop();
    for (const client of ['redis', 'ioredis']) {
      const text = `rollcall: ${server.url} cannot be reached: connect ECONNREFUSED`;
      await fails(['doctor', server.url, '--client', client], 1, text);
    }
  });

  test('a server that is not Redis', async () => {
    const web = createServer().listen(0, '127.0.0.1');
    try {
      await once(web, 'listening');
      const url = `redis://127.0.0.1:${(web.address() as AddressInfo).port}`;
      for (const client of ['redis', 'ioredis']) await fails(['nodes', url, '--client', client], 1, url);
    } finally {
      web.closeAllConnections();
      web.close();
    }
  });

  test('a frozen server', async () => {
    const server = await startRedis();
    try {
      server.freeze();
      for (const client of ['redis', 'ioredis']) {
        await fails(['doctor', server.url, '--timeout', '300', '--client', client], 1, 'within 300 ms');
      }
    } finally {
      server.thaw();
      await server.stop();
    }
  });

  test('a wrong password', async () => {
    const server = await startRedis({ args: ['--requirepass', 'right'] });
    try {
      const at = (login: string) => `redis://${login}127.0.0.1:${server.port}`;
      for (const client of ['redis', 'ioredis']) {
        await fails(['doctor', at(':wrong@'), '--client', client], 1, 'WRONGPASS');
        await fails(['doctor', at(''), '--client', client], 1, 'NOAUTH');
      }
    } finally {
      await server.stop();
    }
  });

  test('wrong usage', async () => {
    await fails(['dcotor'], 2, 'there is no command "dcotor"');
    await fails(['doctor', '--jsn'], 2, "Unknown option '--jsn'");
    await fails(
      ['doctor', 'http://a:secret@127.0.0.1'],
      2,
      '"http://…@127.0.0.1"? A URL begins with redis://',
    );
    await fails(['nodes', '127.0.0.1:6379'], 2, '"127.0.0.1:6379"? A URL begins with redis://');
    await fails(['who'], 2, 'rollcall who USER: USER is missing');
    await fails(['doctor', 'redis://127.0.0.1/x'], 2, 'the number of a database');
    await fails(['doctor', '--timeout', 'soon'], 2, '--timeout must be a whole number');
    await fails(['doctor', '--prefix', 'a b'], 2, '--prefix');
  });
});

describe('on a Cluster', () => {
  let cluster: RedisCluster;

  beforeAll(async () => {
    cluster = await startRedisCluster({ replicas: 1 });
  });
  afterAll(() => cluster.stop());

  test.each(['redis', 'ioredis'])(
    'all masters are checked, by the URL of any node, with %s',
    async (client) => {
      const report = await runJson<Report>([
        'doctor',
        `redis://127.0.0.1:${cluster.ports[0]}`,
        '--client',
        client,
      ]);
      expect(problems(report)).toEqual([]);
      const servers = report.findings.filter(({ check }) => check === 'server');
      expect(servers.map(({ message }) => message.split(': ')[0]).sort()).toEqual(
        (await cluster.masters()).map((port) => `127.0.0.1:${port}`).sort(),
      );
    },
  );

  test('a killed master whose replica has taken over is a warning', async () => {
    const [first, second] = (await cluster.masters()) as [number, number];
    await cluster.kill(first);
    try {
      await cluster.waitUntilOk();
      for (const client of ['redis', 'ioredis']) {
        const urls = [first, second].map((port) => `redis://127.0.0.1:${port}`);
        await doctorUntil([...urls, '--client', client], (report) =>
          expect(problems(report)).toEqual([
            expect.stringMatching(/^warning topology: 127\.0\.0\.1:\d+ has no replica/),
          ]),
        );
      }
    } finally {
      await cluster.restart(first);
      await cluster.waitUntilOk();
    }
  });
});

describe('with sentinels', () => {
  let sentinel: RedisSentinel;

  beforeAll(async () => {
    sentinel = await startRedisSentinel({ replicas: 2 });
  });
  afterAll(() => sentinel.stop());

  const url = () =>
    `redis+sentinel://${sentinel.sentinels.map((port) => `127.0.0.1:${port}`).join(',')}/${sentinel.name}`;

  test.each(['redis', 'ioredis'])('the sentinels and the master are checked, with %s', async (client) => {
    const report = await runJson<Report>(['doctor', url(), '--client', client]);
    expect(problems(report)).toEqual([]);
    const text = `at 127.0.0.1:${await sentinel.master()}, 2 replicas, 3 sentinels, quorum 2`;
    expect(report.findings[0]?.message).toContain(text);
    expect(report.findings).toContainEqual(expect.objectContaining({ check: 'failover-detector' }));
  });

  test.each(['redis', 'ioredis'])(
    'a name that no sentinel knows is an error that says so, with %s',
    async (client) => {
      const args = ['nodes', url().replace(/[^/]*$/, 'nobody'), '--client', client, '--timeout', '1000'];
      const { status, stderr } = await runCli(args);
      expect(status).toBe(1);
      expect(stderr).toContain('rollcall: no master named "nobody" is known to 127.0.0.1:');
    },
  );

  test('the URL of a sentinel without a name is an error that says so', async () => {
    const { status, stderr } = await runCli(['doctor', `redis://127.0.0.1:${sentinel.sentinels[0]}`]);
    expect(status).toBe(1);
    expect(stderr).toContain('name its master with --sentinel NAME');
  });

  test('a killed master is replaced, and the command follows', async () => {
    const old = await sentinel.master();
    await sentinel.kill(old);
    try {
      const next = await sentinel.waitForMaster(old);
      for (const client of ['redis', 'ioredis']) {
        await doctorUntil([url(), '--client', client], (report) => {
          expect(problems(report)).toEqual([]);
          expect(report.findings[0]?.message).toContain(`at 127.0.0.1:${next}`);
        });
      }
    } finally {
      await sentinel.restart(old);
      await sentinel.waitUntilOk();
    }
  });

  test('a dead sentinel is an error', async () => {
    const [first] = sentinel.sentinels as [number];
    await sentinel.kill(first);
    try {
      await doctorUntil([url()], (report) => {
        expect(problems(report)).toEqual([expect.stringContaining(`sentinel 127.0.0.1:${first}: `)]);
        expect(report.ok).toBe(false);
      });
    } finally {
      await sentinel.restart(first);
    }
  });
});
