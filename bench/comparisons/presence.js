// @ts-check
import { RedisPresence } from '@colyseus/redis-presence';
import { PresenceService } from 'rollcall';
import { connect, ioredis, nodeRedis, tunedClient } from '../support/clients.js';
import {
  colyseusPresence,
  countOnline,
  handwritten,
  handwrittenScript,
} from '../support/handwritten-presence.js';
import { inFlight } from '../support/in-flight.js';
import { socketOf, userOf } from '../support/names.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {number} users
 * @property {number} callers
 * @property {'change' | 'storm' | 'leave'} what
 */

/**
 * @typedef {object} Presence
 * @property {(user: string, socket: string, status: string) => Promise<unknown>} set
 * @property {(user: string, socket: string) => Promise<unknown>} remove
 * @property {() => Promise<number>} online how many users Redis has
 */

/** For what is not measured. */
const MANY = 1_000;

/**
 * Users change status: every call is a change, in each pass over them they get another one.
 *
 * @param {Setting} setting
 * @param {Presence} presence
 */
async function change({ users, callers }, presence) {
  await inFlight(MANY, users, (n) => presence.set(userOf(n), socketOf(n), 'busy'));
  let calls = 0;
  return {
    /** @param {number} count */
    async round(count) {
      const from = calls;
      calls += count;
      await inFlight(callers, count, (n) => {
        const call = from + n;
        const status = Math.floor(call / users) % 2 === 0 ? 'online' : 'away';
        return presence.set(userOf(call % users), socketOf(call % users), status);
      });
      return {};
    },
    after: async () => ({ online: await presence.online() }),
  };
}

/**
 * Users who are all offline arrive at once.
 *
 * @param {Setting} setting
 * @param {Presence} presence
 */
async function storm({ users }, presence) {
  const all = Array.from({ length: users }, (_, n) => n);
  let online = false;
  return {
    async reset() {
      // The removal of a socket that nobody registered is remembered for a while, which would make the round more expensive.
      if (online) await inFlight(MANY, users, (n) => presence.remove(userOf(n), socketOf(n)));
    },
    async round() {
      online = true;
      await Promise.all(all.map((n) => presence.set(userOf(n), socketOf(n), 'online')));
      return {};
    },
    after: async () => ({ online: await presence.online() }),
  };
}

/**
 * Users lose their only socket.
 *
 * @param {Setting} setting
 * @param {Presence} presence
 */
async function leave({ users, callers }, presence) {
  return {
    reset: () => inFlight(MANY, users, (n) => presence.set(userOf(n), socketOf(n), 'online')),
    /** @param {number} count */
    async round(count) {
      await inFlight(callers, count, (n) => presence.remove(userOf(n), socketOf(n)));
      return {};
    },
    after: async () => ({ online: await presence.online() }),
  };
}

const kinds = { change, storm, leave };

/** @type {Record<string, (setting: Setting) => Promise<{ round: Function }>>} */
export default {
  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const presence = new PresenceService({ redis, nodeName: 'a-server' });
    await presence.connect();
    return kinds[setting.what](setting, {
      set: (user, socket, status) => presence.setPresence(user, socket, status),
      remove: (user, socket) => presence.removeSocket(user, socket),
      online: () => presence.getOnlineCount(),
    });
  },

  async handwritten(setting) {
    const { library, port } = setting;
    const control = await ioredis(port);
    const client = /** @type {any} */ (library === 'ioredis' ? await ioredis(port) : await nodeRedis(port));
    const own = handwritten[library](client);
    return kinds[setting.what](setting, { ...own, online: () => countOnline(control) });
  },

  async handwrittenTuned(setting) {
    const { library, port } = setting;
    const control = await ioredis(port);
    const client = await tunedClient(library, port);
    const own = handwritten[library](client);
    return kinds[setting.what](setting, { ...own, online: () => countOnline(control) });
  },

  async handwrittenScript(setting) {
    const { library, port } = setting;
    const control = await ioredis(port);
    const client = await tunedClient(library, port);
    const own = await handwrittenScript[library](client);
    return kinds[setting.what](setting, { ...own, online: () => countOnline(control) });
  },

  async colyseus(setting) {
    const { port } = setting;
    const control = await ioredis(port);
    const own = colyseusPresence(new RedisPresence({ host: '127.0.0.1', port }));
    return kinds[setting.what](setting, { ...own, online: () => countOnline(control) });
  },
};
