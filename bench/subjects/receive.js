// @ts-check
import { PubSubService } from 'rollcall';
import { connect, ioredis, nodeRedis } from '../support/clients.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {string} channel
 * @property {number} handlers
 * @property {boolean} raw
 */

/**
 * Handlers that do the least that can be checked: they count, and add up what they get.
 *
 * @param {Setting} setting
 */
function makeHandlers({ handlers, raw }) {
  const tally = { calls: 0, sum: 0, expected: -1, done: () => {} };
  const make = raw
    ? () => (/** @type {any} */ payload) => {
        tally.sum += payload.length;
        if (++tally.calls === tally.expected) tally.done();
      }
    : () => (/** @type {any} */ message) => {
        tally.sum += message.n;
        if (++tally.calls === tally.expected) tally.done();
      };
  const list = Array.from({ length: handlers }, make);
  /**
   * @param {number} count messages
   * @param {() => void} armed
   */
  const round = async (count, armed) => {
    tally.calls = 0;
    tally.sum = 0;
    tally.expected = count * handlers;
    await new Promise((resolve) => {
      tally.done = () => resolve(undefined);
      armed();
    });
    return { calls: tally.calls, sum: tally.sum };
  };
  return { list, round };
}

/** @type {Record<string, (setting: Setting) => Promise<{ round: Function }>>} */
export default {
  async rollcall(setting) {
    const { list, round } = makeHandlers(setting);
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const pubsub = new PubSubService({ redis });
    for (const handler of list) await pubsub.subscribe(setting.channel, handler, { raw: setting.raw });
    return { round };
  },

  async client(setting) {
    const { list, round } = makeHandlers(setting);
    /** @type {(payload: string) => void} */
    const receive = setting.raw
      ? (payload) => {
          for (const handler of list) handler(payload);
        }
      : (payload) => {
          const message = JSON.parse(payload);
          for (const handler of list) handler(message);
        };
    if (setting.library === 'node-redis') {
      const client = await nodeRedis(setting.port);
      await client.subscribe(setting.channel, (payload) => receive(payload));
    } else {
      const client = await ioredis(setting.port);
      client.on('message', (_channel, payload) => receive(payload));
      await client.subscribe(setting.channel);
    }
    return { round };
  },
};
