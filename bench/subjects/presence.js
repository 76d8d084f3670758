// @ts-check
import { PresenceService } from 'rollcall';
import { connect, ioredis, nodeRedis } from '../support/clients.js';
import { inFlight } from '../support/in-flight.js';
import { recipe } from '../support/recipe.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {number} users
 * @property {number} callers
 */

/**
 * @typedef {object} Presence
 * @property {(user: string, socket: string, status: string) => Promise<unknown>} set
 * @property {(user: string, socket: string) => Promise<unknown>} remove
 * @property {() => Promise<number>} online how many users Redis has
 */

/** @param {number} n */
export const userOf = (n) => `user-${String(n).padStart(7, '0')}`;
/** @param {number} n */
export const socketOf = (n) => `socket-${String(n).padStart(13, '0')}`;

/**
 * @param {Setting} setting
 * @returns {Promise<Presence>}
 */
async function rollcall({ library, port }) {
  const redis = /** @type {any} */ (await connect(library, port));
  const presence = new PresenceService({ redis, nodeName: 'a-server' });
  await presence.connect();
  return {
    set: (user, socket, status) => presence.setPresence(user, socket, status),
    remove: (user, socket) => presence.removeSocket(user, socket),
    online: () => presence.onlineCount(),
  };
}

/**
 * @param {Setting} setting
 * @returns {Promise<Presence>}
 */
async function client({ library, port }) {
  return recipe[library](
    /** @type {any} */ (library === 'ioredis' ? await ioredis(port) : await nodeRedis(port)),
  );
}

/**
 * @param {Setting} setting
 * @param {Presence} presence
 */
async function subject({ users, callers }, presence) {
  const all = Array.from({ length: users }, (_, n) => n);
  const storming = callers >= users;
  if (!storming) await inFlight(1_000, users, (n) => presence.set(userOf(n), socketOf(n), 'busy'));
  let calls = 0;
  /** @param {number} count */
  const round = async (count) => {
    if (storming) {
      await Promise.all(all.map((n) => presence.set(userOf(n), socketOf(n), 'online')));
      return {};
    }
    const from = calls;
    calls += count;
    await inFlight(callers, count, (n) => {
      const call = from + n;
      // Every call is a change: in each pass over the users they get another status.
      const status = Math.floor(call / users) % 2 === 0 ? 'online' : 'away';
      return presence.set(userOf(call % users), socketOf(call % users), status);
    });
    return {};
  };
  return {
    /** Before a storm nobody is there. */
    async reset() {
      if (storming) await inFlight(1_000, users, (n) => presence.remove(userOf(n), socketOf(n)));
    },
    round,
    after: async () => ({ online: await presence.online() }),
  };
}

/** @type {Record<string, (setting: Setting) => Promise<{ round: Function }>>} */
export default {
  rollcall: async (setting) => subject(setting, await rollcall(setting)),
  client: async (setting) => subject(setting, await client(setting)),
};
