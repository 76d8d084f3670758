import { describe, expect, test, vi } from 'vitest';
import { turn } from '../../support/fake-clock.js';
import { failure, Harness } from './harness.js';

describe('joining', () => {
  test('join sends its request at once, resolves with the reply, and delivers events before and after the reply', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby', { last: 50, info: { name: 'A' }, members: true });
    const received: unknown[] = [];
    room.on('message', (data, { from, position }) => received.push([data, from, position]));
    expect(room.state).toBe('joining');
    expect(socket.sent).toMatchObject([
      { type: 'join', room: 'lobby', last: 50, info: { name: 'A' }, members: true },
    ]);
    socket.receive({
      type: 'event',
      room: 'lobby',
      event: 'message',
      from: 'bob',
      position: 'p2',
      data: 'x',
    });
    socket.answer('join', { position: 'p1' });
    await room.ready;
    expect(room).toMatchObject({ state: 'joined', position: 'p2' });
    socket.receive({ type: 'event', room: 'other', event: 'message', data: 'not here' });
    socket.receive({ type: 'event', room: 'lobby', event: 'message', data: 'y' });
    expect(received).toEqual([
      ['x', 'bob', 'p2'],
      ['y', undefined, undefined],
    ]);
  });

  test('with since the room begins after that position, and last is ignored', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.client.join('lobby', { since: 'p7', last: 50 });
    expect(socket.sent).toMatchObject([{ type: 'join', room: 'lobby', since: 'p7' }]);
    expect(socket.sent[0]).not.toHaveProperty('last');
  });

  test('a room that the server has removed the socket from is refused, and can be joined again', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    const errors: unknown[] = [];
    all.client.on('error', (error) => errors.push((error as { code: string }).code));
    socket.answer('join', { position: 'p1' });
    await room.ready;
    const sent = failure(room.send('message', 'hello'));
    socket.receive({ type: 'error', room: 'lobby', code: 'REMOVED', message: 'removed' });
    expect(room).toMatchObject({ state: 'refused', error: { code: 'REMOVED' } });
    expect(errors).toEqual(['REMOVED']);
    expect(await sent).toMatchObject({ code: 'REMOVED', outcome: 'unknown' });
    expect(await failure(room.send('message', 'again'))).toMatchObject({ code: 'REMOVED' });
    const next = await all.reconnect();
    expect(next.takeSent('join')).toEqual([]);
    room.retry();
    expect(next.answer('join', { position: 'p1' })).toMatchObject({ since: 'p1' });
    expect(room.state).toBe('joined');
    // An error for a room that is not joined is reported by the client only.
    next.receive({ type: 'error', room: 'other', code: 'REMOVED', message: 'removed' });
    expect(errors).toEqual(['REMOVED', 'REMOVED']);
  });

  test('a rejoin starts after the last position, or repeats the first join without one', async () => {
    const all = new Harness();
    const socket = await all.open();
    const [known, fresh] = [all.client.join('known', { last: 5 }), all.client.join('fresh', { last: 5 })];
    const missed = vi.fn();
    known.onDiscontinuity(missed);
    fresh.onDiscontinuity(missed);
    const states: string[] = [];
    known.onState((state) => states.push(state));
    socket.answer('join', { position: 'p1' });
    socket.receive({ type: 'position', room: 'known', position: 'p2' });
    const next = await all.reconnect();
    expect(next.sent).toMatchObject([
      { type: 'join', room: 'known', since: 'p2' },
      { type: 'join', room: 'fresh', last: 5 },
    ]);
    expect(next.sent[0]).not.toHaveProperty('last');
    next.answer('join', { position: 'p1' });
    expect(known.position).toBe('p1');
    expect(states).toEqual(['joined', 'joining', 'joined']);
    expect(missed).not.toHaveBeenCalled();
  });

  test('without history a reconnection reports one discontinuity before later events', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    const reported: unknown[] = [];
    room.onDiscontinuity(({ reason, recovered, since }) => reported.push([reason, recovered, since]));
    room.on('*', (data) => reported.push(data));
    socket.answer('join', {});
    const since = all.clock.now();
    const second = await all.reconnect();
    second.receive({ type: 'event', room: 'lobby', event: 'message', data: 'x' });
    second.answer('join', {});
    const third = await all.reconnect();
    third.answer('join', {});
    expect(reported).toEqual([
      ['reconnected', false, since],
      'x',
      ['reconnected', false, expect.any(Number)],
    ]);
  });

  test('a discontinuity sent by the server is reported without another one', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    const reported = vi.fn();
    room.onDiscontinuity(reported);
    socket.answer('join', { position: 'p1' });
    const next = await all.reconnect();
    next.receive({ type: 'discontinuity', room: 'lobby', reason: 'wiped', since: 3, recovered: false });
    next.answer('join', { position: 'q1' });
    expect(reported.mock.calls).toMatchObject([[{ reason: 'wiped', since: 3, recovered: false }]]);
  });

  test('a refused join or rejoin ends the membership and is not retried', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    const states: string[] = [];
    room.onState((state) => states.push(state));
    const waiting = failure(room.send('message', 1));
    socket.refuse('join', 'FORBIDDEN');
    expect(await failure(room.ready)).toMatchObject({ code: 'FORBIDDEN' });
    expect(await waiting).toMatchObject({ code: 'FORBIDDEN', outcome: 'failed' });
    expect(await failure(room.send('message', 2))).toMatchObject({ code: 'FORBIDDEN' });
    expect(await failure(room.update(1))).toMatchObject({ code: 'FORBIDDEN' });
    expect(room.error).toMatchObject({ code: 'FORBIDDEN' });
    expect(states).toEqual(['refused']);
    expect(all.of('error')).toMatchObject([{ code: 'FORBIDDEN' }]);
    expect((await all.reconnect()).sent).toEqual([]);
    await room.leave();

    const again = all.client.join('lobby');
    expect(again).not.toBe(room);
    all.socket.answer('join', {});
    await again.ready;
    (await all.reconnect()).refuse('join', 'FORBIDDEN');
    expect(again.state).toBe('refused');
  });

  test.each(['RATE_LIMITED', 'UNAVAILABLE'])(
    'a join refused with %s is retried after retryAfter',
    async (code) => {
      const all = new Harness();
      const socket = await all.open();
      const room = all.client.join('lobby', { last: 3 });
      socket.refuse('join', code, { retryAfter: 700 });
      all.clock.advance(699);
      expect(socket.sent).toEqual([]);
      all.clock.advance(1);
      expect(socket.sent).toMatchObject([{ type: 'join', last: 3 }]);
      socket.refuse('join', code);
      all.clock.advance(250);
      socket.answer('join', {});
      await room.ready;
      expect(all.of('error')).toEqual([]);
    },
  );

  test('INTERNAL is temporary: the join is repeated after a back-off, and the error is reported', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    for (const delay of [250, 500]) {
      socket.refuse('join', 'INTERNAL');
      expect(room.state).toBe('joining');
      all.clock.advance(delay - 1);
      expect(socket.sent).toEqual([]);
      all.clock.advance(1);
    }
    socket.answer('join', {});
    await room.ready;
    expect(all.of('error')).toMatchObject([{ code: 'INTERNAL' }, { code: 'INTERNAL' }]);
  });

  test('a rejoin that failed with INTERNAL resumes after the last position', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby', { last: 2 });
    socket.answer('join', { position: 'p1' });
    const next = await all.reconnect();
    next.refuse('join', 'INTERNAL');
    all.clock.advance(250);
    expect(next.answer('join', { position: 'p1' })).toMatchObject({ since: 'p1' });
    expect(room).toMatchObject({ state: 'joined', position: 'p1' });
  });

  test('retry joins a refused room again, after its last position', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby', { last: 2 });
    const received: unknown[] = [];
    room.on('*', (data) => received.push(data));
    room.retry();
    socket.answer('join', { position: 'p1' });
    const next = await all.reconnect();
    next.refuse('join', 'FORBIDDEN');
    expect(room.state).toBe('refused');
    room.retry();
    expect(room).toMatchObject({ state: 'joining', error: undefined });
    const sending = room.send('message', 'mine');
    expect(next.sent).toMatchObject([{ type: 'join', since: 'p1' }]);
    next.receive({ type: 'event', room: 'lobby', event: 'message', position: 'p2', data: 'missed' });
    next.answer('join', { position: 'p1' });
    await room.ready;
    expect(received).toEqual(['missed']);
    next.answer('send', { position: 'p3' });
    await sending;
  });

  test('retry without history reports the gap', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    const gaps = vi.fn();
    room.onDiscontinuity(gaps);
    socket.answer('join', {});
    const next = await all.reconnect();
    next.refuse('join', 'FORBIDDEN');
    room.retry();
    next.answer('join', {});
    expect(gaps.mock.calls).toMatchObject([[{ reason: 'reconnected', recovered: false }]]);
  });

  test('retry does nothing after the room is left or joined anew', async () => {
    const all = new Harness();
    const socket = await all.open();
    const [left, replaced] = [all.client.join('left'), all.client.join('replaced')];
    socket.refuse('join', 'FORBIDDEN');
    socket.refuse('join', 'FORBIDDEN');
    await left.leave();
    left.retry();
    const second = all.client.join('replaced');
    replaced.retry();
    expect(left.state).toBe('left');
    expect(replaced.state).toBe('refused');
    expect(second.state).toBe('joining');
    expect(socket.takeSent('join')).toHaveLength(1);
  });

  test('invalid names and infos are rejected at once', async () => {
    const all = new Harness();
    const socket = await all.open();
    expect(() => all.client.join('')).toThrow(expect.objectContaining({ code: 'INVALID' }));
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    expect(() => all.client.join('lobby', { info: circular })).toThrow(/info/);
    const room = all.client.join('lobby');
    socket.answer('join', {});
    expect(await failure(room.send('$typing' as string, 1))).toMatchObject({ code: 'INVALID' });
    expect(await failure(room.send('message', circular))).toMatchObject({
      code: 'INVALID',
      cause: expect.any(TypeError),
    });
    expect(await failure(room.update(circular))).toMatchObject({ code: 'INVALID' });
    expect(socket.sent).toEqual([]);
  });
});

