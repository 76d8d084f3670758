import { describe, expect, test, vi } from 'vitest';
import { Harness } from './harness.js';

const presence = (user: string, status = 'online') => ({ user, status, lastSeen: 1 });

describe('watch', () => {
  test('tells each change, and keeps the map until there is one', async () => {
    const all = new Harness();
    const handler = vi.fn();
    const watch = all.client.watch(new Set(['bob', 'eve']), handler);
    const socket = await all.open();
    expect(socket.answer('watch')).toMatchObject({ users: ['bob', 'eve'] });
    expect(watch.current().size).toBe(0);
    socket.say({ type: 'presence', users: [presence('bob'), presence('stranger')] });
    const first = watch.current();
    expect([...first]).toEqual([['bob', presence('bob')]]);
    socket.say({ type: 'presence', users: [presence('bob')] });
    expect(watch.current()).toBe(first);
    socket.say({ type: 'presence', users: [presence('bob', 'away')] });
    expect(watch.current()).not.toBe(first);
    expect(handler.mock.calls).toEqual([[presence('bob')], [presence('bob', 'away')]]);
    watch.remove(['bob']);
    expect(watch.current().size).toBe(0);
  });

  test('one frame per user while anybody watches him, and again on a new connection', async () => {
    const all = new Harness();
    const socket = await all.open();
    const first = all.client.watch(['bob']);
    socket.answer('watch');
    socket.say({ type: 'presence', users: [presence('bob')] });
    const second = all.client.watch(['bob', 'eve']);
    expect(second.current().get('bob')).toEqual(presence('bob'));
    expect(socket.answer('watch')).toMatchObject({ users: ['eve'] });
    first.close();
    first.add(['late']);
    expect(socket.sent).toEqual([]);
    const next = await all.comeBack();
    expect(next.answer('watch')).toMatchObject({ users: ['bob', 'eve'] });
    second.remove(['eve']);
    expect(next.answer('unwatch')).toMatchObject({ users: ['eve'] });
    second.close();
    expect(next.answer('unwatch')).toMatchObject({ users: ['bob'] });
    expect((await all.comeBack()).sent).toEqual([]);
  });

  test('what changes while a frame is under way is said after it', async () => {
    const all = new Harness();
    const socket = await all.open();
    const first = all.client.watch(['bob']);
    first.close();
    const second = all.client.watch(['bob', 'eve']);
    second.remove(['bob']);
    expect(socket.answer('watch')).toMatchObject({ users: ['bob'] });
    const back = all.client.watch(['bob']);
    expect(socket.answer('unwatch')).toMatchObject({ users: ['bob'] });
    expect(socket.answer('watch')).toMatchObject({ users: ['eve', 'bob'] });
    socket.say({ type: 'presence', users: [presence('bob')] });
    expect(back.current().get('bob')).toEqual(presence('bob'));
    expect(socket.sent).toEqual([]);
  });

  test('many users go in several frames', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.client.watch(Array.from({ length: 250 }, (_, i) => `u${i}`));
    const sizes = [1, 2, 3].map(() => (socket.answer('watch')['users'] as string[]).length);
    expect(sizes).toEqual([100, 100, 50]);
    expect(socket.sent).toEqual([]);
  });

  test('is asked again later when the server says so, and not when it refuses', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.client.watch(['bob']);
    socket.refuse('watch', 'RATE_LIMITED', { retryAfter: 100 });
    all.clock.advance(100);
    socket.refuse('watch', 'LIMIT');
    expect(socket.sent).toEqual([]);
    expect(all.of('error')).toMatchObject([{ code: 'LIMIT' }]);
  });

  test('INTERNAL is temporary: the users are asked for again, and the error is reported', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.client.watch(['bob']);
    socket.refuse('watch', 'INTERNAL');
    expect(all.of('error')).toMatchObject([{ code: 'INTERNAL' }]);
    all.clock.advance(250);
    expect(socket.answer('watch')).toMatchObject({ users: ['bob'] });
  });

  test('a user who may not be watched does not keep the others from being watched', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.client.watch(['ann', 'bob', 'eve']);
    socket.refuse('watch', 'FORBIDDEN');
    expect(socket.answer('watch')).toMatchObject({ users: ['ann'] });
    expect(socket.refuse('watch', 'FORBIDDEN')).toMatchObject({ users: ['bob'] });
    expect(socket.answer('watch')).toMatchObject({ users: ['eve'] });
    expect(all.of('error')).toHaveLength(1);
    expect(socket.sent).toEqual([]);
    expect((await all.comeBack()).answer('watch')).toMatchObject({ users: ['ann', 'bob', 'eve'] });
  });

  test('a handler that throws disturbs nobody, and none is called after close', async () => {
    const all = new Harness();
    const socket = await all.open();
    const heard = vi.fn();
    all.client.watch(['bob'], () => {
      throw new Error('no');
    });
    const watch = all.client.watch(['bob'], heard);
    socket.say({ type: 'presence', users: [presence('bob')] });
    expect(all.of('error')).toEqual([new Error('no')]);
    watch.close();
    socket.say({ type: 'presence', users: [presence('bob', 'away')] });
    expect(heard).toHaveBeenCalledTimes(1);
    expect(() => all.client.watch('bob' as never)).toThrow(expect.objectContaining({ code: 'INVALID' }));
    all.client.close();
    expect(all.clock.timers).toBe(0);
  });
});
