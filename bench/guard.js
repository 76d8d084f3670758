// @ts-check
// node bench/guard.js [--write]
//
// Fails when an operation costs Redis more than bench/guard.json allows: commands, including those of
// scripts, and bytes in either direction. It measures no time, so that the result is the same on any
// machine. A change that makes an operation cheaper, or more expensive for a good reason, updates the
// file with --write.
import { readFileSync, writeFileSync } from 'node:fs';
import { PresenceService, PubSubService } from 'rollcall';
import { connect, disconnect } from './support/clients.js';
import { ManualClock } from './support/manual-clock.js';
import { message } from './support/messages.js';
import { socketOf, userOf } from './support/names.js';
import { startRedis } from './support/redis-server.js';

/** @typedef {import('./support/clients.js').Library} Library */
/** @typedef {import('./support/redis-server.js').Server} Server */
/** @typedef {{ commands: number, bytesIn: number, bytesOut: number }} Cost */

const EXPECTED = new URL('./guard.json', import.meta.url);
/** Factor by which bytes may grow: an id or a number may have one more digit. */
const TOLERANCE = 1.02;
const SLACK = 8;

const LEASE = 30_000;
const RENEW = LEASE / 3;
/** Not a divisor of the renewal interval, so that sweeps and renewals can be counted separately. */
const SWEEP = 7_000;

/** Bytes of the command `INFO all`. */
const INFO_REQUEST = '*2\r\n$4\r\ninfo\r\n$3\r\nall\r\n'.length;

/** @param {Server} server */
async function readInfo({ control }) {
  const text = await control.info('all');
  const fields = new Map(
    text.split('\r\n').map((line) => /** @type {[string, string]} */ (line.split(':', 2))),
  );
  let commands = 0;
  for (const [name, value] of fields) {
    if (name.startsWith('cmdstat_') && name !== 'cmdstat_info')
      commands += Number(/calls=(\d+)/.exec(value)?.[1]);
  }
  const length = Buffer.byteLength(text);
  return {
    commands,
    bytesIn: Number(fields.get('total_net_input_bytes')),
    bytesOut: Number(fields.get('total_net_output_bytes')),
    replyBytes: `$${length}\r\n`.length + length + 2,
  };
}

/**
 * @param {Server} server
 * @param {() => unknown} work
 * @returns {Promise<Cost>}
 */
async function costOf(server, work) {
  const before = await readInfo(server);
  await work();
  const after = await readInfo(server);
  return {
    commands: after.commands - before.commands,
    bytesIn: after.bytesIn - before.bytesIn - INFO_REQUEST,
    bytesOut: after.bytesOut - before.bytesOut - before.replyBytes,
  };
}

/** @param {number} length */
const upTo = (length) => Array.from({ length }, (_, n) => n);

/**
 * @param {Server} server
 * @param {Library} library
 */
async function pubsubCosts(server, library) {
  const redis = /** @type {any} */ (await connect(library, server.port));
  const pubsub = new PubSubService({ redis, clock: new ManualClock() });
  // Connections and scripts are there before anything is counted.
  await (await pubsub.subscribe('warm-up', () => {})).unsubscribe();
  await pubsub.publish('warm-up', {});
  const text = message(0, 150);
  /** @type {Record<string, Cost>} */
  const costs = {};
  costs['publish'] = await costOf(server, () => pubsub.publish('channel', text));
  costs['publish, 100 at once'] = await costOf(server, () =>
    Promise.all(upTo(100).map(() => pubsub.publish('channel', text))),
  );
  /** @type {{ unsubscribe(): Promise<void> }[]} */
  let subscriptions = [];
  costs['subscribe'] = await costOf(server, () => pubsub.subscribe('channel-0000', () => {}));
  costs['subscribe, 1,000 at once'] = await costOf(server, async () => {
    const names = upTo(1_000).map((n) => `channel-${1_000 + n}`);
    subscriptions = await Promise.all(names.map((name) => pubsub.subscribe(name, () => {})));
  });
  costs['unsubscribe, 1,000 at once'] = await costOf(server, () =>
    Promise.all(subscriptions.map(({ unsubscribe }) => unsubscribe())),
  );
  await pubsub.close();
  disconnect(redis);
  return costs;
}

/**
 * @param {Server} server
 * @param {Library} library
 */
