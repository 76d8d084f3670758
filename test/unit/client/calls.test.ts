import { describe, expect, test } from 'vitest';
import { turn } from '../../support/fake-clock.js';
import { type Frame, failure, Harness } from './harness.js';

/** A client in a room, with history or without. */
async function inRoom(history: boolean, options = {}) {
  const all = new Harness(options);
  const socket = await all.open({ position: 'u1' });
  const room = all.client.join('lobby');
  const enter = (at = all.socket) => at.answer('join', history ? { position: 'p1' } : {});
  enter();
  return { all, socket, room, enter };
}

const texts = (frames: Frame[]) => frames.map(({ data }) => data);

describe('send', () => {
  test('is answered with its position', async () => {
    const { socket, room } = await inRoom(true);
    const sending = room.send('message', { text: 'hi' }, { echo: false });
    const frame = socket.answer('send', { position: 'p2' });
    expect(frame).toMatchObject({ room: 'lobby', event: 'message', data: { text: 'hi' }, echo: false });
    expect(frame['key']).toMatch(/^[\w-]{10,64}$/);
    expect(frame).not.toHaveProperty('keep');
    expect(await sending).toEqual({ position: 'p2' });
  });

  test('waits for the connection and the room, in order', async () => {
    const all = new Harness();
    const room = all.client.join('lobby');
    const sends = [1, 2, 3].map((n) => room.send('message', n));
    const socket = await all.open();
    expect(socket.take('send')).toEqual([]);
    socket.answer('join', {});
    expect(texts(socket.sent)).toEqual([1, 2, 3]);
    for (const _ of sends) socket.answer('send', {});
    await Promise.all(sends);
  });

  test('with history, what was in flight is sent again with its key, before what came later', async () => {
    const { all, socket, room, enter } = await inRoom(true);
    const first = room.send('message', 1);
    const keys = socket.sent.map((frame) => frame['key']);
    socket.end();
    const second = room.send('message', 2);
    all.clock.advance(250);
    const next = await all.open();
    expect(next.take('send')).toEqual([]);
    enter(next);
    expect(texts(next.sent)).toEqual([1, 2]);
    expect(next.sent[0]?.['key']).toBe(keys[0]);
    expect(next.sent[1]?.['key']).not.toBe(keys[0]);
    next.answer('send', { position: 'p2', duplicate: true });
    next.answer('send', { position: 'p3' });
    expect(await first).toEqual({ position: 'p2', duplicate: true });
    await second;
  });

  test('without history, what was written is in doubt, and what was not is sent', async () => {
    const { all, room, enter, socket } = await inRoom(false);
    const first = failure(room.send('message', 1));
    socket.end();
    const second = room.send('message', 2);
    expect(await first).toMatchObject({ code: 'CONNECTION_LOST', outcome: 'unknown' });
    all.clock.advance(250);
    const next = await all.open();
    enter(next);
    expect(texts(next.sent)).toEqual([2]);
    next.answer('send', {});
    await second;
  });

  test('what is not kept, and what was sent to a history that is gone, is not said twice', async () => {
    const { all, room, socket } = await inRoom(true);
    const passing = failure(room.send('wave', 1, { transient: true }));
    const kept = failure(room.send('message', 2));
    socket.end();
    expect(await passing).toMatchObject({ code: 'CONNECTION_LOST', outcome: 'unknown' });
    all.clock.advance(250);
    const next = await all.open();
    next.answer('join', {});
    expect(await kept).toMatchObject({ code: 'CONNECTION_LOST', outcome: 'unknown' });
    expect(next.sent).toEqual([]);
  });

  test('is repeated when the server asks to wait, in order, until its time is over', async () => {
    const { all, socket, room } = await inRoom(true);
    const first = room.send('message', 1, { timeout: 5_000 });
    socket.refuse('send', 'RATE_LIMITED', { retryAfter: 300 });
    const second = room.send('message', 2);
    expect(socket.sent).toEqual([]);
    all.clock.advance(300);
    expect(texts(socket.sent)).toEqual([1, 2]);
    socket.refuse('send', 'UNAVAILABLE', { retryAfter: 60_000 });
    socket.answer('send', {});
    await second;
    const late = failure(first);
    all.clock.advance(4_700);
    expect(await late).toMatchObject({ code: 'TIMEOUT', outcome: 'unknown', cause: { code: 'UNAVAILABLE' } });
  });

  test('without history, UNAVAILABLE is an answer', async () => {
    const { socket, room } = await inRoom(false);
    const sending = failure(room.send('message', 1));
    socket.refuse('send', 'UNAVAILABLE');
    expect(await sending).toMatchObject({ code: 'UNAVAILABLE', outcome: 'unknown' });
  });

  test('a refusal is an answer', async () => {
    const { socket, room } = await inRoom(true);
    const sending = failure(room.send('message', 1));
    socket.refuse('send', 'FORBIDDEN');
    expect(await sending).toMatchObject({ name: 'ClientError', code: 'FORBIDDEN', outcome: 'failed' });
  });

  test('a signal stops the waiting, before or after it is written', async () => {
    const { all, socket, room } = await inRoom(true);
    const controller = new AbortController();
    const { signal } = controller;
    const sending = failure(room.send('message', 1, { signal }));
    controller.abort(new Error('no more'));
    expect(await sending).toMatchObject({ message: 'no more' });
    expect(await failure(room.send('message', 2, { signal }))).toMatchObject({ message: 'no more' });
    expect(texts(socket.take('send'))).toEqual([1]);
    expect((await all.comeBack()).take('send')).toEqual([]);
  });
});

