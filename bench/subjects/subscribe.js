// @ts-check
import { PubSubService } from 'rollcall';
import { connect, ioredis, nodeRedis } from '../support/clients.js';
import { peers } from '../support/peers.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {string} channel what the names of its channels begin with
 * @property {number} channels
 *
 * @typedef {() => unknown} Unsubscribe
 */

/**
 * Subscribes to all channels again and again; those of the time before are left first, so that one
 * operation is a subscribe and an unsubscribe.
 *
 * @param {Setting} setting
 * @param {(channel: string, handler: () => void) => Promise<Unsubscribe>} subscribe
 * @param {boolean} [oneByOne]
 */
async function subject({ channel, channels, port }, subscribe, oneByOne = false) {
  const names = Array.from({ length: channels }, (_, n) => `${channel}-${n}`);
  const control = await ioredis(port);
  const handler = () => {};
  /** @type {Unsubscribe[]} */
  let joined = [];
  const turn = async () => {
    if (oneByOne) {
      for (const unsubscribe of joined) await unsubscribe();
      joined = [];
      for (const name of names) joined.push(await subscribe(name, handler));
      return;
    }
    await Promise.all(joined.map((unsubscribe) => unsubscribe()));
    joined = await Promise.all(names.map((name) => subscribe(name, handler)));
  };
  return {
    /** @param {number} count a multiple of the channels */
    async round(count) {
      for (let done = 0; done < count; done += channels) await turn();
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
const contenders = {
  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const pubsub = new PubSubService({ redis });
    return subject(setting, async (channel, handler) => {
      const { unsubscribe } = await pubsub.subscribe(channel, handler);
      return unsubscribe;
    });
  },

  client: async (setting) => subject(setting, await byHand(setting), true),
  together: async (setting) => subject(setting, await byHand(setting)),
};

for (const [name, connectPeer] of Object.entries(peers)) {
  contenders[name] = async (setting) => subject(setting, (await connectPeer(setting)).subscribe);
}

export default contenders;
