// @ts-check
import { PubSubService } from 'rollcall';
import { connect, tunedClient } from '../support/clients.js';
import { pubsubLibraries } from '../support/competitors.js';
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
 * @param {(channel: string, message: object) => Promise<unknown>} publish
 */
function publisher({ channel, callers, bytes }, publish) {
  const messages = Array.from({ length: VARIETY }, (_, n) => message(n, bytes));
  /** @param {number} count */
  const round = async (count) => {
    await inFlight(callers, count, (n) => publish(channel, /** @type {object} */ (messages[n % VARIETY])));
    return {};
  };
  return { round };
}

/** @type {Record<string, (setting: Setting) => Promise<{ round: Function }>>} */
const competitors = {
  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const pubsub = new PubSubService({ redis });
    await pubsub.connect();
    return publisher(setting, (channel, message) => pubsub.publish(channel, message));
  },

  async client(setting) {
    const client = /** @type {any} */ (await connect(setting.library, setting.port));
    return publisher(setting, (channel, message) => client.publish(channel, JSON.stringify(message)));
  },

  async tuned(setting) {
    const client = await tunedClient(setting.library, setting.port);
    return publisher(setting, (channel, message) => client.publish(channel, JSON.stringify(message)));
  },
};

for (const [name, connectLibrary] of Object.entries(pubsubLibraries)) {
  competitors[name] = async (setting) => {
    const { publish } = await connectLibrary(setting);
    return publisher(setting, publish);
  };
}

export default competitors;
