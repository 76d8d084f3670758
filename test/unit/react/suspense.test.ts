import { expect, test, vi } from 'vitest';
import { ClientRegistry } from '../../../src/react/registry.js';
import { RoomStore } from '../../../src/react/room-store.js';
import { turn } from '../../support/fake-clock.js';
import { Harness } from '../client/harness.js';

test('a refused room is asked for again 5 s after a component has waited for it', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const harness = new Harness();
  const socket = await harness.open();
  const registry = ClientRegistry.of(harness.client);
  const store = new RoomStore(registry, 'lobby', {}, { key: '*', names: undefined, limit: 10, last: 0 });
  const load = () => registry.load('lobby', store.subscribe, store.isSettled);
  const first = load();
  // The same component, rendered again.
  expect(load()).toBe(first);
  await turn();
  socket.refuse('join', 'FORBIDDEN');
  await first;
  expect(store.isSettled()).toBe(true);
  expect(store.refusal).toMatchObject({ code: 'FORBIDDEN' });
  vi.advanceTimersByTime(4_999);
  expect(store.isSettled()).toBe(true);
  vi.advanceTimersByTime(2);
  // An error boundary that renders the component again makes it wait again.
  expect([store.isSettled(), store.refusal]).toEqual([false, undefined]);
  const second = load();
  await turn();
  socket.answer('join', {});
  await second;
  expect(store.isSettled()).toBe(true);
  expect(store.refusal).toBeUndefined();
  // A promise that is resolved would make a component render in a loop.
  const later = registry.load(
    'lobby',
    () => () => {},
    () => false,
  );
  expect(later).not.toBe(second);
  harness.client.close();
  vi.useRealTimers();
});
