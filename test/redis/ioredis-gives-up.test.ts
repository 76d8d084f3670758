import type { EventEmitter } from 'node:events';
import { Redis as IoredisFive } from 'ioredis';
import { Redis as IoredisSix } from 'ioredis6';
import { expect, test } from 'vitest';
import { createRollcall, type RedisClient } from '../../src/index.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { waitFor } from '../support/wait.js';

// ioredis with sentinels ends for good when it is disconnected while it asks the sentinels for the master. Its own
// `failoverDetector` does that when a master is killed and the sentinels answer slowly. rollcall connects such a client again.

interface SentinelClient extends EventEmitter {
  status: string;
  disconnect(reconnect?: boolean): void;
}

interface Options {
  sentinels: { host: string; port: number }[];
  name: string;
}

/** Resolves after `end`, if the client is disconnected while it asks the sentinels. */
async function endWhileConnecting(client: SentinelClient, reconnect: boolean): Promise<void> {
  const ended = new Promise<void>((resolve) => void client.once('end', resolve));
  client.once('connecting', () => client.disconnect(reconnect));
  client.disconnect(true);
  await ended;
}

test.each([
  ['ioredis 5', (options: Options) => new IoredisFive(options)],
  ['ioredis 6', (options: Options) => new IoredisSix(options)],
] as const)(
  '%s: a client that gave up is connected again, one that its owner closed is not',
  async (_, make) => {
    const fixture = await startRedisSentinel({ replicas: 1, sentinels: 1 });
    const sentinels = fixture.sentinels.map((port) => ({ host: '127.0.0.1', port }));
    const redis = make({ sentinels, name: fixture.name });
    const client = redis as unknown as SentinelClient;
    client.on('error', () => {});
    const rollcall = createRollcall({ redis: redis as unknown as RedisClient, onError: null });
    try {
      await rollcall.presence.setPresence('ann', 's');
      await endWhileConnecting(client, true);
      await waitFor(async () => (await rollcall.presence.setPresence('ann', 's', 'busy')).status === 'busy');

      await endWhileConnecting(client, false);
      let connecting = 0;
      client.on('connecting', () => connecting++);
      await expect(rollcall.presence.getPresence('ann')).rejects.toThrow('its owner has closed it');
      const end = performance.now() + 500;
      await waitFor(() => performance.now() > end);
      expect({ connecting, status: client.status }).toEqual({ connecting: 0, status: 'end' });
    } finally {
      await rollcall.close();
      client.disconnect();
      await fixture.stop();
    }
  },
);
