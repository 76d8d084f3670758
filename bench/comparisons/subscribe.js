// @ts-check
import { PubSubService } from 'rollcall';
import { connect, ioredis, nodeRedis } from '../support/clients.js';
import { pubsubLibraries } from '../support/competitors.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {string} channel prefix of the names of its channels
 * @property {number} channels
 *
 * @typedef {() => unknown} Unsubscribe
 */

/**
 * Subscribes to all channels repeatedly. Each repetition first unsubscribes from all of them, so that one
 * operation is a subscribe and an unsubscribe.
 *
 * @param {Setting} setting
 * @param {(channel: string, handler: () => void) => Promise<Unsubscribe>} subscribe
 * @param {boolean} [oneByOne]
 */
async function createRunner({ channel, channels, port }, subscribe, oneByOne = false) {
  const names = Array.from({ length: channels }, (_, n) => `${channel}-${n}`);
  const control = await ioredis(port);
  const handler = () => {};
  /** @type {Unsubscribe[]} */
  let subscribed = [];
  const resubscribeAll = async () => {
    if (oneByOne) {
      for (const unsubscribe of subscribed) await unsubscribe();
      subscribed = [];
      for (const name of names) subscribed.push(await subscribe(name, handler));
      return;
    }
    await Promise.all(subscribed.map((unsubscribe) => unsubscribe()));
    subscribed = await Promise.all(names.map((name) => subscribe(name, handler)));
  };
  return {
    /** @param {number} count a multiple of the channels */
    async round(count) {
      for (let done = 0; done < count; done += channels) await resubscribeAll();
      return {};
    },
    after: async () => ({ subscribed: (await control.pubsub('CHANNELS', `${channel}-*`)).length }),
  };
}

/** @param {Setting} setting */
async function byHand({ library, port }) {
  if (library === 'node-redis') {
    const client = await nodeRedis(port);
    return async (/** @type {string} */ channel, /** @type {() => void} */ handler) => {
      await client.subscribe(channel, handler);
      return () => client.unsubscribe(channel, handler);
    };
  }
  const client = await ioredis(port);
  return async (/** @type {string} */ channel) => {
    await client.subscribe(channel);
    return () => client.unsubscribe(channel);
  };
}

/** @type {Record<string, (setting: Setting) => Promise<unknown>>} */
const competitors = {
  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const pubsub = new PubSubService({ redis });
    return createRunner(setting, async (channel, handler) => {
      const { unsubscribe } = await pubsub.subscribe(channel, handler);
      return unsubscribe;
    });
  },

  client: async (setting) => createRunner(setting, await byHand(setting), true),
  together: async (setting) => createRunner(setting, await byHand(setting)),
};

for (const [name, connectLibrary] of Object.entries(pubsubLibraries)) {
  competitors[name] = async (setting) => createRunner(setting, (await connectLibrary(setting)).subscribe);
}

export default competitors;
