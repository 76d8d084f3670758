import type { RoomView } from 'rollcall/react';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deferred, waitFor } from '../support/wait.js';
import { type ReactFixture, ReactTab, type ReactVersion, startFixture } from './react-fixture.js';

// Strict mode, which mounts each component twice, hides some mistakes: here are pages as users have them.

describe.each<ReactVersion>([19, 18])('a production build of React %i', (react) => {
  let fixture: ReactFixture;
  let tab: ReactTab;
  let room: string;
  let serial = 0;

  beforeAll(async () => {
    fixture = await startFixture(react, 'embedded', 'production');
  });
  afterAll(() => fixture?.end());
  beforeEach(async () => {
    room = `room-${++serial}`;
    tab = await ReactTab.open(fixture, 'alice');
  });
  afterEach(async () => {
    await tab.tab.close();
    expect(tab.problems).toEqual([]);
  });

  const lists = (expected: string) =>
    tab.until(
      expected,
      ({ views }, expected) => {
        const { state, events, discontinuities } = views.get('a') as RoomView;
        const listed = events.map(({ data, status }) => `${data} ${status}`);
        const shown = `${state}: ${listed.join(', ')}; ${discontinuities.length} gaps`;
        return shown === expected || shown;
      },
      expected,
    );

  /** Cuts the connection; the returned function lets the client back. */
  async function cut(): Promise<() => void> {
    const opened = deferred();
    fixture.gate = opened.promise;
    for (const socket of fixture.sockets.clients) socket.terminate();
    await tab.until('the connection to break', ({ client }) => client.state !== 'open');
    return opened.resolve;
  }

  test('a send from the effect of a child waits for the room that its parent joins', async () => {
    await tab.show({ id: 'a', hook: 'parent', room, message: 7 });
    await lists('joined: 7 received; 0 gaps');
  });

  test('a failure of `authorize` on the way back is temporary, and nothing is lost', async () => {
    await tab.show({ id: 'a', hook: 'room', room });
    await lists('joined: ; 0 gaps');
    await fixture.rooms.broadcast(room, 'message', 1);
    await lists('joined: 1 received; 0 gaps');
    fixture.failing.add('join');
    const open = await cut();
    open();
    await tab.until('the error', ({ errors }) => errors.some((error) => error.includes('the server failed')));
    await fixture.rooms.broadcast(room, 'message', 2);
    await fixture.rooms.broadcast(room, 'message', 3);
    fixture.failing.clear();
    await lists('joined: 1 received, 2 received, 3 received; 0 gaps');
    await tab.see(({ views }) => (views.get('a') as RoomView).retry());
    await fixture.rooms.broadcast(room, 'message', 4);
    await lists('joined: 1 received, 2 received, 3 received, 4 received; 0 gaps');
  });

  test('a failure of `authorize` for the presence of users is temporary, too', async () => {
    const bob = `${room}.bob`;
    await fixture.presence.setPresence(bob, `${bob}.1`);
    fixture.failing.add('watch');
    await tab.show({ id: 'p', hook: 'presence', users: [bob] });
    await tab.until('the error', ({ errors }) => errors.length > 0);
    fixture.failing.clear();
    await tab.until(
      'the status',
      ({ views }, bob) =>
        (views.get('p') as ReadonlyMap<string, { readonly status: string }>).get(bob as string)?.status ===
        'online',
      bob,
    );
  });

  test('during a lost connection a send is listed as pending, and sent even if its component unmounts', async () => {
    await tab.show({ id: 'a', hook: 'room', room });
    await lists('joined: ; 0 gaps');
    const open = await cut();
    await tab.see(({ views }) => void (views.get('a') as RoomView).send('message', 1));
    await lists('joining: 1 pending; 0 gaps');
    await tab.see(({ views, show, received }) => {
      const sending = (views.get('a') as RoomView).send('message', 2);
      sending.then(
        () => received.push(['sent', 2]),
        (error) => received.push([String(error), 2]),
      );
      show([]);
    });
    await tab.until('the end of the list', ({ views }) => !views.has('a'));
    open();
    await tab.until('the send', ({ received }) => String(received[0]) === 'sent,2' || String(received));
    await waitFor(async () => (await fixture.presence.getRoomMembers(room)).length === 0);
    const { messages } = await fixture.rooms.history(room, { limit: 10 });
    expect(messages.map(({ message }) => message.data)).toEqual([1, 2]);
  });
});
