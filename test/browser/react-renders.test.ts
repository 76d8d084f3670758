import type { RoomView } from 'rollcall/react';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { findRedisServer } from '../support/tools.js';
import { deferred } from '../support/wait.js';
import type { Part } from './react-app.js';
import { type ReactFixture, ReactTab, type ReactVersion, startFixture } from './react-fixture.js';

// How often components render. The numbers are in docs/react.md.

describe.skipIf(!findRedisServer()).each<ReactVersion>([19, 18])('on React %i', (react) => {
  let fixture: ReactFixture;
  let tab: ReactTab;
  let room: string;
  let serial = 0;

  beforeAll(async () => {
    fixture = await startFixture(react, 'server');
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

  const publish = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, n) => fixture.rooms.broadcast(room, 'message', n)));

  const lists = (count: number) =>
    tab.until(
      `${count} events`,
      ({ views }, count) => {
        const view = views.get('list') as RoomView | undefined;
        return view?.state === 'joined' && (view.events.length === count || view.events.length);
      },
      count,
    );

  const rendersOf = (id: string) => tab.see(({ renders }, id) => renders.get(id) ?? 0, id);

  test('the last 1,000 events take at most 3 renders', async () => {
    await publish(1_000);
    await tab.show({ id: 'list', hook: 'room', room, options: { last: 1_000 } });
    await lists(1_000);
    // Strict mode counts the first render twice.
    expect((await rendersOf('list')) - 1).toBeLessThanOrEqual(3);
  });

  test('600 missed events take at most 5 renders', async () => {
    await tab.show({ id: 'list', hook: 'room', room, options: { limit: 1_000 } });
    await lists(0);
    const before = await rendersOf('list');
    const opened = deferred();
    fixture.gate = opened.promise;
    for (const socket of fixture.sockets.clients) socket.terminate();
    await tab.until('the connection to break', ({ client }) => client.state !== 'open');
    await publish(600);
    const start = performance.now();
    opened.resolve();
    await lists(600);
    // On a slow machine a catch-up also renders every 200 ms, and where it pauses between two pages.
    const expected = Math.max(5, 2 + (performance.now() - start) / 100);
    expect((await rendersOf('list')) - before).toBeLessThanOrEqual(expected);
  });

  test('new events render the list alone, not the 499 components that show the number of members', async () => {
    const counts = Array.from({ length: 499 }, (_, n): Part => ({ id: `count-${n}`, hook: 'count', room }));
    await tab.show({ id: 'list', hook: 'room', room }, ...counts);
    await lists(0);
    await tab.until('the counts', ({ views }) => views.get('count-498') === 1);
    const ofCounts = () =>
      tab.see(({ renders }) =>
        [...renders].reduce((sum, [id, count]) => (id === 'list' ? sum : sum + count), 0),
      );
    const [list, others] = [await rendersOf('list'), await ofCounts()];
    await publish(200);
    await lists(200);
    expect((await ofCounts()) - others).toBe(0);
    const renders = (await rendersOf('list')) - list;
    expect(renders).toBeGreaterThan(0);
    expect(renders).toBeLessThan(200);
  });
});
