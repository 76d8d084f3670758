import { expect, test } from 'vitest';
import { ConnectionStore } from '../../../src/react/connection-store.js';
import { Harness } from '../client/harness.js';

test('why the connection was lost is known to components that mount later, until it is open again', async () => {
  const harness = new Harness();
  await harness.open();
  const store = new ConnectionStore(harness.client);
  store.subscribe(() => {})();
  harness.socket.end(1012, 'restart');
  store.subscribe(() => {});
  expect(store.snapshot()).toMatchObject({ state: 'waiting', lost: { code: 1012, reason: 'restart' } });
  harness.clock.advance(30_000);
  await harness.open();
  expect(store.snapshot()).toMatchObject({ state: 'open', lost: undefined });
  harness.client.close();
});
