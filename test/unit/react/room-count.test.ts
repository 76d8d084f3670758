import { afterEach, expect, test } from 'vitest';
import { ClientRegistry } from '../../../src/react/registry.js';
import { RoomStore } from '../../../src/react/room-store.js';
import { turn } from '../../support/fake-clock.js';
import { waitFor } from '../../support/wait.js';
import { Harness } from '../client/harness.js';

const nextMacrotask = () => new Promise((resolve) => setTimeout(resolve));
const releases: (() => void)[] = [];
let harness: Harness;

function mount(members: boolean | 'count'): RoomStore & { readonly unmount: () => void } {
  const registry = ClientRegistry.of(harness.client);
  const store = new RoomStore(registry, 'lobby', { members }, { key: '[]', names: [], limit: 1, last: 0 });
  const unmount = store.subscribe(() => {});
  releases.push(unmount);
  return Object.assign(store, { unmount });
}

afterEach(() => {
  for (const release of releases.splice(0)) release();
  harness.client.close();
});

test('a view of the number fetches no list; a view of the members then does, and the number goes on', async () => {
  harness = new Harness();
  const socket = await harness.open();
  const number = mount('count');
  mount(false);
  await turn();
  expect(socket.answer('join', {})).toMatchObject({ members: 'count' });
  socket.receive({ type: 'members', room: 'lobby', count: 2, members: [] });
  await waitFor(() => number.snapshot().count === 2);
  mount('count');
  await turn();
  expect(socket.sent).toEqual([]);
  const list = mount(true);
  await turn();
  expect(socket.answer('join', {})).toMatchObject({ members: true });
  const members = ['a', 'b', 'c'].map((user) => ({ user, info: null, sockets: 1 }));
  socket.receive({ type: 'members', room: 'lobby', reset: true, members });
  await waitFor(() => number.snapshot().count === 3);
  expect([...list.snapshot().members.keys()]).toEqual(['a', 'b', 'c']);
  expect(list.snapshot().count).toBe(3);
  expect(number.snapshot().members.size).toBe(0);
});

test('views of the number and of the members that mount together join with the list', async () => {
  harness = new Harness();
  const socket = await harness.open();
  mount('count');
  mount(true);
  mount('count');
  await turn();
  expect(socket.answer('join', {})).toMatchObject({ members: true });
  await turn();
  expect(socket.sent).toEqual([]);
});

test('members are followed no longer than a component needs them, and a change of pages does not end them', async () => {
  harness = new Harness();
  const socket = await harness.open();
  const kept = mount(false);
  const number = mount('count');
  const list = mount(true);
  await turn();
  expect(socket.answer('join', {})).toMatchObject({ members: true });
  // One page replaces another.
  list.unmount();
  const next = mount(true);
  await nextMacrotask();
  expect(socket.sent).toEqual([]);
  // The application itself has joined, too, without a hook.
  const own = harness.client.join('lobby', { members: true });
  next.unmount();
  await nextMacrotask();
  expect(socket.sent).toEqual([]);
  await own.leave();
  expect(socket.answer('join', {})).toMatchObject({ members: 'count' });
  number.unmount();
  await nextMacrotask();
  expect(socket.answer('join', {})).toMatchObject({ members: false });
  expect(kept.snapshot().state).toBe('joined');
  mount(true);
  await turn();
  expect(socket.answer('join', {})).toMatchObject({ members: true });
  for (const release of releases.splice(0)) release();
  await nextMacrotask();
  expect(socket.takeSent('leave')).toHaveLength(1);
});
