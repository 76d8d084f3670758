// @ts-check
import { quantile } from './spread.js';

/** @typedef {import('ioredis').Redis} Redis */

/**
 * Has Redis note what takes long from now on.
 *
 * @param {Redis} control
 */
export async function watchStalls(control) {
  await control.config('SET', 'slowlog-log-slower-than', '500');
  await control.config('SET', 'slowlog-max-len', '10000');
  await control.config('SET', 'latency-monitor-threshold', '1');
  await control.slowlog('RESET');
  await control.call('LATENCY', 'RESET');
}

/**
 * What took longest since {@link watchStalls}: one command as SLOWLOG has it, and whatever kept Redis
 * from everything else (a whole transaction, an expiry cycle) as LATENCY has it. In ms.
 *
 * @param {Redis} control
 */
export async function readStalls(control) {
  const log = /** @type {[number, number, number, string[]][]} */ (await control.slowlog('GET', 10_000));
  const slowest = log.reduce((most, entry) => (entry[2] > (most?.[2] ?? 0) ? entry : most), log[0]);
  const events = /** @type {[string, number, number, number][]} */ (await control.call('LATENCY', 'LATEST'));
  return {
    command: slowest === undefined ? 0 : slowest[2] / 1_000,
    // Of those over half a millisecond. The slowest may have been kept waiting by other processes.
    p99:
      log.length === 0
        ? 0
        : quantile(
            log.map((entry) => entry[2]),
            0.99,
          ) / 1_000,
    name: slowest?.[3][0] ?? 'none',
    event: Math.max(0, ...events.map(([, , , most]) => most)),
    events: Object.fromEntries(events.map(([name, , , most]) => [name, most])),
  };
}