describe('leaving', () => {
  test('after leave no handler is called, and pending sends reject', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    const handler = vi.fn();
    room.on('*', handler);
    room.onMembers(handler);
    socket.answer('join', {});
    const sending = failure(room.send('message', 1));
    const left = room.leave();
    expect(room.state).toBe('left');
    expect(await sending).toMatchObject({ code: 'CLOSED', outcome: 'unknown' });
    socket.receive({ type: 'event', room: 'lobby', event: 'message', data: 1 });
    socket.receive({ type: 'members', room: 'lobby', members: [{ user: 'bob', info: null, sockets: 1 }] });
    socket.answer('leave');
    await left;
    await room.leave();
    expect(handler).not.toHaveBeenCalled();
    expect(await failure(room.send('message', 1))).toMatchObject({ code: 'CLOSED' });
    expect((await all.reconnect()).sent).toEqual([]);
  });

  test('after a handler leaves the room no further handler is called', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    const later = vi.fn();
    room.on('message', () => void room.leave());
    room.on('message', later);
    room.on('*', later);
    socket.answer('join', {});
    socket.receive({ type: 'event', room: 'lobby', event: 'message', data: 1 });
    expect(later).not.toHaveBeenCalled();
  });

  test('a leave during a join is sent after its reply, and a new join after the leave', async () => {
    const all = new Harness();
    const socket = await all.open();
    const first = all.client.join('lobby');
    const left = first.leave();
    const second = all.client.join('lobby', { last: 1 });
    const received = vi.fn();
    second.on('*', received);
    expect(second).not.toBe(first);
    expect(await failure(first.ready)).toMatchObject({ code: 'CLOSED' });
    expect(socket.sent.map(({ type }) => type)).toEqual(['join']);
    socket.answer('join', { position: 'p1' });
    socket.receive({ type: 'event', room: 'lobby', event: 'message', position: 'p2', data: 'for the first' });
    expect(socket.sent.map(({ type }) => type)).toEqual(['leave']);
    socket.answer('leave');
    await left;
    expect(socket.sent).toMatchObject([{ type: 'join', last: 1 }]);
    socket.receive({
      type: 'event',
      room: 'lobby',
      event: 'message',
      position: 'p2',
      data: 'for the second',
    });
    socket.answer('join', { position: 'p2' });
    await second.ready;
    expect(received.mock.calls.map(([data]) => data)).toEqual(['for the second']);
  });

  test('a leave without a connection resolves at once, and an interrupted leave resolves', async () => {
    const all = new Harness();
    await all.client.join('early').leave();
    const socket = await all.open();
    expect(socket.sent).toEqual([]);
    const room = all.client.join('lobby');
    socket.answer('join', {});
    const left = room.leave();
    socket.end();
    await left;
    all.clock.advance(250);
    expect((await all.open()).sent).toEqual([]);
  });

  test('two joins of one room share it, and both must leave', async () => {
    const all = new Harness();
    const socket = await all.open();
    const [room, other] = [all.client.join('lobby'), all.client.join('lobby')];
    const received = vi.fn();
    room.on('message', received);
    socket.answer('join', {});
    await room.leave();
    // Only once for each join.
    await room.leave();
    expect([room.state, other.state]).toEqual(['joined', 'joined']);
    expect(socket.sent).toEqual([]);
    socket.receive({ type: 'event', room: 'lobby', event: 'message', data: 1 });
    expect(received).toHaveBeenCalledTimes(1);
    const left = other.leave();
    socket.answer('leave');
    await left;
    expect([room.state, other.state]).toEqual(['left', 'left']);
  });

  test('a second join can request members and change the info', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby', { info: 1 });
    socket.answer('join', { position: 'p1' });
    all.client.join('lobby', { info: 2, members: true });
    expect(socket.takeSent('update')).toMatchObject([{ info: 2 }]);
    socket.refuse('join', 'RATE_LIMITED', { retryAfter: 10 });
    all.clock.advance(10);
    expect(socket.answer('join', { position: 'p9' })).toMatchObject({ members: true });
    expect(room).toMatchObject({ state: 'joined', position: 'p1' });
    expect(socket.sent).toEqual([]);
    expect((await all.reconnect()).sent[0]).toMatchObject({ since: 'p1', members: true, info: 2 });
  });
});

