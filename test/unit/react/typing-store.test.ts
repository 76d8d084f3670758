import { expect, test, vi } from 'vitest';
import { ClientRegistry } from '../../../src/react/registry.js';
import { TypingStore } from '../../../src/react/typing-store.js';
import { turn } from '../../support/fake-clock.js';
import { Harness } from '../client/harness.js';

const nextMacrotask = () => new Promise((resolve) => setTimeout(resolve));

test('keystrokes before the room is open are sent when it is joined, and those of an unmounted component are not', async () => {
  const harness = new Harness();
  const socket = await harness.open();
  const store = new TypingStore(ClientRegistry.of(harness.client), 'lobby');
  // The effect of a child runs before the component subscribes.
  store.snapshot().startTyping();
  const unmount = store.subscribe(() => {});
  await turn();
  await vi.dynamicImportSettled();
  await turn();
  expect(socket.takeSent('typing')).toEqual([]);
  socket.answer('join', {});
  expect(socket.answer('typing')).toMatchObject({ room: 'lobby', on: true });
  unmount();
  await turn();
  expect(socket.answer('typing')).toMatchObject({ on: false });
  await nextMacrotask();
  socket.answer('leave');
  store.snapshot().startTyping();
  await nextMacrotask();
  expect(socket.sent).toEqual([]);
  harness.client.close();
});
