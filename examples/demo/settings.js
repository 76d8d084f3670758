import { defineChannel } from 'rollcall';

/** All processes of one system must use the same values. */
export const options = {
  timeout: 3_000,
  // Much shorter than the defaults, so that a crash shows on the page within seconds: a node that stops renewing its
  // lease is dead after `lease`, and its users go offline after another `grace` unless they reconnect. In production
  // use the default lease (30 s) and a grace of 5 to 10 s.
  presence: { prefix: 'rollcall-demo', lease: 3_000, grace: 3_000 },
  pubsub: { prefix: 'rollcall-demo:' },
  // Members stay in the list of their room while they reconnect, too.
  rooms: { history: { size: 1_000, ttl: 3_600_000 }, grace: 3_000, bans: true },
};

export const NODES = ['node-1', 'node-2'];
export const ROOMS = ['lobby', 'kitchen', 'workshop'];

/** True for a valid user name, which can be mentioned with `@`. */
export const isName = (name) => typeof name === 'string' && /^[\p{L}\p{N}][\p{L}\p{N}_-]{0,23}$/u.test(name);

/** Each process publishes its stats here once a second. A page that opens reads the last minute from history. */
export const stats = defineChannel('stats', { history: { size: 300, ttl: 120_000 } });

/** Publishes stats every second; failures are ignored. Totals instead of rates, so that a gap loses nothing. */
export function publishEverySecond(pubsub, read) {
  const publish = async () => pubsub.publish(stats(), { at: Date.now(), ...(await read()) });
  const publishNow = () => void publish().catch(() => {});
  const timer = setInterval(publishNow, 1_000);
  return { publishNow, stop: () => clearInterval(timer) };
}