async function presenceCosts(server, library) {
  const redis = /** @type {any} */ (await connect(library, server.port));
  const clock = new ManualClock();
  const options = { redis, clock, lease: LEASE, sweepInterval: SWEEP, nodeName: 'a-server' };
  const presence = new PresenceService(options);
  const set = (/** @type {number} */ n, status = 'online') =>
    presence.setPresence(userOf(n), socketOf(n), status);
  const setAll = (/** @type {number} */ from, /** @type {number} */ to) =>
    Promise.all(upTo(to - from).map((n) => set(from + n)));
  await presence.connect();
  await setAll(0, 3);
  await set(0);
  await presence.removeSocket(userOf(2), socketOf(2));
  await presence.getMultiplePresence([userOf(0)]);
  /** @type {Record<string, Cost>} */
  const costs = {};
  costs['setPresence, a new user'] = await costOf(server, () => set(3));
  costs['setPresence, another status'] = await costOf(server, () => set(3, 'away'));
  costs['setPresence, nothing new'] = await costOf(server, () => set(3, 'away'));
  costs['setPresence, 64 new users at once'] = await costOf(server, () => setAll(4, 68));
  costs['removeSocket'] = await costOf(server, () => presence.removeSocket(userOf(3), socketOf(3)));
  costs['removeSocket, 64 at once'] = await costOf(server, () =>
    Promise.all(upTo(64).map((n) => presence.removeSocket(userOf(4 + n), socketOf(4 + n)))),
  );
  await setAll(2, 1_000);
  const ids = upTo(1_000).map(userOf);
  costs['getMultiplePresence, 1,000 users'] = await costOf(server, async () => {
    const found = await presence.getMultiplePresence(ids);
    if (found.size !== ids.length) throw new Error(`${found.size} users instead of ${ids.length}`);
  });
  costs['getPresence'] = await costOf(server, () => presence.getPresence(userOf(0)));
  await presence.close();
  disconnect(redis);
  return costs;
}

/**
 * Costs of a process that only owns sockets: a renewal, which refreshes a part of their TTLs, and a sweep.
 *
 * @param {Server} server
 * @param {Library} library
 * @param {number} sockets
 */
async function restCosts(server, library, sockets) {
  await server.control.flushall();
  const redis = /** @type {any} */ (await connect(library, server.port));
  const clock = new ManualClock();
  const options = { redis, clock, lease: LEASE, sweepInterval: SWEEP, nodeName: 'a-server' };
  const presence = new PresenceService(options);
  await Promise.all(upTo(sockets).map((n) => presence.setPresence(userOf(n), socketOf(n))));
  const advance = async (/** @type {number} */ ms, /** @type {number} */ timer) => {
    clock.advance(ms);
    await clock.armed(timer);
  };
  // The first sweep (7 s) and renewal (10 s) load the scripts; those at 14 and 20 s are counted.
  await advance(SWEEP, SWEEP);
  await advance(RENEW - SWEEP, RENEW);
  const sweep = await costOf(server, () => advance(2 * SWEEP - RENEW, SWEEP));
  const renewal = await costOf(server, () => advance(2 * RENEW - 2 * SWEEP, RENEW));
  await presence.close();
  disconnect(redis);
  const many = sockets.toLocaleString('en');
  return { [`renewal, ${many} sockets`]: renewal, [`sweep, ${many} sockets`]: sweep };
}

/**
 * @param {Record<string, Record<string, Cost>>} found
 * @param {Record<string, Record<string, Cost>>} expected
 */
function compare(found, expected) {
  const [exceeded, shrunk] = [/** @type {string[]} */ ([]), /** @type {string[]} */ ([])];
  for (const [library, costs] of Object.entries(found)) {
    for (const [operation, cost] of Object.entries(costs)) {
      const limit = expected[library]?.[operation];
      if (limit === undefined) {
        exceeded.push(`${library}, ${operation}: not in guard.json`);
        continue;
      }
      for (const key of /** @type {(keyof Cost)[]} */ (['commands', 'bytesIn', 'bytesOut'])) {
        const most = key === 'commands' ? limit[key] : limit[key] * TOLERANCE + SLACK;
        const line = `${library}, ${operation}: ${cost[key]} ${key}, expected ${limit[key]}`;
        if (cost[key] > most) exceeded.push(line);
        else if (cost[key] < limit[key] * (2 - TOLERANCE) - SLACK) shrunk.push(line);
        else if (key === 'commands' && cost[key] < limit[key]) shrunk.push(line);
      }
    }
  }
  return { exceeded, shrunk };
}

async function main() {
  const server = await startRedis();
  /** @type {Record<string, Record<string, Cost>>} */
  const found = {};
  try {
    for (const library of /** @type {Library[]} */ (['node-redis', 'ioredis'])) {
      await server.control.flushall();
      found[library] = {
        ...(await pubsubCosts(server, library)),
        ...(await presenceCosts(server, library)),
        ...(await restCosts(server, library, 200)),
        ...(await restCosts(server, library, 2_000)),
      };
    }
  } finally {
    await server.stop();
  }
  if (process.argv.includes('--write')) {
    writeFileSync(EXPECTED, `${JSON.stringify(found, null, 2)}\n`);
    console.log('bench/guard.json written');
    return;
  }
  const { exceeded, shrunk } = compare(found, JSON.parse(readFileSync(EXPECTED, 'utf8')));
  for (const line of shrunk) console.log(`less than expected: ${line}`);
  if (shrunk.length > 0) console.log('To make this the new limit: node bench/guard.js --write');
  if (exceeded.length > 0) {
    for (const line of exceeded) console.error(`work has exceeded: ${line}`);
    console.error('If there is a good reason: node bench/guard.js --write, and say why in the commit');
    process.exit(1);
  }
  const operations = Object.values(found).reduce((sum, costs) => sum + Object.keys(costs).length, 0);
  console.log(`guard: ${operations} operations cost no more than expected`);
}

// Open connections of the clients must not keep this process alive.
main().then(
  () => process.exit(),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
