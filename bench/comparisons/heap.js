// @ts-check
import { setTimeout as sleep } from 'node:timers/promises';
import { PresenceService, PubSubService } from 'rollcall';
import { connect, ioredis, nodeRedis } from '../support/clients.js';
import { inFlight } from '../support/in-flight.js';
import { socketOf, userOf } from '../support/names.js';

/** @typedef {{ library: import('../support/clients.js').Library, port: number }} Setting */

/** What a call leaves behind for its deadline is gone soon after it. */
const TIMEOUT = 1_000;

/** Bytes of heap in use, without what can be collected. Needs `--expose-gc`. */
async function heap() {
  await sleep(1.5 * TIMEOUT);
  for (let turn = 0; turn < 3; turn++) {
    await sleep(20);
    globalThis.gc?.();
  }
  return process.memoryUsage().heapUsed;
}

/**
 * How many bytes of heap each of `count` things takes; their names are not counted.
 *
 * @param {(n: number) => string[]} namesOf
 * @param {(...names: string[]) => Promise<unknown>} add resolves with what its caller keeps
 */
function createRunner(namesOf, add) {
  return {
    /** @param {number} count */
    async round(count) {
      // Flat strings, as a server would have got them, and JIT-compiled code, before anything is measured.
      const names = Array.from({ length: count + 1_000 }, (_, n) =>
        namesOf(n).map((name) => JSON.parse(`"${name}"`)),
      );
      const kept = new Array(names.length);
      const addAt = async (/** @type {number} */ n) => {
        kept[n] = await add(.../** @type {string[]} */ (names[n]));
      };
      await inFlight(1_000, 1_000, addAt);
      const before = await heap();
      await inFlight(1_000, count, (n) => addAt(1_000 + n));
      const after = await heap();
      return { bytes: (after - before) / count, kept: kept.filter(Boolean).length };
    },
  };
}

const handler = () => {};
/** @param {number} n */
const channelOf = (n) => [`channel-${n}`];
/** @param {number} n */
const socketNames = (n) => [userOf(n), socketOf(n)];

/** @type {Record<string, (setting: Setting) => Promise<object>>} */
export default {
  async rollcall({ library, port }) {
    const redis = /** @type {any} */ (await connect(library, port));
    const pubsub = new PubSubService({ redis, timeout: TIMEOUT });
    return createRunner(channelOf, (channel = '') => pubsub.subscribe(channel, handler));
  },

  async client({ library, port }) {
    if (library === 'node-redis') {
      const client = await nodeRedis(port);
      return createRunner(channelOf, async (channel = '') => {
        await client.subscribe(channel, handler);
        return true;
      });
    }
    const client = await ioredis(port);
    return createRunner(channelOf, async (channel = '') => {
      await client.subscribe(channel);
      return true;
    });
  },

  async sockets({ library, port }) {
    const redis = /** @type {any} */ (await connect(library, port));
    const presence = new PresenceService({ redis, nodeName: 'a-server', timeout: TIMEOUT });
    await presence.connect();
    return createRunner(socketNames, async (user = '', socket = '') => {
      await presence.setPresence(user, socket);
      return true;
    });
  },
};
