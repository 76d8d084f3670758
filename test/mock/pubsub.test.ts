import { createEmbeddedRedis } from 'rollcall/testing';
import { type Backend, pubsubBehaviour } from '../shared/pubsub-behaviour.js';

/** The methods of ioredis-mock that the raw client calls. */
interface MockClient {
  publish(channel: string, payload: string): Promise<number>;
  subscribe(channel: string): Promise<unknown>;
  psubscribe(pattern: string): Promise<unknown>;
  on(event: string, listener: (...args: string[]) => void): void;
  disconnect(): void;
}

async function start(): Promise<Backend> {
  const redis = await createEmbeddedRedis();
  return {
    client: () => redis.connect(),
    end: (client) => (client as unknown as MockClient).disconnect(),
    raw: async () => {
      const connect = () => redis.connect() as unknown as MockClient;
      const [publisher, subscriber] = [connect(), connect()];
      return {
        publish: async (channel, payload) => void (await publisher.publish(channel, payload)),
        subscribe: async (channel, got) => {
          subscriber.on('message', (from = '', payload = '') => from === channel && got(payload));
          await subscriber.subscribe(channel);
        },
        psubscribe: async (pattern, got) => {
          subscriber.on(
            'pmessage',
            (from, channel = '', payload = '') => from === pattern && got(payload, channel),
          );
          await subscriber.psubscribe(pattern);
        },
        close: async () => {
          publisher.disconnect();
          subscriber.disconnect();
        },
      };
    },
    // The mock lacks PUBSUB CHANNELS. The suite still checks that removed handlers are not called.
    channels: async () => undefined,
    connections: async () => undefined,
    close: () => redis.close(),
  };
}

pubsubBehaviour('the embedded Redis', start, {
  sharded: false,
  gaps: new Map([
    ['error', 'ioredis-mock emits messages as events named after their channel, and "error" throws'],
  ]),
});
