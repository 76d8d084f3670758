// @ts-check
import { RedisPresence } from '@colyseus/redis-presence';
import { PresenceService } from 'rollcall';
import { connect, tunedClient } from '../support/clients.js';
import { colyseusPresence, handwritten, handwrittenScript } from '../support/handwritten-presence.js';
import { inFlight } from '../support/in-flight.js';
import { socketOf, userOf } from '../support/names.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {number} users
 * @property {boolean} [cached] rollcall has a lookup cache
 * @property {number} [changed] users who change between two lookups
 */

/**
 * @param {Setting} setting
 * @param {(user: string, socket: string) => Promise<unknown>} write
 * @param {(users: string[]) => Promise<number>} read resolves with the number of online users
 */
async function createRunner({ users, library, port, changed = 0 }, write, read) {
  const ids = Array.from({ length: users }, (_, n) => userOf(n));
  await inFlight(1_000, users, (n) => write(userOf(n), socketOf(n)));
  /** Another service of the process, as another server would have it. @type {PresenceService | undefined} */
  let writer;
  let changes = 0;
  const change = async () => {
    const all = Array.from({ length: changed }, () => changes++);
    const status = (/** @type {number} */ n) => (Math.floor(n / users) % 2 === 0 ? 'away' : 'online');
    await Promise.all(all.map((n) => writer?.setPresence(userOf(n % users), 'of-the-writer', status(n))));
  };
  /** @param {number} count users, a multiple of those of one lookup */
  const round = async (count) => {
    let online = 0;
    for (let looked = 0; looked < count; looked += users) {
      await change();
      online += await read(ids);
    }
    return { online };
  };
  if (changed === 0) return { round };
  const redis = /** @type {any} */ (await connect(library, port));
  writer = new PresenceService({ redis, nodeName: 'a-writer' });
  return { round };
}

/**
 * @param {Map<string, { status: string | undefined, socketIds: string[] }>} found
 */
function countOnline(found) {
  let online = 0;
  for (const user of found.values()) if (user.status !== 'offline' && user.socketIds.length > 0) online++;
  return online;
}

/**
 * A record like rollcall's own.
 *
 * @param {string} socket
 */
const record = (socket) =>
  JSON.stringify([
    'online',
    1_780_000_000_000_000,
    1_780_000_000_000,
    [[socket, 'a-server#0123ABCD', 'online', 1_780_000_000_000]],
  ]);

/**
 * @param {Setting} setting
 * @param {any} client
 */
function byHand(setting, client) {
  const { set, get } = handwritten[setting.library](client);
  return createRunner(
    setting,
    (user, socket) => set(user, socket, 'online'),
    async (users) => countOnline(await get(users)),
  );
}

/** @type {Record<string, (setting: Setting) => Promise<{ round: Function }>>} */
const competitors = {
  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const cache = setting.cached ? { lookupCache: {} } : {};
    const presence = new PresenceService({ redis, nodeName: 'a-server', ...cache });
    await presence.connect();
    return createRunner(
      setting,
      // Below the status of the writer's socket, so that each of its changes is one of the user.
      (user, socket) => presence.setPresence(user, socket, setting.changed ? 'away' : 'online'),
      async (users) => countOnline(await presence.getMultiplePresence(users)),
    );
  },

  /** rollcall without the option that `cached` tests. */
  async uncached(setting) {
    return /** @type {any} */ (competitors['rollcall'])({ ...setting, cached: false });
  },

  /** The changes between the lookups, without lookups. */
  async changes(setting) {
    return createRunner(
      setting,
      async () => {},
      async (users) => users.length,
    );
  },

  handwritten: async (setting) => byHand(setting, await connect(setting.library, setting.port)),
  handwrittenTuned: async (setting) => byHand(setting, await tunedClient(setting.library, setting.port)),

  /** One hash per user, without sockets. */
  async handwrittenScript(setting) {
    const client = await tunedClient(setting.library, setting.port);
    const { set, get } = await handwrittenScript[setting.library](client);
    return createRunner(
      setting,
      (user, socket) => set(user, socket, 'online'),
      async (users) => (await get(users)).filter((status) => status === 'online').length,
    );
  },

  async colyseus(setting) {
    const own = new RedisPresence({ host: '127.0.0.1', port: setting.port });
    const { set, get } = colyseusPresence(own);
    return createRunner(
      setting,
      (user, socket) => set(user, socket, 'online'),
      async (users) => countOnline(await get(users)),
    );
  },

  async mget(setting) {
    const client = /** @type {any} */ (await connect(setting.library, setting.port));
    const mget = setting.library === 'ioredis' ? 'mget' : 'mGet';
    return createRunner(
      setting,
      (user, socket) => client.set(`record:${user}`, record(socket)),
      async (users) => {
        /** @type {string[]} */
        const texts = await client[mget](users.map((user) => `record:${user}`));
        const records = texts.map((text) => JSON.parse(text));
        return records.filter(([status, , , sockets]) => status === 'online' && sockets.length === 1).length;
      },
    );
  },
};

export default competitors;
