// @ts-check
import { PresenceService } from 'rollcall';
import { connect, ioredis, nodeRedis } from '../support/clients.js';
import { CHANGES } from '../support/handwritten-presence.js';
import { userOf } from '../support/names.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {number} users who change, one after another
 * @property {number} every the first user of so many is watched
 */

/**
 * Counts the changes of the watched users.
 *
 * @param {Setting} setting
 * @param {(ids: string[], onChange: () => void) => Promise<unknown>} watch
 */
async function createRunner({ users, every }, watch) {
  let seen = 0;
  let expected = -1;
  let done = () => {};
  const ids = Array.from({ length: users / every }, (_, n) => userOf(n * every));
  await watch(ids, () => {
    if (++seen === expected) done();
  });
  return {
    /**
     * @param {number} count changes of all users
     * @param {() => unknown} onReady
     */
    async round(count, onReady) {
      seen = 0;
      expected = count / every;
      await new Promise((resolve) => {
        done = () => resolve(undefined);
        onReady();
      });
      return { calls: seen };
    },
  };
}

/** @type {Record<string, (setting: Setting) => Promise<object>>} */
export default {
  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const presence = new PresenceService({ redis, nodeName: 'a-watcher' });
    return createRunner(setting, (ids, onChange) => presence.watch(ids, onChange));
  },

  /** Without a first state, and without the changes of a lost connection. */
  async handwritten(setting) {
    return createRunner(setting, async (ids, onChange) => {
      const watched = new Map(ids.map((id) => [id, onChange]));
      const receive = (/** @type {string} */ payload) => watched.get(JSON.parse(payload).userId)?.();
      if (setting.library === 'node-redis') {
        await (await nodeRedis(setting.port)).subscribe(CHANGES, receive);
        return;
      }
      const client = await ioredis(setting.port);
      client.on('message', (_, payload) => receive(payload));
      await client.subscribe(CHANGES);
    });
  },
};
