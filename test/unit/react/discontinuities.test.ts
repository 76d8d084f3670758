import { expect, test } from 'vitest';
import { ClientRegistry } from '../../../src/react/registry.js';
import { RoomStore } from '../../../src/react/room-store.js';
import { turn } from '../../support/fake-clock.js';
import { Harness } from '../client/harness.js';

test('gaps are shown as long as the list has their place, and at most as many as its limit', async () => {
  const harness = new Harness();
  const socket = await harness.open();
  const list = { key: '*', names: undefined, limit: 3, last: 0 };
  const store = new RoomStore(ClientRegistry.of(harness.client), 'lobby', {}, list);
  const unmount = store.subscribe(() => {});
  await turn();
  socket.answer('join', {});
  const gap = (reason: string) =>
    socket.receive({ type: 'discontinuity', room: 'lobby', reason, since: 1, recovered: false });
  const receive = (data: number) =>
    socket.receive({ type: 'event', room: 'lobby', event: 'message', from: 'bob', data });
  const shown = () => store.snapshot().discontinuities.map(({ reason }) => reason);
  // Before the first event.
  gap('first');
  for (const n of [1, 2, 3]) receive(n);
  expect(shown()).toEqual(['first']);
  gap('after 3');
  receive(4);
  expect(shown()).toEqual(['after 3']);
  for (const n of [5, 6]) receive(n);
  // The event before the gap has gone.
  expect(shown()).toEqual([]);
  for (const reason of ['a', 'b', 'c', 'd']) gap(reason);
  expect(shown()).toEqual(['b', 'c', 'd']);
  unmount();
  harness.client.close();
});
