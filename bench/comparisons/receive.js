// @ts-check
import { PubSubService } from 'rollcall';
import { connect, disconnect, ioredis, nodeRedis } from '../support/clients.js';
import { pubsubLibraries } from '../support/competitors.js';
import { inFlight } from '../support/in-flight.js';
import { message, VARIETY } from '../support/messages.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {string} channel prefix of the names of all its channels
 * @property {number} channels
 * @property {number} handlers for each channel
 * @property {number} bytes
 * @property {boolean} raw
 * @property {{ size: number, ttl: number }} [history] of all channels
 *
 * @typedef {(message: any) => void} Handler
 */

/**
 * Handlers that do the minimum that can be checked: they count the messages and add up one number of each.
 *
 * @param {Setting} setting
 * @param {boolean} raw
 */
function makeHandlers({ channel, channels, handlers }, raw) {
  const tally = { calls: 0, sum: 0, expected: -1, done: () => {} };
  /** @returns {Handler} */
  const make = () =>
    raw
      ? (payload) => {
          tally.sum += payload.length;
          if (++tally.calls === tally.expected) tally.done();
        }
      : (message) => {
          tally.sum += message.n;
          if (++tally.calls === tally.expected) tally.done();
        };
  /** @type {Map<string, Handler[]>} */
  const byChannel = new Map();
  for (let n = 0; n < channels; n++) {
    byChannel.set(`${channel}-${n}`, Array.from({ length: handlers }, make));
  }
  /**
   * @param {number} count messages
   * @param {() => unknown} onReady
   */
  const round = async (count, onReady) => {
    tally.calls = 0;
    tally.sum = 0;
    tally.expected = count * handlers;
    await new Promise((resolve) => {
      tally.done = () => resolve(undefined);
      onReady();
    });
    return { calls: tally.calls, sum: tally.sum };
  };
  return { byChannel, round };
}

/**
 * @param {Setting} setting
 * @param {boolean} raw whether handlers get undecoded payloads
 * @param {(byChannel: Map<string, Handler[]>) => Promise<unknown>} subscribe
 * @param {() => Promise<{ publish: (channel: string, message: object) => unknown, close: () => void }>} createSender
 */
async function createRunner(setting, raw, subscribe, createSender) {
  const { byChannel, round } = makeHandlers(setting, raw);
  await subscribe(byChannel);
  return {
    round,
    /** Publishes every message once, to record the bytes that this competitor sends. */
    async sample() {
      const { publish, close } = await createSender();
      const { channel, channels, bytes } = setting;
      const count = Math.max(VARIETY, channels);
      /** @type {Promise<unknown> | undefined} */
      let published;
      // All messages must have arrived before the measurement starts.
      await round(count, () => {
        published = inFlight(100, count, async (n) =>
          publish(`${channel}-${n % channels}`, message(n % VARIETY, bytes)),
        );
      });
      await published;
      close();
      return { count };
    },
  };
}

/** @param {Setting} setting */
async function plainSender({ library, port }) {
  const client = /** @type {any} */ (await connect(library, port));
  return {
    publish: (/** @type {string} */ channel, /** @type {object} */ message) =>
      client.publish(channel, JSON.stringify(message)),
    close: () => disconnect(client),
  };
}

/**
 * rollcall's own messages with history.
 *
 * @param {PubSubService} pubsub
 * @param {Setting['history']} history
 */
async function historySender(pubsub, history) {
  return {
    publish: (/** @type {string} */ channel, /** @type {object} */ message) =>
      pubsub.publish(channel, message, { history: /** @type {any} */ (history) }),
    close: () => {},
  };
}

/** A missed message would be read from the history, which is not what is measured. */
const onDiscontinuity = () => {
  throw new Error('receive: messages were missed');
};

/** @type {Record<string, (setting: Setting) => Promise<unknown>>} */
const competitors = {
  /** rollcall without the histories. */
  async plain(setting) {
    const { history, ...others } = setting;
    return /** @type {any} */ (competitors['rollcall'])(others);
  },

  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const pubsub = new PubSubService({ redis });
    const { raw, history } = setting;
    const options = history === undefined ? { raw } : { raw, since: 'latest', onDiscontinuity };
    return createRunner(
      setting,
      setting.raw,
      async (byChannel) => {
        const all = [...byChannel].flatMap(([channel, list]) =>
          list.map((handler) => ({ channel, handler })),
        );
        await inFlight(1_000, all.length, async (n) => {
          const { channel, handler } = /** @type {(typeof all)[0]} */ (all[n]);
          await pubsub.subscribe(channel, handler, /** @type {any} */ (options));
        });
      },
      () => (history === undefined ? plainSender(setting) : historySender(pubsub, history)),
    );
  },

  async client(setting) {
    /** @type {(list: Handler[], payload: string) => void} */
    const receive = setting.raw
      ? (list, payload) => {
          for (const handler of list) handler(payload);
        }
      : (list, payload) => {
          const message = JSON.parse(payload);
          for (const handler of list) handler(message);
        };
    return createRunner(
      setting,
      setting.raw,
      async (byChannel) => {
        if (setting.library === 'node-redis') {
          const client = await nodeRedis(setting.port);
          for (const [channel, list] of byChannel) {
            await client.subscribe(channel, (payload) => receive(list, payload));
          }
          return;
        }
        const client = await ioredis(setting.port);
        client.on('message', (channel, payload) => {
          const list = byChannel.get(channel);
          if (list !== undefined) receive(list, payload);
        });
        await client.subscribe(...byChannel.keys());
      },
      () => plainSender(setting),
    );
  },
};

for (const [name, connectLibrary] of Object.entries(pubsubLibraries)) {
  competitors[name] = (setting) =>
    createRunner(
      setting,
      false,
      async (byChannel) => {
        const bus = await connectLibrary(setting);
        for (const [channel, list] of byChannel) {
          await Promise.all(list.map((handler) => bus.subscribe(channel, handler)));
        }
      },
      () => connectLibrary(setting),
    );
}

export default competitors;
