// @ts-check
import { openSync, readSync } from 'node:fs';
import { PresenceService, PubSubService, RoomService } from 'rollcall';
import { connect, ioredis } from '../support/clients.js';
import { inFlight } from '../support/in-flight.js';
import { socketOf, userOf } from '../support/names.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {number} count sockets, users or subscriptions
 */

/** For what is not measured. */
const MANY = 1_000;
const TIMEOUT = 60_000;
const history = { size: 100, ttl: 600_000 };
/** @param {number} n */
const channelOf = (n) => `blocks:${n}`;

/** Nanoseconds that this thread has run, as Linux counts them; 0 elsewhere. */
function createRunTime() {
  try {
    const file = openSync('/proc/thread-self/schedstat', 'r');
    const buffer = Buffer.alloc(64);
    return () => Number.parseInt(buffer.toString('latin1', 0, readSync(file, buffer, 0, 64, 0)), 10);
  } catch {
    return () => 0;
  }
}

/**
 * The longest time in ms between two turns of the event loop while `work` runs: as long does every other connection of the
 * process wait. `ran` is how long the thread had a processor in that time; the rest is other work on the machine, or garbage
 * collection in other threads.
 *
 * @param {() => Promise<unknown>} work
 */
async function longestBlock(work) {
  const runTime = createRunTime();
  const longest = { ms: 0, ran: 0 };
  let last = performance.now();
  let ranBefore = runTime();
  let running = true;
  const turn = () => {
    const [now, ranNow] = [performance.now(), runTime()];
    if (now - last > longest.ms) Object.assign(longest, { ms: now - last, ran: (ranNow - ranBefore) / 1e6 });
    last = now;
    ranBefore = ranNow;
    if (running) setImmediate(turn);
  };
  turn();
  await work();
  await new Promise((resolve) => setImmediate(resolve));
  running = false;
  return longest;
}

/** @param {Setting} setting */
async function presenceOf({ library, port }, options = {}) {
  const redis = /** @type {any} */ (await connect(library, port));
  const presence = new PresenceService({ redis, nodeName: 'a-server', timeout: TIMEOUT, ...options });
  await presence.connect();
  return presence;
}

/** @type {Record<string, (setting: Setting) => Promise<{ run: () => Promise<object> }>>} */
export default {
  /** All users arrive in one `Promise.all`, whose loop is a part of the block. */
  async storm(setting) {
    const presence = await presenceOf(setting);
    const all = Array.from({ length: setting.count }, (_, n) => n);
    return {
      async run() {
        await inFlight(MANY, all.length, (n) => presence.removeSocket(userOf(n), socketOf(n)));
        const block = await longestBlock(() =>
          Promise.all(all.map((n) => presence.setPresence(userOf(n), socketOf(n)))),
        );
        return { ...block, done: await presence.getOnlineCount() };
      },
    };
  },

  async lookup(setting) {
    const presence = await presenceOf(setting);
    await inFlight(MANY, setting.count, (n) => presence.setPresence(userOf(n), socketOf(n)));
    const ids = Array.from({ length: setting.count }, (_, n) => userOf(n));
    return {
      async run() {
        let done = 0;
        const block = await longestBlock(async () => {
          done = (await presence.getMultiplePresence(ids)).size;
        });
        return { ...block, done };
      },
    };
  },

  /** A server that stops, with the sockets of as many users. */
  async close(setting) {
    return {
      async run() {
        const presence = await presenceOf(setting);
        const reader = await presenceOf(setting);
        await inFlight(MANY, setting.count, (n) => presence.setPresence(userOf(n), socketOf(n)));
        const block = await longestBlock(() => presence.close());
        const done = setting.count - (await reader.getOnlineCount());
        await reader.close();
        return { ...block, done };
      },
    };
  },

  /** Subscriptions come back after a lost connection, while a message is published to each. */
  async subscriptions(setting) {
    const { library, port, count } = setting;
    const control = await ioredis(port);
    const redis = /** @type {any} */ (await connect(library, port));
    const pubsub = new PubSubService({ redis, timeout: TIMEOUT });
    let missing = 0;
    let onAll = () => {};
    const handler = () => {
      if (--missing === 0) onAll();
    };
    await inFlight(MANY, count, (n) => pubsub.subscribe(channelOf(n), handler, { since: 'latest' }));
    return {
      async run() {
        missing = count;
        /** @type {Promise<void>} */
        const all = new Promise((resolve) => {
          onAll = resolve;
        });
        const block = await longestBlock(async () => {
          await control.client('KILL', 'TYPE', 'pubsub');
          await all;
        });
        return { ...block, done: count - missing };
      },
    };
  },

  /** Another process, whose messages the subscriptions receive or have missed. */
  async publisher({ library, port, count }) {
    const redis = /** @type {any} */ (await connect(library, port));
    const pubsub = new PubSubService({ redis, timeout: TIMEOUT });
    return {
      async run() {
        await inFlight(MANY, count, (n) => pubsub.publish(channelOf(n), n, { history }));
        return { done: count };
      },
    };
  },

  /** A server that stops, with as many sockets in one room, each of a user of its own. */
  async rooms(setting) {
    let errors = 0;
    const onError = () => {
      errors++;
    };
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const reader = await presenceOf(setting);
    return {
      async run() {
        const presence = await presenceOf(setting, { onError, timeout: 5_000 });
        const pubsub = new PubSubService({ redis, onError });
        const rooms = new RoomService({ pubsub, presence, onError });
        const peer = { send: () => {}, close: () => {}, bufferedAmount: 0 };
        await inFlight(MANY, setting.count, async (n) => {
          const socket = await rooms.attach(peer, { userId: userOf(n) });
          await socket.join('a-room');
        });
        errors = 0;
        const block = await longestBlock(() => rooms.close().catch(onError));
        const done = setting.count - (await reader.getOnlineCount());
        await presence.close();
        await pubsub.close();
        return { ...block, done, errors };
      },
    };
  },
};
