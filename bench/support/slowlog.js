// @ts-check
import { quantile } from './statistics.js';

/** @typedef {import('ioredis').Redis} Redis */

/**
 * Starts SLOWLOG and the latency monitor of Redis with empty logs.
 *
 * @param {Redis} control
 */
export async function startSlowlog(control) {
  await control.config('SET', 'slowlog-log-slower-than', '500');
  await control.config('SET', 'slowlog-max-len', '10000');
  await control.config('SET', 'latency-monitor-threshold', '1');
  await control.slowlog('RESET');
  await control.call('LATENCY', 'RESET');
}

/**
 * The longest operations since {@link startSlowlog}, in ms: the slowest command of SLOWLOG, and the longest
 * event of LATENCY (a whole transaction, an expiry cycle).
 *
 * @param {Redis} control
 */
export async function readSlowlog(control) {
  const log = /** @type {[number, number, number, string[]][]} */ (await control.slowlog('GET', 10_000));
  const slowest = log.reduce((most, entry) => (entry[2] > (most?.[2] ?? 0) ? entry : most), log[0]);
  const events = /** @type {[string, number, number, number][]} */ (await control.call('LATENCY', 'LATEST'));
  return {
    command: slowest === undefined ? 0 : slowest[2] / 1_000,
    // Of commands over half a millisecond. The maximum may include time in which Redis waited for a processor.
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
