import { PresenceService } from 'rollcall';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createChaosDriver } from '../../src/testing/index.js';
import { nodeRedis, serviceClients, startBackend, startClusterBackend } from '../shared/redis-clients.js';
import { roomGraceBehaviour } from '../shared/room-grace-behaviour.js';
import { period, timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

for (const [name, make] of serviceClients) {
  roomGraceBehaviour(`grace in rooms with ${name}`, () => startBackend(make));
}

roomGraceBehaviour('grace in rooms on a Cluster', startClusterBackend);

describe('a process that dies', () => {
  let server: RedisServer;
  const ends: (() => unknown)[] = [];
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => {
    for (const end of ends) await end();
    await server.stop();
  });

  /** A process that was cut off while ann was in the room, and one that lives. */
  async function crash(prefix: string, grace: number) {
    const changes: string[] = [];
    const options = { prefix, lease: period(900), sweepInterval: 50 };
    const connect = () => {
      const { client, end } = nodeRedis(server.port);
      ends.push(end);
      return client;
    };
    const living = new PresenceService({ redis: connect(), ...options });
    ends.unshift(() => living.close());
    const chaos = createChaosDriver(connect());
    const dying = new PresenceService({
      redis: chaos,
      ...options,
      timeout: timeLimit(600),
      onError: () => {},
    });
    ends.unshift(() => dying.close());
    await living.watchRoom('lobby', ({ type, userId }) => void changes.push(`${type} ${userId}`));
    // Uses the grace.
    await living.join('lobby', 'bob', 's', null, { grace });
    await dying.setPresence('ann', 's');
    await dying.join('lobby', 'ann', 's', 'Ann', { grace });
    chaos.cut();
    const offline = () =>
      waitFor(async () => (await living.getPresence('ann'))?.status === 'offline', {
        timeout: timeLimit(15_000),
      });
    const members = async () => (await living.getRoomMembers('lobby')).map(({ userId }) => userId).sort();
    return { living, changes, offline, members };
  }

  test.concurrent('leaves its members in their grace: who is back in time has not left', async () => {
    const { living, changes, offline, members } = await crash('back', 300_000);
    await offline();
    await waitFor(async () => (await server.cli('ZRANGE', '{back:0}:due', '0', '-1')).includes('ann"lobby'));
    expect(await members()).toEqual(['ann', 'bob']);
    await living.join('lobby', 'ann', 'other', 'Ann', { grace: 300_000 });
    await living.leave('lobby', 'bob', 's');
    await waitFor(() => changes.includes('leave bob'));
    expect(changes).toEqual(['join bob', 'join ann', 'leave bob']);
    expect(await server.cli('ZRANGE', '{back:0}:due', '0', '-1')).not.toContain('lobby');
  });

  test.concurrent('lets its members leave once, after the grace', async () => {
    const { living, changes, members } = await crash('gone', period(500));
    await waitFor(() => changes.includes('leave ann'), { timeout: timeLimit(15_000) });
    expect(await members()).toEqual(['bob']);
    await living.leave('lobby', 'bob', 's');
    await waitFor(() => changes.includes('leave bob'));
    expect(changes).toEqual(['join bob', 'join ann', 'leave ann', 'leave bob']);
  });

  test.concurrent.each<[string, (living: PresenceService) => Promise<unknown>]>([
    ['disconnected', (living) => living.disconnectUser('ann')],
    ['invisible', (living) => living.setStatus('ann', 'invisible')],
  ])('gives no grace to a user who was %s before its death was noticed', async (name, act) => {
    const { living, changes } = await crash(name, 300_000);
    await act(living);
    await waitFor(() => changes.includes('leave ann'), { timeout: timeLimit(15_000) });
  });
});