describe('volatile events', () => {
  test('are sent without an id, and dropped while the room is not joined or the connection is slow', async () => {
    const all = new Harness();
    const room = all.client.join('lobby');
    const move = () => room.send('moved', 1, { volatile: true, echo: false });
    expect(await move()).toEqual({ dropped: true });
    const socket = await all.open();
    expect(await move()).toEqual({ dropped: true });
    socket.answer('join', { position: 'p1' });
    expect(await move()).toEqual({});
    expect(socket.takeSent('send')).toMatchObject([{ event: 'moved', data: 1, keep: false, echo: false }]);
    expect(socket.sent).toEqual([]);
    socket.bufferedAmount = 16_384;
    expect(await move()).toEqual({});
    expect(socket.takeSent('send')[0]).not.toHaveProperty('id');
    socket.bufferedAmount = 16_385;
    expect(await move()).toEqual({ dropped: true });
    expect(socket.sent).toEqual([]);
    socket.end();
    expect(await move()).toEqual({ dropped: true });
    void room.leave();
    expect(await failure(move())).toMatchObject({ code: 'CLOSED' });
  });

  test('reject when they are too large or no JSON, and a refusal of the server is an error of the client', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    socket.answer('join', {});
    const send = (data: unknown) => room.send('moved', data, { volatile: true });
    expect(await failure(send('x'.repeat(1_000)))).toMatchObject({ code: 'TOO_LARGE', outcome: 'failed' });
    expect(await failure(send(1n))).toMatchObject({ code: 'INVALID' });
    expect(socket.sent).toEqual([]);
    await send(1);
    socket.receive({ type: 'error', code: 'FORBIDDEN', message: 'no' });
    expect(all.of('error')).toMatchObject([{ code: 'FORBIDDEN' }]);
    expect(room.state).toBe('joined');
  });
});

