// @ts-check
import { PubSubService } from 'rollcall';
import { connect, tunedClient } from '../support/clients.js';
import { pubsubLibraries } from '../support/competitors.js';
import { appendScript } from '../support/handwritten-history.js';
import { inFlight } from '../support/in-flight.js';
import { message, VARIETY } from '../support/messages.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {string} channel
 * @property {number} callers
 * @property {number} bytes
 * @property {number} [channels] messages take turns on this many channels
 * @property {{ size: number, ttl: number }} [history]
 */

/**
 * @param {Setting} setting
 * @param {(channel: string, message: object) => Promise<unknown>} publish
 */
function publisher({ channel, channels, callers, bytes }, publish) {
  const messages = Array.from({ length: VARIETY }, (_, n) => message(n, bytes));
  /** @param {number} count */
  const round = async (count) => {
    const name =
      channels === undefined ? () => channel : (/** @type {number} */ n) => `${channel}:${n % channels}`;
    await inFlight(callers, count, (n) => publish(name(n), /** @type {object} */ (messages[n % VARIETY])));
    return { published: count };
  };
  return { round };
}

/** @type {Record<string, (setting: Setting) => Promise<{ round: Function }>>} */
const competitors = {
  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const pubsub = new PubSubService({ redis });
    await pubsub.connect();
    const { history } = setting;
    const options = history && { history };
    return publisher(setting, (channel, message) => pubsub.publish(channel, message, options));
  },

  async client(setting) {
    const client = /** @type {any} */ (await connect(setting.library, setting.port));
    return publisher(setting, (channel, message) => client.publish(channel, JSON.stringify(message)));
  },

  async tuned(setting) {
    const client = await tunedClient(setting.library, setting.port);
    return publisher(setting, (channel, message) => client.publish(channel, JSON.stringify(message)));
  },

  async handwrittenScript(setting) {
    const client = await connect(setting.library, setting.port);
    const append = await appendScript(setting.library, client, /** @type {any} */ (setting.history));
    return publisher(setting, (channel, message) => append(channel, JSON.stringify(message)));
  },

  async handwrittenTuned(setting) {
    const client = await tunedClient(setting.library, setting.port);
    const append = await appendScript(setting.library, client, /** @type {any} */ (setting.history));
    return publisher(setting, (channel, message) => append(channel, JSON.stringify(message)));
  },
};

for (const [name, connectLibrary] of Object.entries(pubsubLibraries)) {
  competitors[name] = async (setting) => {
    const { publish } = await connectLibrary(setting);
    return publisher(setting, publish);
  };
}

export default competitors;
