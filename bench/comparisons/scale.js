// @ts-check
import { setTimeout as sleep } from 'node:timers/promises';
import { PresenceService } from 'rollcall';
import { connect } from '../support/clients.js';
import { inFlight } from '../support/in-flight.js';
import { socketOf, userOf } from '../support/names.js';
import { quantile } from '../support/statistics.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {number} grace
 * @property {number} timeout of a call, in ms
 * @property {number} sockets of all nodes together
 * @property {number} first the first node of this process
 * @property {number} nodes the number of nodes in this process
 * @property {number} perNode sockets of each node, one for each user
 */

/** Milliseconds between two batches of reconnects in a storm. */
const STEP_MS = 50;
/** Milliseconds between two lookups. */
const PAUSE_MS = 20;
const LOOKUP = 1_000;
/** Sockets of a node that register at the same time, so that 20 nodes have 2,000 calls in flight. */
const ARRIVING = 100;

/**
 * @param {Setting} setting
 * @param {string} nodeName
 */
async function makeNode({ library, port, grace, timeout }, nodeName) {
  const redis = /** @type {any} */ (await connect(library, port));
  const presence = new PresenceService({ redis, nodeName, grace, timeout });
  await presence.connect();
  return presence;
}

/** Some nodes in one process, each with a client of its own.
 *
 * @param {Setting} setting
 */
async function rollcall(setting) {
  const { first, nodes, perNode } = setting;
  const all = await Promise.all(
    Array.from({ length: nodes }, (_, at) =>
      makeNode(setting, `node-${String(first + at).padStart(2, '0')}`),
    ),
  );
  const node = (/** @type {number} */ at) => /** @type {PresenceService} */ (all[at % nodes]);
  /** Number of users that have reconnected in a storm; each user reconnects once. */
  let moved = 0;
  return {
    fill: () =>
      Promise.all(
        all.map((presence, at) =>
          inFlight(ARRIVING, perNode, (n) => {
            const user = (first + at) * perNode + n;
            return presence.setPresence(userOf(user), socketOf(user));
          }),
        ),
      ).then(() => undefined),

    /**
     * `count` users, spread over `ms`, lose their socket and reconnect to the next node.
     *
     * @param {{ count: number, ms: number }} extent
     */
    async storm({ count, ms }) {
      /** @type {number[]} */
      const latencies = [];
      let failed = 0;
      const reconnect = async (/** @type {number} */ n) => {
        const at = n % nodes;
        const user = (first + at) * perNode + Math.floor(n / nodes);
        await node(at).removeSocket(userOf(user), socketOf(user));
        const since = performance.now();
        await node(at + 1).setPresence(userOf(user), `${socketOf(user)}-again`);
        latencies.push(performance.now() - since);
      };
      const began = performance.now();
      /** @type {Promise<unknown>[]} */
      const running = [];
      const from = moved;
      moved += count;
      for (let started = 0; started < count; ) {
        const due = Math.min(count, Math.ceil((count * (performance.now() - began + STEP_MS)) / ms));
        for (; started < due; started++) {
          const settled = reconnect(from + started).catch(() => {
            failed++;
          });
          running.push(settled);
        }
        await sleep(STEP_MS);
      }
      await Promise.all(running);
      return { ms: performance.now() - began, failed, latencies: summary(latencies) };
    },

    facts: () => ({
      nodeIds: all.map((presence) => presence.stats().nodeId),
      sockets: all.reduce((sum, presence) => sum + presence.stats().sockets, 0),
      rss: process.memoryUsage().rss,
      cpu: process.cpuUsage().user + process.cpuUsage().system,
    }),
  };
}

/** A process that looks up a thousand users repeatedly.
 *
 * @param {Setting} setting
 */
async function reader(setting) {
  const presence = await makeNode(setting, 'reader');
  /** @type {number[]} */
  let durations = [];
  const lookUp = async () => {
    for (;;) {
      const ids = new Set();
      while (ids.size < LOOKUP) ids.add(userOf(Math.floor(Math.random() * setting.sockets)));
      const since = performance.now();
      await presence.getMultiplePresence(ids).catch(() => {});
      durations.push(performance.now() - since);
      await sleep(PAUSE_MS);
    }
  };
  void lookUp();
  return {
    /** The durations of the lookups since the last call, in ms. */
    takeDurations() {
      const all = durations;
      durations = [];
      return all;
    },
  };
}

/** @param {number[]} values */
function summary(values) {
  return {
    count: values.length,
    p50: quantile(values, 0.5),
    p99: quantile(values, 0.99),
    max: quantile(values, 1),
  };
}

export default { rollcall, reader };
