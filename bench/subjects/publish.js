// @ts-check
import { PubSubService } from 'rollcall';
import { connect, ioredis, nodeRedis } from '../support/clients.js';
import { inFlight } from '../support/in-flight.js';
import { message, VARIETY } from '../support/messages.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {string} channel
 * @property {number} callers
 * @property {number} bytes
 */

/**
 * @param {Setting} setting
 * @param {(channel: string, message: object) => Promise<number>} publish resolves with the receivers
 */
function publisher({ channel, callers, bytes }, publish) {
  const messages = Array.from({ length: VARIETY }, (_, n) => message(n, bytes));
  /** @param {number} count */
  const round = async (count) => {
    let receivers = 0;
    await inFlight(callers, count, async (n) => {
      const count = await publish(channel, /** @type {object} */ (messages[n % VARIETY]));
      receivers += count;
    });
    return { receivers };
  };
  return { round };
}

/** @type {Record<string, (setting: Setting) => Promise<{ round: Function }>>} */
export default {
  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const pubsub = new PubSubService({ redis });
    await pubsub.connect();
    return publisher(setting, async (channel, message) => (await pubsub.publish(channel, message)).receivers);
  },

  async client(setting) {
    if (setting.library === 'ioredis') {
      const client = await ioredis(setting.port);
      return publisher(setting, (channel, message) => client.publish(channel, JSON.stringify(message)));
    }
    const client = await nodeRedis(setting.port);
    return publisher(setting, (channel, message) => client.publish(channel, JSON.stringify(message)));
  },

  async tuned(setting) {
    if (setting.library === 'ioredis') {
      const client = (await ioredis(setting.port)).duplicate({ enableAutoPipelining: true });
      return publisher(setting, (channel, message) => client.publish(channel, JSON.stringify(message)));
    }
    const client = (await nodeRedis(setting.port)).withCommandOptions(
      /** @type {any} */ ({ timeout: undefined }),
    );
    return publisher(setting, (channel, message) => client.publish(channel, JSON.stringify(message)));
  },
};
