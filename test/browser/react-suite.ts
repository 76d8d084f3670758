import { type Client, connect } from 'rollcall/client';
import type { ConnectionView, NotificationsView, RoomView, TypingView, UnreadView } from 'rollcall/react';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { deferred, waitFor } from '../support/wait.js';
import type { Part } from './react-app.js';
import { type ReactFixture, ReactTab, type ReactVersion, startFixture } from './react-fixture.js';

type Presences = ReadonlyMap<string, { readonly status: string }>;

/** The hooks in a browser, in strict mode, against a server in this process. */
export function testHooks(react: ReactVersion): void {
  let fixture: ReactFixture;
  let alice: ReactTab;
  let room: string;
  let bobs: Client[];
  let serial = 0;

  beforeAll(async () => {
    fixture = await startFixture(react);
  });
  afterAll(() => fixture?.end());
  beforeEach(async () => {
    room = `room-${++serial}`;
    bobs = [];
    alice = await ReactTab.open(fixture, 'alice');
  });
  afterEach(async () => {
    for (const bob of bobs) bob.close();
    await alice.tab.close();
    expect(alice.problems).toEqual([]);
  });

  /** Somebody without a browser. */
  function bobby(): Client {
    const url = `${fixture.url}/?user=bob`;
    const bob = connect({ url, WebSocket });
    bobs.push(bob);
    return bob;
  }

  async function say(from: number, to: number, where = room, event = 'message'): Promise<void> {
    for (let n = from; n < to; n++) await fixture.rooms.broadcast(where, event, n);
  }

  /** Waits until the component lists these numbers. */
  const lists = (id: string, numbers: readonly number[]) =>
    alice.until(
      `${id} to list ${numbers}`,
      (page, { id, numbers }) => {
        const { events } = page.views.get(id) as RoomView;
        return String(events.map(({ data }) => data)) === String(numbers);
      },
      { id, numbers },
    );

  /** As `lists`, but the component may list others before them. */
  const endsWith = (id: string, numbers: readonly number[]) =>
    alice.until(
      `${id} to end with ${numbers}`,
      (page, { id, numbers }) => {
        const { events } = page.views.get(id) as RoomView;
        return String(events.slice(-numbers.length).map(({ data }) => data)) === String(numbers);
      },
      { id, numbers },
    );

  const stateOf = (id: string, state: string) =>
    alice.until(
      `${id} ${state}`,
      (page, { id, state }) => (page.views.get(id) as RoomView | undefined)?.state === state,
      { id, state },
    );

  /** The numbers from `from` up to, but not including, `to`. */
  const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => from + at);

  /** What others see of a room: who has come, changed or gone. */
  async function watching(name: string): Promise<string[]> {
    const seen: string[] = [];
    await fixture.presence.watchRoom(name, ({ type, userId }) => void seen.push(`${userId} ${type}`));
    return seen;
  }

  const emptied = (name: string) =>
    waitFor(async () => (await fixture.presence.getRoomMembers(name)).length === 0, {
      message: `nobody in ${name}`,
    });

  /** Cuts all connections, and lets nobody back before `meanwhile` has ended. */
  async function cut(meanwhile: () => Promise<void>): Promise<void> {
    const opened = deferred();
    fixture.gate = opened.promise;
    for (const socket of fixture.sockets.clients) socket.terminate();
    await alice.until('the connection to break', (page) => page.client.state !== 'open');
    await meanwhile();
    opened.resolve();
    await alice.until('the connection', (page) => page.client.state === 'open');
  }

  describe('Suspense', () => {
    test('a room suspends until it is joined and has its last events, and never again in a lost connection', async () => {
      const seen = await watching(room);
      await say(0, 5);
      await alice.show({ id: 'a', hook: 'suspense', room, options: { last: 3 } });
      await lists('a', numbers(2, 5));
      // The first view of the component had them all.
      expect(await alice.see((page) => page.changes.get('a'))).toBe(2);
      expect(seen).toEqual(['alice join']);
      await cut(() => say(5, 6));
      await lists('a', numbers(2, 6));
      expect(await alice.see((page) => page.views.get('a'))).not.toBe('waiting');
      await alice.show();
      await emptied(room);
    });

    test('a refused room throws its error', async () => {
      // React logs an error that a boundary catches.
      alice.expected = /ClientError|error occurred|Boundary/;
      fixture.forbidden.add(room);
      await alice.show({ id: 'a', hook: 'suspense', room });
      await alice.until('the error', (page) => String(page.views.get('a error')).startsWith('ClientError'));
      await alice.see((page) => void page.errors.splice(0));
      fixture.forbidden.delete(room);
    });

    test('notifications suspend until the first page has arrived', async () => {
      await fixture.notifications.notify('alice', 'hello');
      await alice.show({ id: 'n', hook: 'suspense notifications' });
      await alice.until(
        'the list',
        (page) => (page.views.get('n') as NotificationsView | undefined)?.state === 'ready',
      );
      expect(await alice.see((page) => page.changes.get('n'))).toBe(2);
      // Other tests count from nothing.
      await fixture.notifications.forget('alice');
    });
  });

  describe('useUnread', () => {
    const counts = (id: string, unread: number) =>
      alice.until(
        `${id} to count ${unread}`,
        (page, { id, unread }) => (page.views.get(id) as UnreadView | undefined)?.unread === unread,
        { id, unread },
      );

    test('counts what others send, also during a lost connection, until it is marked as read', async () => {
      const bob = bobby().join(room);
      await say(0, 3);
      const { messages } = await fixture.rooms.history(room, { limit: 3 });
      const since = messages.find(({ message }) => message.data === 0)?.position ?? '';
      await alice.show(
        { id: 'since', hook: 'unread', room: room, options: { since } },
        { id: 'other', hook: 'unread', room: `${room}-other` },
        { id: 'a', hook: 'room', room, options: { last: 10 } },
      );
      await counts('since', 2);
      await counts('other', 0);
      await lists('a', numbers(0, 3));
      await bob.send('message', 3);
      await bob.send('reaction', 'x');
      await alice.see((page) => (page.views.get('a') as RoomView).send('message', 4));
      await counts('since', 3);
      await cut(async () => void (await fixture.rooms.broadcast(room, 'message', 5)));
      await counts('since', 4);
      const marked = await alice.see((page) => (page.views.get('since') as UnreadView).markRead());
      expect(marked).toMatch(/\d/);
      await counts('since', 0);
      await bob.send('message', 6);
      await counts('since', 1);
      // The count stays while another page is shown.
      await alice.show({ id: 'other', hook: 'unread', room: `${room}-other` });
      await fixture.rooms.broadcast(room, 'message', 7);
      await alice.show({ id: 'again', hook: 'unread', room });
      await counts('again', 2);
    });
  });

  describe('useRoomCount', () => {
    test('follows the number of members, and another component gets their list', async () => {
      const bob = bobby();
      await alice.show({ id: 'n', hook: 'count', room });
      await alice.until('alice', (page) => page.views.get('n') === 1 || page.views.get('n'));
      bob.join(room);
      await alice.until('bob', (page) => page.views.get('n') === 2 || page.views.get('n'));
      expect(await alice.see((page, room) => page.client.join(room as string).members.size, room)).toBe(0);
      await alice.show(
        { id: 'n', hook: 'count', room },
        { id: 'a', hook: 'room', room, options: { members: true } },
      );
      await alice.until('the list', (page) => (page.views.get('a') as RoomView).members.size === 2);
      await alice.show({ id: 'n', hook: 'count', room }, { id: 'm', hook: 'member', room, user: 'bob' });
      const isMember = (expected: string) =>
        alice.until(
          `bob: ${expected}`,
          ({ views }, expected) => JSON.stringify(views.get('m') ?? null) === expected || views.get('m'),
          expected,
        );
      await isMember('{"user":"bob","info":null,"sockets":1}');
      const changes = await alice.see((page) => page.changes.get('m'));
      const carol = connect({ url: `${fixture.url}/?user=carol`, WebSocket });
      bobs.push(carol);
      await carol.join(room).ready;
      await alice.until('carol', (page) => page.views.get('n') === 3 || page.views.get('n'));
      // Other members are no change of this one.
      expect(await alice.see((page) => page.changes.get('m'))).toBe(changes);
      carol.close();
      bob.close();
      await isMember('null');
      await alice.until('bob to leave', (page) => page.views.get('n') === 1 || page.views.get('n'));
    });
  });

  describe('useRoom', () => {
    test('the page runs on the version of React that is tested', async () => {
      expect(await alice.see((page) => page.reactVersion)).toMatch(`${react}.`);
    });

    test('lists messages once and in order, including those that the component sends', async () => {
      await say(0, 3);
      await alice.show({ id: 'a', hook: 'room', room, options: { last: 2 } });
      await lists('a', [1, 2]);
      await alice.see((page) => (page.views.get('a') as RoomView).send('message', 3));
      await say(4, 6);
      await lists('a', [1, 2, 3, 4, 5]);
      const events = await alice.see((page) => (page.views.get('a') as RoomView).events);
      expect(events.map(({ from }) => from ?? null)).toEqual([null, null, 'alice', null, null]);
      expect(events.map(({ replayed }) => replayed)).toEqual([true, true, false, false, false]);
      expect(
        events.every(
          ({ event, position, status }) => event === 'message' && position && status === 'received',
        ),
      ).toBe(true);
      expect(new Set(events.map(({ key }) => key)).size).toBe(5);
    });

    test('in strict mode other members see one join, and one leave when the component unmounts', async () => {
      const seen = await watching(room);
      await alice.show({ id: 'a', hook: 'room', room });
      await stateOf('a', 'joined');
      await alice.show();
      await waitFor(() => seen.length >= 2);
      expect(seen).toEqual(['alice join', 'alice leave']);
      await emptied(room);
    });

    if (react === 19) {
      test('in an `Activity` that is hidden and shown again, a room with `linger` is not left, and its list goes on', async () => {
        const seen = await watching(room);
        const show = (mode: 'visible' | 'hidden') =>
          alice.show({
            id: 'activity',
            hook: 'activity',
            mode,
            inside: [
              { id: 'a', hook: 'room', room, options: { linger: 60_000 } },
              { id: 'b', hook: 'room', room: `${room}.short` },
            ],
          });
        await show('visible');
        await stateOf('a', 'joined');
        await stateOf('b', 'joined');
        await say(0, 1);
        await lists('a', [0]);
        await show('hidden');
        // The room without `linger` is left.
        await emptied(`${room}.short`);
        await say(1, 3);
        await show('visible');
        await lists('a', [0, 1, 2]);
        await stateOf('b', 'joined');
        await alice.see(({ views }) => (views.get('a') as RoomView).send('message', 3));
        await lists('a', [0, 1, 2, 3]);
        expect(seen).toEqual(['alice join']);
      });
    }

    test('components of one room share a membership, and the room is left when the last one unmounts', async () => {
      const seen = await watching(room);
      const others = `${room}.others`;
      await alice.show({ id: 'a', hook: 'room', room }, { id: 'b', hook: 'room', room });
      await stateOf('b', 'joined');
      await say(0, 1);
      await lists('a', [0]);
      expect(
        await alice.see(
          ({ views }) => (views.get('a') as RoomView).events === (views.get('b') as RoomView).events,
        ),
      ).toBe(true);
      const [member] = await fixture.presence.getRoomMembers(room);
      expect(member).toMatchObject({ userId: 'alice', sockets: 1 });

      await alice.show({ id: 'b', hook: 'room', room });
      // One goes and another comes in the same render.
      await alice.show({ id: 'c', hook: 'room', room });
      await say(1, 2);
      await lists('c', [0, 1]);
      // Requests are begun in order: a leaving would have been seen before this joining.
      await alice.show({ id: 'c', hook: 'room', room }, { id: 'd', hook: 'room', room: others });
      await stateOf('d', 'joined');
      expect(seen).toEqual(['alice join']);
      await alice.show();
      await emptied(room);
      await waitFor(() => seen.length === 2);
      expect(seen).toEqual(['alice join', 'alice leave']);
    });

    test('a child with narrower options does not limit its parent', async () => {
      await say(0, 5);
      await alice.show({
        id: 'a',
        hook: 'room',
        room,
        options: { last: 3, info: { name: 'Alice' } },
        inside: [
          { id: 'b', hook: 'typing', room },
          { id: 'c', hook: 'room', room, options: { last: 1, members: true } },
        ],
      });
      await lists('a', [2, 3, 4]);
      await alice.until('the members', ({ views }) => (views.get('c') as RoomView).members.has('alice'));
      const [member] = await fixture.presence.getRoomMembers(room);
      expect(member).toMatchObject({ info: { name: 'Alice' }, sockets: 1 });
      expect(await alice.see(({ views }) => (views.get('a') as RoomView).members.size)).toBe(0);
    });

    test('after a change of the name the old room is left, the new one joined, and their events are not mixed', async () => {
      const other = `${room}.other`;
      await say(0, 2);
      await say(10, 12, other);
      await alice.show({ id: 'a', hook: 'room', room, options: { last: 9 } });
      await lists('a', [0, 1]);
      const mixed = await alice.see(async (page, other) => {
        const lists: string[] = [];
        const set = page.views.set.bind(page.views);
        page.views.set = (id, view) => {
          lists.push(String((view as RoomView).events.map(({ data }) => data)));
          return set(id, view);
        };
        page.show([{ id: 'a', hook: 'room', room: other, options: { last: 9 } }]);
        while (
          (page.views.get('a') as RoomView | undefined)?.events.length !== 2 ||
          !lists.includes('10,11')
        ) {
          await new Promise((resolve) => queueMicrotask(() => setTimeout(resolve)));
        }
        return lists;
      }, other);
      // The old room may be rendered once more before the change, as when it has become joined.
      const afterChange = mixed.slice(mixed.findIndex((list) => list !== '0,1'));
      expect(afterChange.filter((list) => list !== '' && !list.startsWith('10'))).toEqual([]);
      await emptied(room);
      await say(2, 3);
      await say(12, 13, other);
      await lists('a', [10, 11, 12]);

      await alice.show({ id: 'a', hook: 'room', room: null });
      await stateOf('a', 'idle');
      await emptied(other);
      const enable = (enabled: boolean) => alice.show({ id: 'a', hook: 'room', room, options: { enabled } });
      await enable(true);
      await stateOf('a', 'joined');
      await enable(false);
      await stateOf('a', 'idle');
      await lists('a', []);
      await emptied(room);
      const refused = await alice.see(({ views }) =>
        (views.get('a') as RoomView).send('message', 1).catch(({ code }) => code),
      );
      expect(refused).toBe('CLOSED');
    });

    test('after a lost connection the missed messages arrive, and unchanged members are the same object', async () => {
      await alice.show(
        { id: 'a', hook: 'room', room, options: { members: true } },
        { id: 'connection', hook: 'connection' },
      );
      await stateOf('a', 'joined');
      await say(0, 2);
      await lists('a', [0, 1]);
      await alice.until('alice herself', ({ views }) => (views.get('a') as RoomView).members.has('alice'));
      await alice.see((page) => page.views.set('before', (page.views.get('a') as RoomView).members) && 0);
      await cut(async () => {
        await alice.until(
          'the state',
          ({ views }) => (views.get('connection') as ConnectionView).lost?.code === 1006,
        );
        await stateOf('a', 'joining');
        await say(2, 5);
      });
      await stateOf('a', 'joined');
      await lists('a', numbers(0, 5));
      await say(5, 6);
      await lists('a', numbers(0, 6));
      const { members, gaps, connection, replayed } = await alice.see(({ views }) => ({
        replayed: (views.get('a') as RoomView).events.map(({ replayed }) => replayed),
        members: (views.get('a') as RoomView).members === views.get('before'),
        gaps: (views.get('a') as RoomView).discontinuities.filter(({ recovered }) => !recovered),
        connection: views.get('connection') as ConnectionView,
      }));
      expect({ members, gaps }).toEqual({ members: true, gaps: [] });
      // A sound belongs to live events alone.
      expect(replayed).toEqual([false, false, true, true, true, false]);
      expect(connection).toMatchObject({ state: 'open', user: 'alice' });
      expect(connection.lost).toBeUndefined();
    });

    test('messages that cannot be recovered are shown as a discontinuity in their place', async () => {
      await alice.show({ id: 'a', hook: 'room', room, options: { limit: 500 } });
      await stateOf('a', 'joined');
      await say(0, 2);
      await lists('a', [0, 1]);
      await cut(() => say(2, 130));
      await lists('a', [0, 1, ...numbers(30, 130)]);
      const { events, discontinuities } = await alice.see((page) => page.views.get('a') as RoomView);
      // A busy page may lose the connection once more, and then recovers all messages.
      const gaps = discontinuities.filter(({ recovered }) => !recovered);
      expect(gaps).toMatchObject([{ recovered: false, after: events[1]?.key }]);
    });

    test('older events are loaded beyond the limit, until there are no more', async () => {
      await say(0, 60);
      await alice.show({ id: 'a', hook: 'room', room, options: { last: 10, limit: 15 } });
      await lists('a', numbers(50, 60));
      await say(60, 66);
      await lists('a', numbers(51, 66));
      const older = () =>
        alice.see(async (page) => {
          const view = page.views.get('a') as RoomView;
          // Twice at once is once.
          const both = await Promise.all([view.loadOlder(30), view.loadOlder(30)]);
          return [view.hasOlder, ...both];
        });
      expect(await older()).toEqual([true, true, true]);
      await lists('a', numbers(21, 66));
      expect(await older()).toEqual([true, false, false]);
      await lists('a', numbers(0, 66));
      expect(await older()).toEqual([false, false, false]);
      // What is new pushes out what is oldest, which can be fetched again.
      await say(66, 67);
      await lists('a', numbers(1, 67));
      expect(await older()).toEqual([true, false, false]);
      await lists('a', numbers(0, 67));
    });

    test('loaded pages are removed by a jump to the latest event in one render, and beyond maxLoaded', async () => {
      await say(0, 60);
      const kept = { limit: 10, last: 10 };
      await alice.show(
        { id: 'a', hook: 'room', room, options: kept },
        { id: 'b', hook: 'room', room, options: { ...kept, maxLoaded: 20 } },
      );
      await lists('a', numbers(50, 60));
      const call = (id: string, name: 'loadOlder' | 'loadNewer' | 'jumpToLatest') =>
        alice.see(
          async ({ views }, { id, name }) => {
            await (views.get(id) as RoomView)[name as 'loadOlder'](20);
          },
          { id, name },
        );
      const ends = (id: string) =>
        alice.see(({ views }, id) => {
          const { hasOlder, hasNewer } = views.get(id as string) as RoomView;
          return { hasOlder, hasNewer };
        }, id);
      for (let page = 0; page < 3; page++) await call('a', 'loadOlder');
      await lists('a', numbers(0, 60));
      expect(await ends('a')).toEqual({ hasOlder: false, hasNewer: false });
      const changes = (await alice.see(({ changes }) => changes.get('a'))) ?? 0;
      await call('a', 'jumpToLatest');
      await lists('a', numbers(50, 60));
      expect(await ends('a')).toEqual({ hasOlder: true, hasNewer: false });
      expect(await alice.see(({ changes }) => changes.get('a'))).toBe(changes + 1);
      await say(60, 61);
      await lists('a', numbers(51, 61));
      await call('a', 'loadOlder');
      await lists('a', numbers(31, 61));

      await call('b', 'loadOlder');
      await lists('b', numbers(31, 61));
      await call('b', 'loadOlder');
      await lists('b', numbers(11, 41));
      expect(await ends('b')).toEqual({ hasOlder: true, hasNewer: true });
      await cut(() => say(61, 62));
      // New events push out the oldest.
      await lists('a', numbers(32, 62));
      await lists('b', numbers(11, 41));
      await call('b', 'loadNewer');
      await lists('b', numbers(31, 61));
      await call('b', 'loadNewer');
      await lists('b', numbers(32, 62));
      await say(62, 63);
      await lists('b', numbers(33, 63));
      for (let page = 0; page < 2; page++) await call('b', 'loadOlder');
      await alice.see(({ views }) => void (views.get('b') as RoomView).send('message', 63));
      await endsWith('b', numbers(54, 64));
      await lists('b', numbers(54, 64));
    });

    test('a jump to a message loads all events up to it, and resolves with its key', async () => {
      await say(0, 60);
      const { messages } = await fixture.rooms.history(room, { limit: 60 });
      const wanted = messages.find(({ message }) => message.data === 20)?.position ?? '';
      await alice.show({ id: 'a', hook: 'room', room, options: { last: 10 } });
      await lists('a', numbers(50, 60));
      const key = await alice.see(
        (page, position) => (page.views.get('a') as RoomView).loadUntil(position as string),
        wanted,
      );
      await lists('a', numbers(0, 60));
      const { events } = await alice.see((page) => page.views.get('a') as RoomView);
      expect(events[20]).toMatchObject({ key, position: wanted, data: 20 });
      const missing = await alice.see(
        async (page) => `${await (page.views.get('a') as RoomView).loadUntil('unknown')}`,
      );
      expect(missing).toBe('undefined');
    });

    test('a list around a message continues in both directions, becomes live at its end, and jumps to the latest', async () => {
      const positions: string[] = [];
      const published = async (from: number, to: number) => {
        for (let n = from; n < to; n++)
          positions[n] = (await fixture.rooms.broadcast(room, 'message', n)).position ?? '';
      };
      await published(0, 60);
      const show = (around: number, more: readonly Part[] = []) =>
        alice.show(
          { id: 'a', hook: 'room', room, options: { around: positions[around], last: 10 } },
          ...more,
        );
      const call = (name: 'loadOlder' | 'loadNewer', limit: number) =>
        alice.see(
          (page, { name, limit }) => (page.views.get('a') as RoomView)[name as 'loadNewer'](limit as number),
          { name, limit },
        );
      const ends = () =>
        alice.see(({ views }) => {
          const { hasOlder, hasNewer, discontinuities } = views.get('a') as RoomView;
          return { hasOlder, hasNewer, gaps: discontinuities.length };
        });

      await show(30, [{ id: 'live', hook: 'room', room, options: { last: 3 } }]);
      await lists('a', numbers(26, 36));
      await lists('live', [57, 58, 59]);
      expect(await ends()).toEqual({ hasOlder: true, hasNewer: true, gaps: 0 });
      expect(await call('loadOlder', 6)).toBe(true);
      await lists('a', numbers(20, 36));
      expect(await call('loadNewer', 10)).toBe(true);
      // Live events do not follow the list yet, also those missed in a lost connection.
      await cut(() => published(60, 62));
      await lists('live', numbers(57, 62));
      await lists('a', numbers(20, 46));
      expect(await call('loadNewer', 16)).toBe(false);
      await published(62, 63);
      await lists('a', numbers(20, 63));
      await cut(() => published(63, 64));
      await lists('a', numbers(20, 64));
      expect(await ends()).toEqual({ hasOlder: true, hasNewer: false, gaps: 0 });

      // Another position is another list; what the component sends is among the latest events.
      await show(5);
      await lists('a', numbers(1, 11));
      await alice.see((page) => void (page.views.get('a') as RoomView).send('message', 64));
      await endsWith('a', numbers(55, 65));
      await show(8);
      await lists('a', numbers(4, 14));
      await alice.see((page) => (page.views.get('a') as RoomView).jumpToLatest());
      await endsWith('a', numbers(55, 65));
      expect(await ends()).toEqual({ hasOlder: true, hasNewer: false, gaps: 0 });

      // The room keeps 100 events.
      await published(65, 165);
      await alice.show();
      await emptied(room);
      await show(20);
      await lists('a', numbers(65, 75));
      expect(await ends()).toEqual({ hasOlder: false, hasNewer: true, gaps: 1 });
      const [gap] = await alice.see((page) => (page.views.get('a') as RoomView).discontinuities);
      expect(gap).toMatchObject({ reason: 'trimmed', recovered: false });
      // A malformed position is shown as an error, and not read again.
      await alice.show({ id: 'b', hook: 'room', room, options: { around: 'yesterday' } });
      await alice.until('the error', ({ views }) => (views.get('b') as RoomView).error?.code === 'INVALID');
    });

    test('older events are loaded in a room without new events', async () => {
      await say(0, 3);
      await alice.show({ id: 'a', hook: 'room', room });
      await stateOf('a', 'joined');
      await lists('a', []);
      const older = await alice.see(async (page) => {
        const view = page.views.get('a') as RoomView;
        const first = view.loadOlder();
        await view.send('message', 3);
        return first;
      });
      expect(older).toBe(false);
      await lists('a', [0, 1, 2, 3]);
    });

    test('a component that mounts later also gets its last events, and only the requested names', async () => {
      await say(0, 6);
      await say(100, 101, room, 'noise');
      await alice.show({ id: 'typing', hook: 'typing', room });
      await waitFor(async () => (await fixture.presence.getRoomMembers(room)).length === 1);
      const typing = { id: 'typing', hook: 'typing', room } as const;
      const options = { last: 4, events: ['message', 'other'] };
      await alice.show(typing, { id: 'a', hook: 'room', room, options });
      await lists('a', [2, 3, 4, 5]);
      await say(101, 102, room, 'noise');
      await say(6, 8);
      await lists('a', [2, 3, 4, 5, 6, 7]);
      // The list goes on while nobody looks at it.
      await alice.show(typing);
      await say(8, 9);
      await alice.show(typing, { id: 'b', hook: 'room', room, options });
      await lists('b', [2, 3, 4, 5, 6, 7, 8]);
    });

    test('a rejected room shows the reason, and can be retried', async () => {
      fixture.forbidden.add(room);
      await alice.show({ id: 'a', hook: 'room', room });
      await stateOf('a', 'refused');
      expect(await alice.see(({ views }) => (views.get('a') as RoomView).error?.code)).toBe('FORBIDDEN');
      expect(
        await alice.see(({ views }) => (views.get('a') as RoomView).send('message', 1).catch((e) => e.code)),
      ).toBe('FORBIDDEN');
      fixture.forbidden.delete(room);
      await alice.see(({ views }) => (views.get('a') as RoomView).retry());
      await stateOf('a', 'joined');
      expect(await alice.see(({ views }) => (views.get('a') as RoomView).error === undefined)).toBe(true);
      await say(0, 1);
      // The send that was refused is still listed.
      await lists('a', [0, 1]);
      await alice.see(({ views }) => {
        const { events, resend } = views.get('a') as RoomView;
        resend(events.at(-1)?.key ?? '');
      });
      await alice.until('both to be received', ({ views }) =>
        (views.get('a') as RoomView).events.every(({ status }) => status === 'received'),
      );
      expect((await alice.see(({ errors }) => errors)).length).toBe(1);
    });

    test('a room that is rejected on a reconnect continues after a retry where its list ended', async () => {
      await alice.show({ id: 'a', hook: 'room', room });
      await stateOf('a', 'joined');
      await say(0, 1);
      await lists('a', [0]);
      fixture.forbidden.add(room);
      await cut(() => say(1, 2));
      await stateOf('a', 'refused');
      fixture.forbidden.delete(room);
      await alice.see(({ views }) => (views.get('a') as RoomView).retry());
      await say(2, 3);
      await lists('a', [0, 1, 2]);
      expect(await alice.see(({ views }) => (views.get('a') as RoomView).discontinuities.length)).toBe(0);
    });

    test('the last 100 events take at most 3 renders', async () => {
      await say(0, 100);
      await alice.show({ id: 'a', hook: 'room', room, options: { last: 100 } });
      await lists('a', numbers(0, 100));
      expect(await alice.see(({ changes }) => changes.get('a') ?? 0)).toBeLessThanOrEqual(3);
    });

    test('a send keeps the room joined when its component unmounts at once', async () => {
      await alice.show({ id: 'a', hook: 'room', room });
      await stateOf('a', 'joined');
      const result = await alice.see(({ views, show }) => {
        const sending = (views.get('a') as RoomView).send('message', 7);
        show([]);
        return sending.then(
          () => 'sent',
          (error) => error.code,
        );
      });
      expect(result).toBe('sent');
      await emptied(room);
      const { messages } = await fixture.rooms.history(room, { limit: 1 });
      expect(messages).toMatchObject([{ message: { data: 7 } }]);
    });

    test('a list with a limit in an empty room has no older events', async () => {
      await alice.show({ id: 'a', hook: 'room', room, options: { last: 5 } });
      await stateOf('a', 'joined');
      await alice.until('the end of the history', ({ views }) => !(views.get('a') as RoomView).hasOlder);
    });

    test('the result of useRoom keeps its identity until something changes', async () => {
      const part = { id: 'a', hook: 'room', room, options: { events: ['message'], info: {} } } as const;
      await alice.show(part);
      await stateOf('a', 'joined');
      const before = await alice.see(({ changes }) => changes.get('a'));
      await alice.show({ ...part, options: { events: ['message'], info: {} } });
      await alice.show(part, { id: 'b', hook: 'connection' });
      await alice.until('b', ({ views }) => views.has('b'));
      expect(await alice.see(({ changes }) => changes.get('a'))).toBe(before);
      // Other options are another view with the same functions, so that effects that depend on them do not run again.
      await alice.see(({ views }) => void views.set('before', views.get('a')));
      await alice.show({ ...part, options: { ...part.options, limit: 300, members: true } });
      await alice.until('the members', ({ views }) => (views.get('a') as RoomView).members.size === 1);
      const functions = await alice.see(({ views }) => {
        const [earlier, later] = [views.get('before'), views.get('a')] as Record<string, unknown>[];
        return Object.keys(later ?? {}).map((name) => [
          name,
          typeof later?.[name] === 'function' ? later[name] === earlier?.[name] : true,
        ]);
      });
      expect(functions.filter(([, isSame]) => !isSame)).toEqual([]);
      expect(functions.length).toBeGreaterThan(15);
      const stable = await alice.see(async ({ views }) => {
        const { send, update } = views.get('a') as RoomView;
        await update({ status: 'here' });
        await send('message', 1);
        return new Promise((resolve) => {
          const look = () => {
            const view = views.get('a') as RoomView;
            if (view.events.length === 0) setTimeout(look);
            else resolve(view.send === send && view.update === update);
          };
          look();
        });
      });
      expect(stable).toBe(true);
      expect((await fixture.presence.getRoomMembers(room))[0]?.info).toEqual({ status: 'here' });
    });

    test('when a closed client connects again, rooms, presence and notifications of mounted components come back', async () => {
      const bob = `${room}.bob`;
      await say(0, 2);
      await alice.show(
        { id: 'a', hook: 'room', room, options: { last: 5 } },
        { id: 'p', hook: 'presence', users: [bob] },
        { id: 'n', hook: 'notifications' },
      );
      const sees = (status: string, notifications: number) =>
        alice.until(
          `${bob} ${status}, ${notifications} notifications`,
          ({ views }, { bob, status, notifications }) =>
            (views.get('p') as Presences).get(bob)?.status === status &&
            (views.get('n') as NotificationsView).notifications.length === notifications,
          { bob, status, notifications },
        );
      await lists('a', [0, 1]);
      await sees('offline', 0);
      await alice.see(({ client }) => client.close());
      await stateOf('a', 'left');
      await emptied(room);
      await say(2, 4);
      await fixture.presence.setPresence(bob, `${bob}.1`);
      await fixture.notifications.notify('alice', 'hello');
      await alice.see(({ client }) => client.connect());
      await lists('a', [0, 1, 2, 3]);
      await sees('online', 1);
      await alice.see((page) => (page.views.get('a') as RoomView).send('message', 4));
      await lists('a', [0, 1, 2, 3, 4]);
      expect(await alice.see((page) => (page.views.get('a') as RoomView).discontinuities.length)).toBe(0);
      await fixture.presence.setPresence(bob, `${bob}.1`, 'away');
      await sees('away', 1);
      // Other tests count from nothing.
      await fixture.notifications.forget('alice');
    });

    test('a closed client leaves the room, and invalid options end the rendering', async () => {
      await alice.show({ id: 'a', hook: 'room', room }, { id: 'connection', hook: 'connection' });
      await stateOf('a', 'joined');
      await alice.see(({ client }) => client.close());
      await stateOf('a', 'left');
      await alice.until('the end', ({ views }) => {
        const { state, lost } = views.get('connection') as ConnectionView;
        return state === 'closed' && lost?.code === 1000;
      });
      await alice.show({ id: 'b', hook: 'room', room: `${room}.late` });
      await stateOf('b', 'left');
      await alice.show({ id: 'a', hook: 'room', room: '' });
      await alice.until('the error', ({ errors }) => errors.some((error) => error.includes('room: no name')));
      expect(
        alice.problems
          .splice(0)
          .every((text) => /room: no name|error occurred in the <One> component/.test(text)),
      ).toBe(true);
    });
  });

  describe('handlers', () => {
    test('handlers of the latest render are called, without another join', async () => {
      const seen = await watching(room);
      const show = (mark: string) =>
        alice.show(
          { id: 'a', hook: 'room', room },
          { id: 'e', hook: 'event', room, event: 'message', mark },
          { id: 'u', hook: 'user', event: 'note', mark },
          { id: 'client', hook: 'client' },
        );
      const received = (count: number) =>
        alice.until(`${count} events`, (page, count) => page.received.length === count, count);
      await show('one');
      await stateOf('a', 'joined');
      expect(await alice.see(({ views, client }) => views.get('client') === client)).toBe(true);
      await say(0, 1);
      await say(50, 51, room, 'other');
      await received(1);
      await show('two');
      await say(1, 2);
      await received(2);
      await fixture.rooms.sendToUser('alice', 'note', 2);
      await received(3);
      await alice.show();
      await emptied(room);
      await fixture.rooms.sendToUser('alice', 'note', 3);
      await fixture.rooms.sendToUser('alice', 'last', 4);
      await alice.see(
        ({ received, client }) => void client.events.on('*', (data) => void received.push(['all', data])),
      );
      await fixture.rooms.sendToUser('alice', 'last', 5);
      await alice.until('the last', (page) => page.received.some(([, data]) => data === 5));
      expect(await alice.see((page) => page.received.filter(([mark]) => mark !== 'all'))).toEqual([
        ['one', 0],
        ['two', 1],
        ['two', 2],
      ]);
      expect(seen).toEqual(['alice join', 'alice leave']);
    });

    test('the error of a refused room is received by the latest error listener, until it unmounts', async () => {
      fixture.forbidden.add(room);
      await alice.show({ id: 'e', hook: 'error', mark: 'one' });
      await alice.show({ id: 'e', hook: 'error', mark: 'two' }, { id: 'a', hook: 'room', room });
      await stateOf('a', 'refused');
      await alice.until('the error', ({ received }) => received.length === 1);
      const other = `${room}.other`;
      fixture.forbidden.add(other);
      await alice.show({ id: 'b', hook: 'room', room: other });
      await stateOf('b', 'refused');
      await alice.until('both errors', ({ errors }) => errors.length === 2);
      const received = await alice.see((page) => page.received);
      expect(received).toEqual([['two', expect.stringContaining('ClientError')]]);
    });
  });

  describe('usePresence', () => {
    const becomes = (id: string, statuses: string) =>
      alice.until(
        statuses,
        ({ views }, { id, statuses }) => {
          const shown = [...((views.get(id) ?? []) as Presences)].map(
            ([user, { status }]) => `${user} ${status}`,
          );
          return String(shown) === statuses || `no, ${shown}`;
        },
        { id, statuses },
      );

    test('shows the statuses of users, the same Map for the same list, and keeps known statuses when the list grows', async () => {
      const [ann, ben] = [`${room}.ann`, `${room}.ben`];
      await fixture.presence.setPresence(ann, `${ann}.1`);
      await alice.show({ id: 'p', hook: 'presence', users: [ann] });
      await becomes('p', `${ann} online`);
      const changes = await alice.see((page) => page.changes.get('p'));
      await alice.show(
        { id: 'p', hook: 'presence', users: [ann] },
        { id: 'q', hook: 'presence', users: [ann] },
      );
      await becomes('q', `${ann} online`);
      expect(await alice.see((page) => page.changes.get('p'))).toBe(changes);
      // Whoever is known is known at the first render.
      expect(await alice.see((page) => page.changes.get('q'))).toBe(1);

      const flashes = await alice.see(
        async (page, users) => {
          const sizes: number[] = [];
          const set = page.views.set.bind(page.views);
          page.views.set = (id, view) => {
            if (id === 'p') sizes.push((view as Presences).size);
            return set(id, view);
          };
          page.show([{ id: 'p', hook: 'presence', users }]);
          while ((page.views.get('p') as Presences).size < 2)
            await new Promise((resolve) => setTimeout(resolve));
          return sizes;
        },
        [ben, ann],
      );
      expect(flashes.filter((size) => size === 0)).toEqual([]);
      await fixture.presence.setPresence(ann, `${ann}.1`, 'away');
      await becomes('p', `${ann} away,${ben} offline`);
      await alice.show();
      await alice.show({ id: 'p', hook: 'presence', users: [ben] });
      await becomes('p', `${ben} offline`);
    });
  });

  describe('useNotifications', () => {
    test('lists and counts what was sent before and after, and marks on all devices', async () => {
      await fixture.notifications.notify('alice', 'first');
      const other = await ReactTab.open(fixture, 'alice');
      const shows = (tab: ReactTab, shown: string, unread: number) =>
        tab.until(
          `${shown}, ${unread} unread`,
          ({ views }, { shown, unread }) => {
            const view = views.get('n') as NotificationsView | undefined;
            return String(view?.notifications.map(({ data }) => data)) === shown && view?.unread === unread;
          },
          { shown, unread },
        );
      await alice.show({ id: 'n', hook: 'notifications' });
      await other.show({ id: 'n', hook: 'notifications' });
      await shows(alice, 'first', 1);
      await shows(other, 'first', 1);
      await fixture.notifications.notify('alice', 'second');
      await shows(alice, 'second,first', 2);
      await alice.see(({ views }) => (views.get('n') as NotificationsView).markRead());
      await shows(alice, 'second,first', 0);
      await shows(other, 'second,first', 0);
      await cut(async () => void (await fixture.notifications.notify('alice', 'third')));
      await shows(alice, 'third,second,first', 1);
      // Chromium writes a line to the console for a socket that a closing page closes while it connects.
      expect(other.problems).toEqual([]);
      await other.tab.close();
    });
  });

  describe('useTyping', () => {
    test('shows typing users, and reports the own user as typing until they stop or the component unmounts', async () => {
      const bob = bobby().join(room);
      await bob.ready;
      await alice.show({ id: 'a', hook: 'room', room }, { id: 't', hook: 'typing', room });
      await stateOf('a', 'joined');
      const typingUsers = (names: string) =>
        alice.until(
          `typing: ${names}`,
          ({ views }, names) => String((views.get('t') as TypingView).typingUsers) === names,
          names,
        );
      bob.startTyping();
      await typingUsers('bob');
      bob.stopTyping();
      await typingUsers('');

      await alice.see(({ views }) => (views.get('t') as TypingView).startTyping());
      await waitFor(() => String(bob.typingUsers) === 'alice');
      await alice.see(({ views }) => (views.get('t') as TypingView).stopTyping());
      // Sooner than it would end by itself.
      await waitFor(() => bob.typingUsers.length === 0, { timeout: 2_000 });

      // In another room, because typing is reported at most once in 2 s.
      const there = bobby().join(`${room}.other`);
      await there.ready;
      const kept = { id: 'b', hook: 'room', room: there.name } as const;
      await alice.show(kept, { id: 'u', hook: 'typing', room: there.name });
      await stateOf('b', 'joined');
      await alice.see(({ views }) => (views.get('u') as TypingView).startTyping());
      await waitFor(() => String(there.typingUsers) === 'alice');
      await alice.show(kept);
      await waitFor(() => there.typingUsers.length === 0, { timeout: 2_000 });
    });
  });
}
