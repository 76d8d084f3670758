import { createEmbeddedRedis } from 'rollcall/testing';
import { type HistoryBackend, historyBehaviour } from '../shared/history-behaviour.js';

/** The methods of ioredis-mock that the raw client calls. */
interface MockClient {
  subscribe(channel: string): Promise<unknown>;
  on(event: string, listener: (...args: string[]) => void): void;
  [command: string]: (...args: never[]) => unknown;
}

async function start(): Promise<HistoryBackend> {
  const redis = await createEmbeddedRedis();
  const connect = () => redis.connect() as unknown as MockClient;
  const commands = connect();
  return {
    client: () => redis.connect(),
    listen: async (channel, got) => {
      const subscriber = connect();
      subscriber.on('message', (from = '', payload = '') => from === channel && got(payload));
      await subscriber.subscribe(channel);
    },
    run: async (name, ...args) => commands[name.toLowerCase()]?.(...(args as never[])),
    end: () => redis.close(),
  };
}

historyBehaviour('the embedded Redis', start, { embedded: true });