describe('members, infos and typing', () => {
  test('members are updated, and are the same map until they change', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby', { members: true });
    const reported = vi.fn();
    room.onMembers(reported);
    socket.answer('join', {});
    const bob = { user: 'bob', info: 1, sockets: 2 };
    const eve = { user: 'eve', info: null, sockets: 1 };
    socket.receive({ type: 'members', room: 'lobby', reset: true, members: [bob] });
    const first = room.members;
    expect(room.members).toBe(first);
    socket.receive({ type: 'members', room: 'lobby', members: [eve, { ...bob, sockets: 1 }] });
    expect([...room.members.values()]).toEqual([{ ...bob, sockets: 1 }, eve]);
    expect([...first.values()]).toEqual([bob]);
    socket.receive({ type: 'members', room: 'lobby', members: [{ ...bob, sockets: 0 }] });
    expect([...room.members.keys()]).toEqual(['eve']);
    socket.receive({ type: 'members', room: 'lobby', reset: true, members: [bob] });
    expect([...room.members.keys()]).toEqual(['bob']);
    expect(reported).toHaveBeenCalledTimes(4);
    expect(reported).toHaveBeenLastCalledWith(room.members);
  });

  test('the number of members alone is followed, until another join asks for the list', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby', { members: 'count' });
    const reported = vi.fn();
    room.onMembers(() => reported(room.count, room.members.size));
    expect(socket.answer('join', {})).toMatchObject({ members: 'count' });
    expect(room.count).toBe(0);
    socket.receive({ type: 'members', room: 'lobby', count: 3, members: [] });
    all.client.join('lobby', { members: 'count' });
    all.client.join('lobby');
    expect(socket.sent).toEqual([]);
    all.client.join('lobby', { members: true });
    expect(socket.answer('join', {})).toMatchObject({ members: true });
    const member = (user: string) => ({ user, info: null, sockets: 1 });
    // The number of a page is not shown.
    socket.receive({
      type: 'members',
      room: 'lobby',
      reset: true,
      more: true,
      members: [member('a'), member('b')],
    });
    socket.receive({ type: 'members', room: 'lobby', members: [member('c'), member('d')] });
    expect(reported.mock.calls).toEqual([
      [3, 0],
      [3, 2],
      [4, 4],
    ]);
    all.client.join('lobby', { members: 'count' });
    expect((await all.reconnect()).answer('join', {})).toMatchObject({ members: true });
  });

  test('the number of members is 0 without a join that asks for it, and stays as it was in a room that has ended', async () => {
    const all = new Harness();
    const room = all.client.join('lobby', { members: 'count' });
    const plain = all.client.join('hall');
    const refused = all.client.join('vault', { members: 'count' });
    expect([room.count, plain.count, refused.count]).toEqual([0, 0, 0]);
    const socket = await all.open();
    socket.answer('join', {});
    socket.answer('join', {});
    socket.refuse('join', 'FORBIDDEN');
    await failure(refused.ready);
    socket.receive({ type: 'members', room: 'lobby', count: 3, members: [] });
    // Of rooms that this client is not in.
    for (const name of ['vault', 'nowhere']) {
      socket.receive({ type: 'members', room: name, count: 7, members: [] });
    }
    expect([room.count, plain.count, refused.count]).toEqual([3, 0, 0]);
    socket.receive({ type: 'error', room: 'lobby', code: 'KICKED', message: 'spam' });
    expect([room.state, room.count]).toEqual(['refused', 3]);
  });

  test('a refused list of members is empty and reported, and the room stays joined', async () => {
    const all = new Harness();
    const socket = await all.open();
    const reported = vi.fn();
    all.client.on('error', reported);
    const room = all.client.join('lobby', { members: true });
    socket.answer('join', {});
    socket.receive({ type: 'members', room: 'lobby', members: [{ user: 'bob', info: 1, sockets: 1 }] });
    const end = { code: 'FORBIDDEN', message: 'no' } as const;
    socket.receive({ type: 'members', room: 'lobby', reset: true, members: [], ...end });
    expect(reported.mock.calls).toEqual([[expect.objectContaining(end)]]);
    expect([room.members.size, room.count, room.state]).toEqual([0, 0, 'joined']);
    expect(socket.sent).toEqual([]);
  });

  test('of the members, what all who are in the room ask for is followed, and less after one of them leaves', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby', { members: false });
    const join = (members: boolean | 'count') => all.client.join('lobby', { members });
    expect(socket.answer('join', {})).toMatchObject({ members: false });
    const [number, list, otherList] = [join('count'), join(true), join(true)];
    expect(socket.answer('join', {})).toMatchObject({ members: 'count' });
    expect(socket.answer('join', {})).toMatchObject({ members: true });
    await join(false).leave();
    await list.leave();
    await list.leave();
    expect(socket.sent).toEqual([]);
    await otherList.leave();
    expect(socket.answer('join', {})).toMatchObject({ members: 'count' });
    await number.leave();
    const next = await all.reconnect();
    expect(next.answer('join', {})).toMatchObject({ members: false });
    void room.leave();
    join(true);
    next.answer('leave');
    expect(next.answer('join', {})).toMatchObject({ members: true });
  });

  test('an info is sent, retried after retryAfter, and included in later joins', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby', { info: 1 });
    socket.answer('join', {});
    const updates = [room.update(2)];
    socket.refuse('update', 'RATE_LIMITED', { retryAfter: 100 });
    updates.push(room.update(3));
    all.clock.advance(100);
    const updateFrames = socket.takeSent('update');
    expect(updateFrames.map(({ info }) => info)).toEqual([3, 3]);
    for (const { id } of updateFrames) socket.receive({ type: 'ok', id });
    await Promise.all(updates);
    const cut = room.update(4);
    const next = await all.reconnect();
    expect(next.answer('join', {})).toMatchObject({ info: 4 });
    next.answer('update');
    await cut;
  });

  test('keystrokes are sent as few frames, followed by a stop', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    room.startTyping();
    await vi.dynamicImportSettled();
    socket.answer('join', {});
    room.startTyping();
    await vi.dynamicImportSettled();
    const sent: unknown[] = [];
    const answerAll = () => {
      for (const { id, on } of socket.takeSent('typing')) {
        sent.push(on);
        socket.receive({ type: 'ok', id });
      }
    };
    const sentFrames = () => {
      answerAll();
      return sent.splice(0);
    };
    for (let i = 1; i < 40; i++) {
      all.clock.advance(100);
      room.startTyping();
      await turn();
      answerAll();
    }
    all.clock.advance(100);
    expect(sentFrames()).toEqual([true, true]);
    room.stopTyping();
    room.stopTyping();
    await turn();
    expect(sentFrames()).toEqual([false]);
    room.startTyping();
    room.stopTyping();
    room.startTyping();
    await turn();
    all.clock.advance(1_999);
    expect(sentFrames()).toEqual([true, false]);
    all.clock.advance(1);
    expect(sentFrames()).toEqual([true]);
    all.clock.advance(3_000);
    expect(sentFrames()).toEqual([false]);
    room.startTyping();
    all.socket.end();
    const next = await (async () => {
      all.clock.advance(250);
      return all.open();
    })();
    all.clock.advance(10_000);
    expect(next.takeSent('typing')).toEqual([]);
  });

  test('keystrokes before the room is joined, at first or again, are sent when it is', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    room.startTyping();
    await vi.dynamicImportSettled();
    await turn();
    expect(socket.takeSent('typing')).toEqual([]);
    socket.answer('join', {});
    expect(socket.answer('typing')).toMatchObject({ room: 'lobby', on: true });
    room.startTyping();
    await turn();
    const next = await all.reconnect();
    next.answer('join', {});
    expect(next.answer('typing')).toMatchObject({ on: true });
    all.clock.advance(3_000);
    expect(next.answer('typing')).toMatchObject({ on: false });
    // Older keystrokes say nothing.
    room.startTyping();
    await turn();
    next.answer('typing');
    next.end();
    all.clock.advance(3_000);
    const last = await all.open();
    last.answer('join', {});
    expect(last.takeSent('typing')).toEqual([]);
    void room.leave();
    room.startTyping();
    await turn();
    all.client.close();
    expect(all.clock.timers).toBe(0);
  });

  test('a failure to report typing is temporary: it is repeated after a back-off, as long as the user types', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    socket.answer('join', {});
    room.startTyping();
    await vi.dynamicImportSettled();
    await turn();
    socket.refuse('typing', 'INTERNAL');
    expect(all.of('error')).toMatchObject([{ code: 'INTERNAL' }]);
    all.clock.advance(250);
    socket.refuse('typing', 'UNAVAILABLE', { retryAfter: 1_000 });
    all.clock.advance(1_000);
    expect(socket.answer('typing')).toMatchObject({ on: true });
    room.stopTyping();
    await turn();
    expect(socket.refuse('typing', 'INTERNAL')).toMatchObject({ on: false });
    all.clock.advance(1_000);
    expect(socket.takeSent('typing')).toEqual([]);
    expect(all.of('error')).toHaveLength(2);
    // A refusal is not repeated.
    all.clock.advance(1_000);
    room.startTyping();
    await turn();
    socket.refuse('typing', 'FORBIDDEN');
    all.clock.advance(1_000);
    expect(socket.takeSent('typing')).toEqual([]);
    expect(all.of('error')).toMatchObject([{}, {}, { code: 'FORBIDDEN' }]);
  });

  test('an info that is no JSON does not replace the present one; that of a second join is refused by an error', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby', { info: 'first' });
    socket.answer('join', { position: 'p1' });
    expect(await failure(room.update(1n))).toMatchObject({ code: 'INVALID' });
    all.client.join('lobby', { info: 1n });
    await turn();
    expect(all.of('error')).toMatchObject([{ code: 'INVALID' }]);
    const next = await all.reconnect();
    expect(next.answer('join', { position: 'p1' })).toMatchObject({ info: 'first' });
    // Left first: no caller asks.
    const other = all.client.join('other');
    next.answer('join', {});
    const second = all.client.join('other', { info: 2 });
    void other.leave();
    void second.leave();
    await turn();
    expect(all.of('error')).toHaveLength(1);
  });

  test('typing users are added, stay while renewed, and expire', async () => {
    const all = new Harness();
    const socket = await all.open();
    const room = all.client.join('lobby');
    const reported: (readonly string[])[] = [];
    const events = vi.fn();
    room.onTypingUsers((typingUsers) => reported.push(typingUsers));
    room.on('*', events);
    socket.answer('join', {});
    const types = async (from: string, ttl: unknown) => {
      socket.receive({ type: 'event', room: 'lobby', event: '$typing', from, data: { ttl } });
      await vi.dynamicImportSettled();
      await turn();
    };
    await types('bob', 6_000);
    await types('alice', 6_000);
    const first = room.typingUsers;
    all.clock.advance(5_000);
    await types('bob', 6_000);
    expect(room.typingUsers).toBe(first);
    await types('eve', 1_000);
    await types('eve', 'x');
    all.clock.advance(5_999);
    expect(room.typingUsers).toEqual(['bob']);
    all.clock.advance(1);
    expect(reported).toEqual([['bob'], ['bob', 'eve'], ['bob'], []]);
    expect(events).not.toHaveBeenCalled();
    await types('bob', 6_000);
    expect(room.typingUsers).toEqual(['bob']);
    void types('eve', 6_000);
    void room.leave();
    expect(room.typingUsers).toEqual([]);
    await turn();
    expect(room.typingUsers).toEqual([]);
    all.client.close();
    expect(all.clock.timers).toBe(0);
  });
});
