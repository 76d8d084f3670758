import type { RawClient } from '../shared/pubsub-behaviour.js';
import { RespConnection } from './resp.js';

const COMMAND_MS = 5_000;

/** Another program's client of the server at `port`. */
export async function rawClient(port: number): Promise<RawClient> {
  const listeners: ((reply: string[]) => void)[] = [];
  const publisher = await RespConnection.open(port, COMMAND_MS);
  const subscriber = await RespConnection.open(port, COMMAND_MS, (reply) => {
    for (const listener of listeners) listener(reply as string[]);
  });
  return {
    publish: async (channel, payload) =>
      void (await publisher.send(['PUBLISH', channel, payload], COMMAND_MS)),
    subscribe: async (channel, got) => {
      listeners.push(
        ([kind, from, payload]) => kind === 'message' && from === channel && got(payload as string),
      );
      await subscriber.send(['SUBSCRIBE', channel], COMMAND_MS);
    },
    psubscribe: async (pattern, got) => {
      listeners.push(
        ([kind, from, channel, payload]) =>
          kind === 'pmessage' && from === pattern && got(payload as string, channel as string),
      );
      await subscriber.send(['PSUBSCRIBE', pattern], COMMAND_MS);
    },
    close: async () => {
      publisher.close();
      subscriber.close();
    },
  };
}
