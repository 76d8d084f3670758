import { expect, test } from 'vitest';
import { ErrorReporter } from '../../../src/internal/diagnostics.js';
import type { PartitionLayout } from '../../../src/presence/partition-layout.js';
import type { PresenceReader } from '../../../src/presence/presence-reader.js';
import { WatchRegistry } from '../../../src/presence/presence-watches.js';
import type { PresenceData } from '../../../src/presence/types.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import { DisposableStore } from '../../../src/pubsub/subscribe.js';
import { SubscriptionManager } from '../../../src/pubsub/subscription-manager.js';
import { ClientHandle, SharedClient } from '../../../src/redis/client-handle.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

const LEASE = 1_000;

function recordOf(userId: string, status: string, version: number): PresenceData {
  return { userId, status, version, lastSeen: new Date(0), socketIds: [], sockets: [] };
}

async function watching(userId: string, status: string, version: number, channels = ['events']) {
  const driver = new FakeDriver({ cluster: true });
  driver.onCall = (call) => call.ack();
  const clock = new FakeClock();
  const session = new SharedClient(driver, () => {});
  const stored = new Map([[userId, recordOf(userId, status, version)]]);
  const unreadable = new Set<string>();
  const lookups: number[] = [];
  const reporter = new ErrorReporter(undefined);
  const watches = new WatchRegistry({
    client: new ClientHandle('PresenceService', session, 500, clock),
    subscriptions: new SubscriptionManager(session, clock),
    channels,
    layout: { channels: 'sharded' } as PartitionLayout,
    disposables: new DisposableStore(),
    context: new ServiceContext(reporter),
    reporter,
    reader: {
      lookup: async () => {
        lookups.push(clock.monotonic());
        return { records: new Map(stored), unreadable: new Set(unreadable) };
      },
    } as unknown as PresenceReader,
    lease: LEASE,
  });
  const reported: string[] = [];
  const watch = await watches.watch([userId], ({ previous, status }) =>
    reported.push(`${previous} ${status}`),
  );
  const announce = (newStatus: string, at: number) =>
    driver.message('sharded', 'events', JSON.stringify([[userId, newStatus, status, 0, at, 1]]));
  return { watches, watch, clock, stored, unreadable, reported, announce, driver, lookups };
}

test('a change that only a replaced master published is reverted one lease after the node returns', async () => {
  const { watches, watch, clock, reported, announce } = await watching('ann', 'busy', 10);
  announce('away', 20);
  expect(reported).toEqual(['busy away']);
  watches.onNodeReturned();
  await turn();
  expect(watch.current().get('ann')).toMatchObject({ status: 'away', version: 20 });
  clock.advance(LEASE);
  await turn();
  expect(watch.current().get('ann')).toMatchObject({ status: 'busy', version: 10 });
  expect(reported).toEqual(['busy away', 'away busy']);
});

test('a change that the new master publishes as well is kept', async () => {
  const { watches, clock, stored, reported, announce } = await watching('ann', 'busy', 10);
  announce('away', 20);
  watches.onNodeReturned();
  await turn();
  stored.set('ann', recordOf('ann', 'online', 30));
  announce('online', 30);
  clock.advance(LEASE);
  await turn();
  expect(reported).toEqual(['busy away', 'away online']);
});

test('a user whose record becomes unreadable keeps the last reported status', async () => {
  const { watches, watch, clock, stored, unreadable, reported } = await watching('ann', 'busy', 10);
  stored.delete('ann');
  unreadable.add('ann');
  watches.onNodeReturned();
  await turn();
  clock.advance(LEASE);
  await turn();
  watches.onWipe();
  await turn();
  expect(watch.get('ann')).toMatchObject({ status: 'busy', version: 10 });
  expect(reported).toEqual([]);
});

test('the loss of many channels at once causes one read of the watched users', async () => {
  const channels = Array.from({ length: 21 }, (_, at) => `events-${at}`);
  const { clock, stored, reported, driver, lookups } = await watching('ann', 'busy', 10, channels);
  expect(lookups).toHaveLength(1);
  stored.set('ann', recordOf('ann', 'online', 30));
  driver.drop(undefined, 'sharded');
  for (let at = 0; at < 10; at++) {
    await turn();
    clock.advance(100);
  }
  expect(reported).toEqual(['busy online']);
  expect(lookups).toHaveLength(2);
});

test('after a loss of data, versions below that of a hidden lastSeen are accepted one lease later', async () => {
  const { watch, clock, stored, reported, announce, lookups } = await watching('ann', 'offline', 1_000);
  const before = lookups.length;
  stored.set('ann', recordOf('ann', 'online', 20));
  announce('online', 20);
  await turn();
  expect(reported).toEqual([]);
  clock.advance(LEASE);
  await turn();
  expect(reported).toEqual(['offline online']);
  expect(watch.current().get('ann')).toMatchObject({ status: 'online', version: 20 });
  expect(lookups).toHaveLength(before + 2);
});
