// @ts-check
import { PresenceService } from 'rollcall';
import { connect } from '../support/clients.js';
import { inFlight } from '../support/in-flight.js';
import { socketOf, userOf } from '../support/names.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {number} sockets one for each user
 * @property {number} [lease]
 */

/** The system's clock without chance: nothing drifts, so that counts over a time can be compared. */
const clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  random: () => 0.5,
  /**
   * @param {number} ms
   * @param {() => void} task
   * @param {{ keepAlive?: boolean }} [options]
   */
  after(ms, task, options) {
    const timeout = setTimeout(task, ms);
    if (options?.keepAlive === false) timeout.unref();
    return { cancel: () => clearTimeout(timeout) };
  },
};

/** @type {Record<string, (setting: Setting) => Promise<object>>} */
export default {
  /** A process that owns sockets and does nothing else. */
  async rollcall({ library, port, sockets, lease = 30_000 }) {
    const redis = /** @type {any} */ (await connect(library, port));
    const presence = new PresenceService({ redis, nodeName: 'a-server', clock, lease });
    await presence.connect();
    await inFlight(1_000, sockets, (n) => presence.setPresence(userOf(n), socketOf(n)));
    return { stats: () => presence.stats() };
  },
};
