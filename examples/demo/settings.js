// @ts-check
import { defineChannel } from 'rollcall';

/**
 * Much shorter than the defaults, so that a crash shows on the page within seconds: a node that no longer
 * renews its lease is dead after `lease`, and those of its users who have not come back by another node are
 * offline `grace` later. In production take the default lease (30 s) and a grace of 5 to 10 s.
 */
const presence = { prefix: 'rollcall-demo', lease: 3_000, grace: 3_000 };

/** All processes of one system must agree on these. */
export const options = {
  timeout: 3_000,
  presence,
  pubsub: { prefix: 'rollcall-demo:' },
  rooms: { history: { size: 1_000, ttl: 3_600_000 } },
};

export const NODES = ['node-1', 'node-2'];
export const ROOMS = ['lobby', 'kitchen', 'workshop'];
export const STATUSES = ['online', 'away', 'busy'];

/** A chat message is a few hundred bytes. */
export const MAX_FRAME_BYTES = 8_192;
/** So much a user may send, over all his devices: coming back to all rooms takes about ten frames. */
export const RATE = { points: 100, duration: 5 };

/** For the dashboard: each process says once a second how it is. A page that opens gets the last minute. */
export const stats = defineChannel('stats', { history: { size: 300, ttl: 120_000 } });

/**
 * Says so every second; what Redis does not take is left out. Totals, not rates: after a gap the
 * next one makes up for it.
 *
 * @param {import('rollcall').PubSubService} pubsub
 * @param {() => object | Promise<object>} read
 */
export function sayEverySecond(pubsub, read) {
  const say = async () => pubsub.publish(stats(), { at: Date.now(), ...(await read()) });
  const timer = setInterval(() => void say().catch(() => {}), 1_000);
  return { now: () => void say().catch(() => {}), stop: () => clearInterval(timer) };
}

/**
 * A name to chat under: also what can be mentioned with an `@`.
 *
 * @param {unknown} name
 * @returns {name is string}
 */
export function isName(name) {
  return typeof name === 'string' && /^[\p{L}\p{N}][\p{L}\p{N}_-]{0,23}$/u.test(name);
}
