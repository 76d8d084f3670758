import { describe, expect, test } from 'vitest';
import { createRollcall } from '../../src/index.js';
import { allClients, pools } from '../shared/redis-clients.js';
import { startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// An application that ends closes its client and rollcall in any order. rollcall must not open the client again.

interface Closable {
  isOpen?: boolean;
  status?: string;
  close?(): Promise<unknown>;
  quit?(): Promise<unknown>;
  connect(): Promise<unknown>;
  on(event: string, listener: () => void): unknown;
}

const isClosed = (client: Closable) =>
  client.isOpen === undefined ? client.status === 'end' : !client.isOpen;
const closeClient = (client: Closable) => (client.isOpen === undefined ? client.quit?.() : client.close?.());

describe.each(Object.entries({ ...allClients, ...pools }))('%s', (_name, make) => {
  test.each(['the client first', 'both at once', 'rollcall first'])(
    'closing %s leaves the client closed',
    async (order) => {
      const server = await startRedis();
      const { client, end } = make(server.port);
      const given = client as unknown as Closable;
      const rollcall = createRollcall({ redis: client, onError: null });
      try {
        await rollcall.presence.setPresence('ann', 's');
        await rollcall.pubsub.subscribe('x', () => {});
        let connected = 0;
        given.on('connect', () => connected++);
        const began = performance.now();
        if (order === 'the client first') {
          await closeClient(given);
          await rollcall.close();
        } else if (order === 'both at once') await Promise.all([closeClient(given), rollcall.close()]);
        else {
          await rollcall.close();
          await closeClient(given);
        }
        expect(performance.now() - began).toBeLessThan(5_000);
        await waitFor(() => isClosed(given));
        await waitFor(async () => (await server.cli('INFO', 'clients')).includes('connected_clients:1'));
        expect(connected).toBe(0);
      } finally {
        await rollcall.close();
        end();
        await server.stop();
      }
    },
  );

  test('calls reject at once with the reason after the owner has closed the client, until it is connected again', async () => {
    const server = await startRedis();
    const { client, end } = make(server.port);
    const given = client as unknown as Closable;
    const rollcall = createRollcall({ redis: client, onError: null });
    try {
      await rollcall.pubsub.publish('x', 1);
      await closeClient(given);
      await waitFor(() => isClosed(given));
      const began = performance.now();
      await expect(rollcall.pubsub.publish('x', 2)).rejects.toThrow('its owner has closed it');
      await expect(rollcall.presence.setPresence('ann', 's')).rejects.toThrow('its owner has closed it');
      expect(performance.now() - began).toBeLessThan(2_000);
      expect(isClosed(given)).toBe(true);
      await given.connect();
      expect(await rollcall.pubsub.publish('x', 3)).toEqual({ receivers: 0 });
    } finally {
      await rollcall.close();
      end();
      await server.stop();
    }
  });
});
