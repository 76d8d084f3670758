import { describe, expect, test, vi } from 'vitest';
import { turn } from '../../support/fake-clock.js';
import { Harness } from './harness.js';

const presence = (user: string, status = 'online') => ({ user, status, lastSeen: 1 });

describe('watch', () => {
  test('watch reports each change, and returns the same map until the next one', async () => {
    const all = new Harness();
    await all.loadWatches();
    const handler = vi.fn();
    const watch = all.client.watch(new Set(['bob', 'eve']), handler);
    const socket = await all.open();
    expect(socket.answer('watch')).toMatchObject({ users: ['bob', 'eve'] });
    expect(watch.current().size).toBe(0);
    socket.receive({ type: 'presence', users: [presence('bob'), presence('stranger')] });
    const first = watch.current();
    expect([...first]).toEqual([['bob', presence('bob')]]);
    socket.receive({ type: 'presence', users: [presence('bob')] });
    expect(watch.current()).toBe(first);
    socket.receive({ type: 'presence', users: [presence('bob', 'away')] });
    expect(watch.current()).not.toBe(first);
    expect(handler.mock.calls).toEqual([[presence('bob')], [presence('bob', 'away')]]);
    watch.remove(['bob']);
    expect(watch.current().size).toBe(0);
  });

  test('watches of one user share a frame, which is sent again on a new connection', async () => {
    const all = new Harness();
    await all.loadWatches();
    const socket = await all.open();
    const first = all.client.watch(['bob']);
    socket.answer('watch');
    socket.receive({ type: 'presence', users: [presence('bob')] });
    const second = all.client.watch(['bob', 'eve']);
    expect(second.current().get('bob')).toEqual(presence('bob'));
    expect(socket.answer('watch')).toMatchObject({ users: ['eve'] });
    first.close();
    first.add(['late']);
    expect(socket.sent).toEqual([]);
    const next = await all.reconnect();
    expect(next.answer('watch')).toMatchObject({ users: ['bob', 'eve'] });
    second.remove(['eve']);
    expect(next.answer('unwatch')).toMatchObject({ users: ['eve'] });
    second.close();
    expect(next.answer('unwatch')).toMatchObject({ users: ['bob'] });
    expect((await all.reconnect()).sent).toEqual([]);
  });

  test('changes during a request are sent after its reply', async () => {
    const all = new Harness();
    await all.loadWatches();
    const socket = await all.open();
    const first = all.client.watch(['bob']);
    first.close();
    const second = all.client.watch(['bob', 'eve']);
    second.remove(['bob']);
    expect(socket.answer('watch')).toMatchObject({ users: ['bob'] });
    const back = all.client.watch(['bob']);
    expect(socket.answer('unwatch')).toMatchObject({ users: ['bob'] });
    expect(socket.answer('watch')).toMatchObject({ users: ['eve', 'bob'] });
    socket.receive({ type: 'presence', users: [presence('bob')] });
    expect(back.current().get('bob')).toEqual(presence('bob'));
    expect(socket.sent).toEqual([]);
  });

  test('many users are sent in several frames', async () => {
    const all = new Harness();
    await all.loadWatches();
    const socket = await all.open();
    all.client.watch(Array.from({ length: 250 }, (_, i) => `u${i}`));
    const sizes = [1, 2, 3].map(() => (socket.answer('watch')['users'] as string[]).length);
    expect(sizes).toEqual([100, 100, 50]);
    expect(socket.sent).toEqual([]);
  });

  test('a watch is retried after retryAfter, and not after a refusal', async () => {
    const all = new Harness();
    await all.loadWatches();
    const socket = await all.open();
    all.client.watch(['bob']);
    socket.refuse('watch', 'RATE_LIMITED', { retryAfter: 100 });
    all.clock.advance(100);
    socket.refuse('watch', 'LIMIT');
    expect(socket.sent).toEqual([]);
    expect(all.of('error')).toMatchObject([{ code: 'LIMIT' }]);
  });

  test('INTERNAL is temporary: the users are requested again, and the error is reported', async () => {
    const all = new Harness();
    await all.loadWatches();
    const socket = await all.open();
    all.client.watch(['bob']);
    socket.refuse('watch', 'INTERNAL');
    expect(all.of('error')).toMatchObject([{ code: 'INTERNAL' }]);
    all.clock.advance(250);
    expect(socket.answer('watch')).toMatchObject({ users: ['bob'] });
  });

  test('a forbidden user does not affect the watches of others', async () => {
    const all = new Harness();
    await all.loadWatches();
    const socket = await all.open();
    all.client.watch(['ann', 'bob', 'eve']);
    socket.refuse('watch', 'FORBIDDEN');
    expect(socket.answer('watch')).toMatchObject({ users: ['ann'] });
    expect(socket.refuse('watch', 'FORBIDDEN')).toMatchObject({ users: ['bob'] });
    expect(socket.answer('watch')).toMatchObject({ users: ['eve'] });
    expect(all.of('error')).toHaveLength(1);
    expect(socket.sent).toEqual([]);
    expect((await all.reconnect()).answer('watch')).toMatchObject({ users: ['ann', 'bob', 'eve'] });
  });

  test('a handler that throws does not affect others, and no handler is called after close', async () => {
    const all = new Harness();
    await all.loadWatches();
    const socket = await all.open();
    const handler = vi.fn();
    all.client.watch(['bob'], () => {
      throw new Error('no');
    });
    const watch = all.client.watch(['bob'], handler);
    socket.receive({ type: 'presence', users: [presence('bob')] });
    await turn();
    expect(all.of('error')).toEqual([new Error('no')]);
    watch.close();
    socket.receive({ type: 'presence', users: [presence('bob', 'away')] });
    expect(handler).toHaveBeenCalledTimes(1);
    expect(() => all.client.watch('bob' as never)).toThrow(expect.objectContaining({ code: 'INVALID' }));
    all.client.close();
    expect(all.clock.timers).toBe(0);
  });
});
