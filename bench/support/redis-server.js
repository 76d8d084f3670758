// @ts-check
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { Redis } from 'ioredis';

const START_MS = 10_000;

/**
 * The shell ends the server when its standard input closes, also if this process is killed: no
 * server outlives the benchmark.
 */
const WATCHDOG = '"$@" & read -r _; kill -9 $! 2>/dev/null; wait';

/** @typedef {Awaited<ReturnType<typeof startRedis>>} Server */

/** Starts a redis-server of its own on a spare loopback port. */
export async function startRedis() {
  const port = await sparePort();
  // biome-ignore format: one option a line reads better
  const args = [
    '--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'no',
    // A snapshot of another server would be loaded, and with it a replication backlog of 1 MB begin.
    '--dir', tmpdir(), '--dbfilename', `rollcall-bench-${port}.rdb`,
    // A publishAtFullSpeed must slow its reader down, not cut it off.
    '--client-output-buffer-limit', 'pubsub 0 0 0',
  ];
  const program = process.env['REDIS_SERVER'] ?? 'redis-server';
  const watchdog = spawn('sh', ['-c', WATCHDOG, 'sh', program, ...args], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const gone = once(watchdog, 'exit');
  const control = new Redis({ host: '127.0.0.1', port, retryStrategy: () => 50, maxRetriesPerRequest: null });
  control.on('error', () => {});
  const stop = async () => {
    control.disconnect();
    watchdog.stdin.end();
    await gone;
  };
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`${program} does not answer on port ${port}`)), START_MS).unref();
  });
  try {
    await Promise.race([control.ping(), late]);
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, control, stop };
}

/**
 * The value of a field of `INFO`.
 *
 * @param {Redis} control
 * @param {string} section
 * @returns {Promise<Map<string, string>>}
 */
export async function info(control, section) {
  const lines = (await control.info(section)).split('\r\n');
  return new Map(lines.map((line) => /** @type {[string, string]} */ (line.split(':', 2))));
}

/**
 * CPU time that Redis has used, in µs.
 *
 * @param {Redis} control
 */
export async function redisCpu(control) {
  const fields = await info(control, 'cpu');
  return (Number(fields.get('used_cpu_user')) + Number(fields.get('used_cpu_sys'))) * 1e6;
}

/**
 * Calls of each command, including those in scripts, without `INFO` itself.
 *
 * @param {Redis} control
 * @returns {Promise<Map<string, number>>}
 */
export async function commandsRun(control) {
  const calls = new Map();
  for (const [name, value] of await info(control, 'commandstats')) {
    const command = /^cmdstat_(.+)$/.exec(name)?.[1];
    if (command !== undefined && command !== 'info')
      calls.set(command, Number(/calls=(\d+)/.exec(value)?.[1]));
  }
  return calls;
}

/** A port on which nothing listens. */
export async function sparePort() {
  for (;;) {
    // Below the range from which systems take the ports of outgoing connections, and below that of the tests: a test whose
    // server has ended would flush this one.
    const port = randomInt(6_400, 10_000);
    const probe = createServer();
    const free = await new Promise((resolve) => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
