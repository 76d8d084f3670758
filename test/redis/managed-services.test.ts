import { afterEach, describe, expect, test } from 'vitest';
import { createRollcall, defineChannel } from '../../src/index.js';
import { ioredis, nodeRedis } from '../shared/redis-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// Managed services deny commands. The profiles are those of docs/topologies.md: such a server does not know the commands.

const PROFILES = {
  ElastiCache: [
    'BGREWRITEAOF',
    'BGSAVE',
    'CONFIG',
    'DEBUG',
    'MIGRATE',
    'REPLICAOF',
    'SAVE',
    'SLAVEOF',
    'SHUTDOWN',
    'SYNC',
  ],
  'Memorystore for Redis': [
    ...[
      'ACL',
      'BGREWRITEAOF',
      'BGSAVE',
      'CLIENT',
      'CLUSTER',
      'COMMAND',
      'CONFIG',
      'DEBUG',
      'LASTSAVE',
      'MIGRATE',
    ],
    ...['MONITOR', 'OBJECT', 'SHUTDOWN', 'REPLICAOF', 'SAVE'],
  ],
  'Redis Cloud': [
    'ACL',
    'BGREWRITEAOF',
    'BGSAVE',
    'CONFIG',
    'DEBUG',
    'MIGRATE',
    'MONITOR',
    'RESET',
    'SELECT',
    'SHUTDOWN',
  ],
};

let server: RedisServer | undefined;
afterEach(() => server?.stop());

describe.each(Object.entries(PROFILES))('with the commands that %s denies', (_service, denied) => {
  test.each([
    ['node-redis', nodeRedis],
    ['ioredis', ioredis],
  ])('messages, history and presence work with %s, and nothing is reported', async (_client, maker) => {
    server = await startRedis({ args: denied.flatMap((command) => ['--rename-command', command, '']) });
    const { client, end } = maker(server.port);
    const errors: unknown[] = [];
    const { pubsub, presence, close } = createRollcall({
      redis: client,
      onError: (error) => errors.push(error),
    });
    const channel = defineChannel<number>()('numbers:{id}', { history: { size: 10, ttl: 60_000 } })({
      id: '1',
    });
    const received: unknown[] = [];
    await pubsub.subscribe(channel, (number) => received.push(number));
    await pubsub.subscribe('plain', (text) => received.push(text));
    const { position } = await pubsub.publish(channel, 1);
    await pubsub.publish(channel, 2);
    await pubsub.publish('plain', 'text');
    await waitFor(() => received.length === 3);
    expect(new Set(received)).toEqual(new Set([1, 2, 'text']));
    const { channels } = await pubsub.recover({ channels: [[channel, position as string]] });
    expect(channels.get(channel.name)?.messages).toMatchObject([{ message: 2 }]);
    await presence.setPresence('ann', 'socket-1', 'online');
    expect((await presence.getMultiplePresence(['ann'])).get('ann')).toMatchObject({ status: 'online' });
    await presence.removeSocket('ann', 'socket-1');
    expect(errors).toEqual([]);
    await close();
    await end();
  });
});
