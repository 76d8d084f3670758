import { expect, test } from 'vitest';
import { ErrorReporter } from '../../../src/internal/diagnostics.js';
import { PartitionKeys } from '../../../src/presence/keys.js';
import type { PartitionLayout } from '../../../src/presence/partition-layout.js';
import { RoomPresence } from '../../../src/presence/room-presence.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import { DisposableStore } from '../../../src/pubsub/subscribe.js';
import { SubscriptionManager } from '../../../src/pubsub/subscription-manager.js';
import { ClientHandle, SharedClient } from '../../../src/redis/client-handle.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

test('reads of one room run one after another, so that the latest one wins', async () => {
  const driver = new FakeDriver();
  const clock = new FakeClock();
  const session = new SharedClient(driver, () => {});
  const reporter = new ErrorReporter(undefined);
  const rooms = new RoomPresence({
    client: new ClientHandle('PresenceService', session, 500, clock),
    subscriptions: new SubscriptionManager(session, clock),
    keys: [new PartitionKeys('p', 0)],
    layout: { channels: 'channel' } as PartitionLayout,
    disposables: new DisposableStore(),
    context: new ServiceContext(reporter),
    reporter,
  });
  const watching = rooms.watch('lobby', () => {}, undefined);
  const answer = async (version: number, info: string) => {
    driver.pending.at(-1)?.ack([['0', [':ann', `${version}\nnode"s"${info}`]]]);
    await turn();
  };
  await turn();
  driver.only.ack();
  await turn();
  await answer(1, '1');
  const watch = await watching;

  rooms.rereadAll();
  rooms.rereadAll();
  await turn();
  // With both reads in flight, the first could be answered last.
  await answer(2, '2');
  const event = JSON.stringify([['update', 'ann', 3, 3, 1]]);
  driver.message('channel', new PartitionKeys('p', 0).roomEvents('lobby'), event);
  await answer(2, '2');
  expect(watch.current().get('ann')).toMatchObject({ version: 3, info: 3 });
});
