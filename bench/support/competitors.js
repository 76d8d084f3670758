// @ts-check
import { RedisPresence } from '@colyseus/redis-presence';
import { createRedisEventTarget } from '@graphql-yoga/redis-event-target';
import { createAdapter } from '@socket.io/redis-adapter';
import { RedisPubSub } from 'graphql-redis-subscriptions';
import makeEmitter from 'mqemitter-redis';
import { connect, disconnect, ioredis, nodeRedis } from './clients.js';

/**
 * Publish/subscribe of a library, used as its documentation shows. If the library does not report when Redis
 * has replied, the client that is passed to it does.
 *
 * @typedef {object} Bus
 * @property {(channel: string, message: object) => Promise<unknown>} publish
 * @property {(channel: string, handler: (message: any) => void) => Promise<() => unknown>} subscribe
 *   resolves with the function that unsubscribes
 * @property {() => void} close
 *
 * @typedef {{ library: import('./clients.js').Library, port: number }} Where
 */

/** The libraries for each client; most work with ioredis only. */
export const pubsubLibraryNames = {
  ioredis: ['graphql', 'yoga', 'mqemitter', 'colyseus', 'socketio'],
  'node-redis': ['socketio'],
};

/** @type {Record<string, (where: Where) => Promise<Bus>>} */
export const pubsubLibraries = {
  async graphql({ port }) {
    const [publisher, subscriber] = [await ioredis(port), await ioredis(port)];
    const pubsub = new RedisPubSub({ publisher, subscriber });
    return {
      publish: (channel, message) => pubsub.publish(channel, message),
      async subscribe(channel, handler) {
        const id = await pubsub.subscribe(channel, handler);
        return () => pubsub.unsubscribe(id);
      },
      close: () => disconnect(publisher, subscriber),
    };
  },

  async yoga({ port }) {
    const [publisher, subscriber] = [await ioredis(port), await ioredis(port)];
    /** @type {Promise<unknown> | undefined} */
    let lastReply;
    /** @param {Promise<unknown>} reply */
    const track = (reply) => {
      lastReply = reply;
      return reply;
    };
    const target = createRedisEventTarget({
      publishClient: /** @type {any} */ ({
        publish: (/** @type {string} */ channel, /** @type {string} */ text) =>
          track(publisher.publish(channel, text)),
      }),
      subscribeClient: /** @type {any} */ ({
        on: subscriber.on.bind(subscriber),
        subscribe: (/** @type {string} */ channel) => track(subscriber.subscribe(channel)),
        unsubscribe: (/** @type {string} */ channel) => track(subscriber.unsubscribe(channel)),
      }),
    });
    return {
      publish(channel, message) {
        target.dispatchEvent(/** @type {any} */ (new CustomEvent(channel, { detail: message })));
        return /** @type {Promise<unknown>} */ (lastReply);
      },
      async subscribe(channel, handler) {
        const listener = (/** @type {any} */ event) => handler(event.detail);
        target.addEventListener(channel, listener);
        await lastReply;
        return () => {
          target.removeEventListener(channel, listener);
          return lastReply;
        };
      },
      close: () => disconnect(publisher, subscriber),
    };
  },

  async mqemitter({ port }) {
    // mqemitter drops ids that it has seen recently, and the load repeats ids: keep its cache small.
    const emitter = makeEmitter(/** @type {any} */ ({ host: '127.0.0.1', port, maxLRUCache: 500 }));
    return {
      publish: (channel, message) =>
        new Promise((resolve, reject) => {
          emitter.emit({ topic: channel, payload: message }, (/** @type {any} */ error) => {
            if (error) reject(error);
            else resolve(undefined);
          });
        }),
      async subscribe(channel, handler) {
        const listener = (/** @type {any} */ message, /** @type {() => void} */ done) => {
          handler(message.payload);
          done();
        };
        await new Promise((resolve) => emitter.on(channel, listener, () => resolve(undefined)));
        return () =>
          new Promise((resolve) => emitter.removeListener(channel, listener, () => resolve(undefined)));
      },
      close: () => emitter.close(() => {}),
    };
  },

  async colyseus({ port }) {
    const presence = new RedisPresence({ host: '127.0.0.1', port });
    presence.setMaxListeners(0);
    return {
      publish: (channel, message) => presence.publish(channel, message),
      async subscribe(channel, handler) {
        await presence.subscribe(channel, handler);
        return () => presence.unsubscribe(channel, handler);
      },
      close: () => presence.shutdown(),
    };
  },

  /** A room for each channel, a local socket for each handler; packets for sockets are not encoded. */
  async socketio({ library, port }) {
    const publisher = /** @type {any} */ (await connect(library, port));
    const subscriber = /** @type {any} */ (
      library === 'ioredis' ? await ioredis(port) : await nodeRedis(port)
    );
    /** @type {Promise<unknown> | undefined} */
    let lastReply;
    const publishing = {
      publish(/** @type {string} */ channel, /** @type {Buffer} */ payload) {
        lastReply = publisher.publish(channel, payload);
        return lastReply;
      },
      on: () => {},
      listenerCount: () => 2,
      ...(library === 'node-redis' ? { pSubscribe: () => {} } : {}),
    };
    const namespace = {
      name: '/',
      sockets: new Map(),
      server: { encoder: { encode: (/** @type {object} */ packet) => [packet] } },
    };
    const adapter = /** @type {any} */ (createAdapter(publishing, subscriber)(namespace));
    await subscriber.ping();
    let sockets = 0;
    return {
      publish(channel, message) {
        const to = { rooms: new Set([channel]), except: new Set(), flags: {} };
        adapter.broadcast({ type: 2, data: ['message', message] }, to);
        return /** @type {Promise<unknown>} */ (lastReply);
      },
      async subscribe(channel, handler) {
        const id = `socket-${sockets++}`;
        const writeToEngine = (/** @type {any} */ packets) => handler(packets[0].data[1]);
        namespace.sockets.set(id, { client: { writeToEngine } });
        adapter.addAll(id, new Set([channel]));
        return () => {
          adapter.delAll(id);
          namespace.sockets.delete(id);
        };
      },
      close: () => disconnect(publisher, subscriber),
    };
  },
};
