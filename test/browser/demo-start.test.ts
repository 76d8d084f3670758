import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterAll, describe, expect, test } from 'vitest';
import { startRedis } from '../support/redis-server.js';
import { findRedisServer } from '../support/tools.js';
import { withDeadline } from '../support/wait.js';
import { killLeftovers, spawnDemo } from './demo-fixture.js';

afterAll(killLeftovers);

const redisServer = findRedisServer();

describe('a start that cannot work prints one line and exits with code 1', () => {
  async function failure(env: Record<string, string>, args?: string[]) {
    const { child, output, closed } = spawnDemo(env, args);
    await withDeadline(closed, 20_000, 'the demo to give up');
    return { code: child.exitCode, ...output };
  }

  test('a port that is taken', async () => {
    const other = createServer();
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const { port } = other.address() as { port: number };
    const failed = await failure({ PORT: String(port) });
    other.close();
    expect(failed).toEqual({
      code: 1,
      stdout: '',
      stderr: `rollcall demo: port ${port} is in use; choose another with PORT=…\n`,
    });
  });

  test.each(['port', '-1', '65536', '3000.5'])('PORT=%s', async (port) => {
    const failed = await failure({ PORT: port });
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toMatch(/^rollcall demo: PORT must be .+\n$/);
  });

  test('a Redis that cannot be reached', async () => {
    const closed = createServer();
    await once(closed.listen(0, '127.0.0.1'), 'listening');
    const { port } = closed.address() as { port: number };
    closed.close();
    const failed = await failure({ REDIS_URL: `redis://somebody:a-secret@127.0.0.1:${port}` });
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toMatch(
      new RegExp(`^rollcall demo: redis://127.0.0.1:${port}: .*ECONNREFUSED.*\n$`),
    );
    expect(failed.stderr).not.toContain('a-secret');
  });

  test.each(['nonsense', 'http://127.0.0.1:1'])('REDIS_URL=%s', async (url) => {
    const failed = await failure({ REDIS_URL: url });
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toMatch(/^rollcall demo: .+\n$/);
  });

  test('--real where there is no redis-server, or beside REDIS_URL', async () => {
    const missing = await failure({ REDIS_SERVER: '/nowhere/redis-server' }, ['--real']);
    expect(missing).toMatchObject({ code: 1, stdout: '' });
    expect(missing.stderr).toMatch(/^rollcall demo: redis-server not found.+\n$/);
    const both = await failure({ REDIS_URL: 'redis://127.0.0.1:1' }, ['--real']);
    expect(both).toMatchObject({ code: 1, stdout: '' });
    expect(both.stderr).toMatch(/REDIS_URL.+\n$/);
  });

  test.skipIf(!redisServer)('a wrong password', async () => {
    const redis = await startRedis({ args: ['--requirepass', 'a-secret'] });
    try {
      const failed = await failure({ REDIS_URL: `redis://:wrong@127.0.0.1:${redis.port}` });
      expect(failed).toMatchObject({ code: 1, stdout: '' });
      expect(failed.stderr).toMatch(/^rollcall demo: redis:.+WRONGPASS.*\n$/);
    } finally {
      await redis.stop();
    }
  });
});
