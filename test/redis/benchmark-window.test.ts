import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

// Redis's CPU time is read before and after a round of a benchmark. A command that checks the outcome inside that window would
// be counted as the cost of the competitor that sends it.

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs the presence workloads with few users; `change` may alter a workload. Resolves with what went wrong. */
async function run(change: string): Promise<string> {
  const script = `
    import { compare } from './bench/support/compare.js';
    import { startRedis } from './bench/support/redis-server.js';
    import { workloads } from './bench/workloads.js';
    const server = await startRedis();
    const users = 50;
    try {
      for (const name of ['presence', 'leave']) {
        const workload = workloads.find((each) => each.name === name);
        for (const library of name === 'leave' ? ['ioredis'] : ['node-redis']) {
          const online = workload.setting.what === 'leave' ? 0 : users;
          const expected = () => ({ online, ...(workload.watch ? { seen: users } : {}) });
          const small = { ...workload, setting: { ...workload.setting, users }, expected };
          (${change})(small);
          await compare(server, small, library, { rounds: 1, warmUps: 1, count: users }, (text) => {
            throw new Error(text);
          });
        }
      }
      console.log('');
    } catch (error) {
      console.log(error.message);
    } finally {
      await server.stop();
    }
    process.exit();`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: root,
  });
  return stdout.trim();
}

test('no competitor sends a command inside the measured window that its round does not need', async () => {
  expect(await run('() => {}')).toBe('');
}, 120_000);

test('a command that does not belong in a round ends the benchmark', async () => {
  const change = `(workload) => {
    const { commands } = workload;
    workload.commands = (name) => commands(name).filter((command) => command !== 'publish');
  }`;
  expect(await run(change)).toMatch(/a round of \w+ includes publish, which it does not need/);
});