describe('calls', () => {
  test('history is read again after a break, requests are not', async () => {
    const { all, room } = await inRoom(true);
    const page = room.history({ before: 'p9', limit: 10 });
    const sum = failure(all.client.request('sum', [1, 2]));
    all.socket.end();
    const later = all.client.request('later');
    expect(await sum).toMatchObject({ code: 'CONNECTION_LOST', outcome: 'unknown' });
    all.clock.advance(250);
    const next = await all.open();
    const frame = next.answer('history', { events: [], more: false });
    expect(frame).toMatchObject({ room: 'lobby', before: 'p9', limit: 10 });
    expect(await page).toEqual({ events: [], more: false });
    expect(next.answer('request', 'done')).toMatchObject({ method: 'later' });
    expect(await later).toBe('done');
  });

  test('time out: failed where nothing was written, else unknown', async () => {
    const all = new Harness({ timeout: 1_000 });
    const early = failure(all.client.request('sum'));
    all.clock.advance(1_000);
    expect(await early).toMatchObject({ code: 'TIMEOUT', outcome: 'failed' });
    const socket = await all.open();
    expect(socket.sent).toEqual([]);
    const late = failure(all.client.request('sum', 1, { timeout: 50 }));
    all.clock.advance(50);
    expect(await late).toMatchObject({ code: 'TIMEOUT', outcome: 'unknown' });
    // The answer that comes after all is nobody's.
    socket.answer('request', 3);
    expect(all.of('error')).toEqual([]);
  });

  test('a request is not repeated when the server asks to wait; the caller is told for how long', async () => {
    const all = new Harness();
    const socket = await all.open();
    const asking = failure(all.client.request('sum'));
    socket.refuse('request', 'RATE_LIMITED', { retryAfter: 5 });
    expect(await asking).toMatchObject({ code: 'RATE_LIMITED', retryAfter: 5, outcome: 'failed' });
  });

  test('the queue is bounded: the new one is refused, or the oldest', async () => {
    for (const overflow of ['reject', 'drop-oldest'] as const) {
      const all = new Harness({ queue: { size: 2, overflow } });
      const calls = ['a', 'b', 'c'].map((method) => all.client.request(method));
      const refused = overflow === 'reject' ? 2 : 0;
      expect(await failure(calls[refused]!)).toMatchObject({ code: 'QUEUE_FULL', outcome: 'failed' });
      const socket = await all.open();
      const written = ['a', 'b', 'c'].filter((_, index) => index !== refused);
      expect(socket.sent.map(({ method }) => method)).toEqual(written);
      // Nothing that is written counts.
      for (let i = 0; i < 5; i++) void all.client.request('more').catch(() => {});
      expect(socket.sent).toHaveLength(7);
    }
  });

  test('what is longer than the server takes is not written, by its bytes', async () => {
    const all = new Harness();
    const socket = await all.open({ maxBytes: 300 });
    const tooLong = failure(all.client.request('sum', 'ü'.repeat(130)));
    expect(await tooLong).toMatchObject({ code: 'TOO_LARGE', outcome: 'failed' });
    void all.client.request('sum', 'x'.repeat(200)).catch(() => {});
    void all.client.request('sum', '\ud83d'.repeat(10)).catch(() => {});
    expect(socket.sent).toHaveLength(2);
  });

  test('1009: what was in flight is not sent again', async () => {
    const { all, room, socket } = await inRoom(true);
    const sending = failure(room.send('message', 'long'));
    socket.end(1009);
    expect(await sending).toMatchObject({ code: 'TOO_LARGE', outcome: 'unknown' });
    all.client.close();
  });

  test('a WebSocket that throws is one that is lost', async () => {
    const { all, socket, room } = await inRoom(true);
    socket.send = () => {
      throw new Error('not open');
    };
    const sending = room.send('message', 1);
    await turn();
    expect(all.client.state).toBe('waiting');
    all.clock.advance(250);
    const next = await all.open();
    next.answer('join', { position: 'p1' });
    next.answer('send', { position: 'p2' });
    await sending;
  });
});

describe('status', () => {
  test('the latest is said, until it is known, and again on each connection', async () => {
    const all = new Harness();
    const set = [all.client.setStatus('away'), all.client.setStatus('busy')];
    const socket = await all.open();
    expect(socket.sent.map(({ status }) => status)).toEqual(['busy', 'busy']);
    socket.refuse('status', 'UNAVAILABLE', { retryAfter: 5 });
    socket.answer('status');
    all.clock.advance(5);
    socket.answer('status');
    await Promise.all(set);
    let next = await all.comeBack();
    expect(next.sent).toMatchObject([{ type: 'status', status: 'busy' }]);
    // Breaks in between do not make it more.
    next = await all.comeBack();
    next = await all.comeBack();
    expect(next.take('status')).toHaveLength(1);
  });

  test('one that is refused is not said again', async () => {
    const all = new Harness();
    const socket = await all.open();
    const set = failure(all.client.setStatus('hiding'));
    socket.refuse('status', 'FORBIDDEN');
    expect(await set).toMatchObject({ code: 'FORBIDDEN' });
    expect((await all.comeBack()).sent).toEqual([]);
  });
});
