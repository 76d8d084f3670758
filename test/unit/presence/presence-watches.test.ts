import { expect, test } from 'vitest';
import { ErrorReporter } from '../../../src/internal/diagnostics.js';
import type { PartitionLayout } from '../../../src/presence/partition-layout.js';
import type { PresenceReader } from '../../../src/presence/presence-reader.js';
import { WatchRegistry } from '../../../src/presence/presence-watches.js';
import type { PresenceData } from '../../../src/presence/types.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import { DisposableStore } from '../../../src/pubsub/subscribe.js';
import { SubscriptionManager } from '../../../src/pubsub/subscription-manager.js';
import { ClientHandle } from '../../../src/redis/client-handle.js';
import { SharedClient } from '../../../src/redis/shared-client.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

const LEASE = 1_000;

function recordOf(userId: string, status: string, version: number): PresenceData {
  return { userId, status, version, lastSeen: new Date(0), socketIds: [], sockets: [] };
}

async function watching(userId: string, status: string, version: number) {
  const driver = new FakeDriver({ cluster: true });
  driver.onCall = (call) => call.ack();
  const clock = new FakeClock();
  const session = new SharedClient(driver, () => {});
  const stored = new Map([[userId, recordOf(userId, status, version)]]);
  const reporter = new ErrorReporter(undefined);
  const watches = new WatchRegistry({
    client: new ClientHandle('PresenceService', session, 500, clock),
    subscriptions: new SubscriptionManager(session, clock),
    channels: ['events'],
    layout: { channels: 'sharded' } as PartitionLayout,
    disposables: new DisposableStore(),
    context: new ServiceContext(reporter),
    reporter,
    reader: { lookup: async () => new Map(stored) } as unknown as PresenceReader,
    lease: LEASE,
  });
  const told: string[] = [];
  const watch = await watches.watch([userId], ({ previous, status }) => told.push(`${previous} ${status}`));
  const announce = (news: string, at: number) =>
    driver.message('sharded', 'events', JSON.stringify([[userId, news, status, 0, at, 1]]));
  return { watches, watch, clock, stored, told, announce };
}

test('what a replaced master announced, however new it looks, is unlearnt within a lease of its return', async () => {
  const { watches, watch, clock, told, announce } = await watching('ann', 'busy', 10);
  announce('away', 20);
  expect(told).toEqual(['busy away']);
  watches.onNodeReturned();
  await turn();
  expect(watch.current().get('ann')).toMatchObject({ status: 'away', version: 20 });
  clock.advance(LEASE);
  await turn();
  expect(watch.current().get('ann')).toMatchObject({ status: 'busy', version: 10 });
  expect(told).toEqual(['busy away', 'away busy']);
});

test('what is news to its successor, too, stays', async () => {
  const { watches, clock, stored, told, announce } = await watching('ann', 'busy', 10);
  announce('away', 20);
  watches.onNodeReturned();
  await turn();
  stored.set('ann', recordOf('ann', 'online', 30));
  announce('online', 30);
  clock.advance(LEASE);
  await turn();
  expect(told).toEqual(['busy away', 'away online']);
});
