// @ts-check
import { defineChannel } from 'rollcall';

/** All processes of one system must use the same values. */
export const options = {
  timeout: 3_000,
  /**
   * Much shorter than the defaults, so that a crash shows on the page within seconds: a node that stops renewing its
   * lease is dead after `lease`, and its users go offline after another `grace` unless they reconnect. In production
   * use the default lease (30 s) and a grace of 5 to 10 s.
   */
  presence: { prefix: 'rollcall-demo', lease: 3_000, grace: 3_000 },
  pubsub: { prefix: 'rollcall-demo:' },
  // Members stay in the list of their room while they reconnect, too.
  rooms: { history: { size: 1_000, ttl: 3_600_000 }, grace: 3_000, bans: true },
};

export const NODES = ['node-1', 'node-2'];
export const ROOMS = ['lobby', 'kitchen', 'workshop'];
/** Statuses of one device. */
export const STATUSES = ['online', 'away', 'busy'];
/** Statuses of a user, for all their devices; `null` is that of each device. */
export const OWN_STATUSES = [null, 'busy', 'invisible'];
/** The longest duration of a user's status, in ms. */
export const MAX_STATUS = 3_600_000;
/** Time in ms for which a user who was put out of a room stays out. */
export const BAN = 5_000;
/** A chat message is a few hundred bytes. */
export const MAX_FRAME_BYTES = 8_192;
/** Frames that a user may send from all devices; reconnecting to all rooms takes about ten. */
export const RATE = { points: 100, duration: 5 };

/** Each process publishes its stats here once a second. A page that opens reads the last minute from history. */
export const stats = defineChannel('stats', { history: { size: 300, ttl: 120_000 } });

/**
 * Publishes stats every second; failures are ignored. The stats are totals instead of rates, so that a gap loses
 * nothing.
 *
 * @param {import('rollcall').PubSubService} pubsub
 * @param {() => object | Promise<object>} read
 */
export function publishEverySecond(pubsub, read) {
  const publish = async () => pubsub.publish(stats(), { at: Date.now(), ...(await read()) });
  const publishNow = () => void publish().catch(() => {});
  const timer = setInterval(publishNow, 1_000);
  return { publishNow, stop: () => clearInterval(timer) };
}

/**
 * True for a valid user name, which can be mentioned with `@`.
 *
 * @param {unknown} name
 * @returns {name is string}
 */
export const isName = (name) => typeof name === 'string' && /^[\p{L}\p{N}][\p{L}\p{N}_-]{0,23}$/u.test(name);
