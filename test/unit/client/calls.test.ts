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
  test('a send resolves with its position', async () => {
    const { socket, room } = await inRoom(true);
    const sending = room.send('message', { text: 'hi' }, { echo: false });
    const frame = socket.answer('send', { position: 'p2' });
    expect(frame).toMatchObject({ room: 'lobby', event: 'message', data: { text: 'hi' }, echo: false });
    expect(frame['key']).toMatch(/^[\w-]{10,64}$/);
    expect(frame).not.toHaveProperty('keep');
    expect(await sending).toEqual({ position: 'p2' });
  });

  test('sends wait for the connection and the room, and keep their order', async () => {
    const all = new Harness();
    const room = all.client.join('lobby');
    const sends = [1, 2, 3].map((n) => room.send('message', n));
    const socket = await all.open();
    expect(socket.takeSent('send')).toEqual([]);
    socket.answer('join', {});
    expect(texts(socket.sent)).toEqual([1, 2, 3]);
    for (const _ of sends) socket.answer('send', {});
    await Promise.all(sends);
  });

  test('with history, sends in flight are sent again with their key, before later ones', async () => {
    const { all, socket, room, enter } = await inRoom(true);
    const first = room.send('message', 1);
    const keys = socket.sent.map((frame) => frame['key']);
    socket.end();
    const second = room.send('message', 2);
    all.clock.advance(250);
    const next = await all.open();
    expect(next.takeSent('send')).toEqual([]);
    enter(next);
    expect(texts(next.sent)).toEqual([1, 2]);
    expect(next.sent[0]?.['key']).toBe(keys[0]);
    expect(next.sent[1]?.['key']).not.toBe(keys[0]);
    next.answer('send', { position: 'p2', duplicate: true });
    next.answer('send', { position: 'p3' });
    expect(await first).toEqual({ position: 'p2', duplicate: true });
    await second;
  });

  test('without history, sends in flight reject as unknown, and unsent ones are sent', async () => {
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

  test('transient sends, and sends to a room whose history is gone, are not sent again', async () => {
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

  test('a send is retried after retryAfter, in order, until its timeout', async () => {
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

  test('without history, UNAVAILABLE rejects the send', async () => {
    const { socket, room } = await inRoom(false);
    const sending = failure(room.send('message', 1));
    socket.refuse('send', 'UNAVAILABLE');
    expect(await sending).toMatchObject({ code: 'UNAVAILABLE', outcome: 'unknown' });
  });

  test('a refused send rejects', async () => {
    const { socket, room } = await inRoom(true);
    const sending = failure(room.send('message', 1));
    socket.refuse('send', 'FORBIDDEN');
    expect(await sending).toMatchObject({ name: 'ClientError', code: 'FORBIDDEN', outcome: 'failed' });
  });

  test('a signal aborts a send, before or after it is sent', async () => {
    const { all, socket, room } = await inRoom(true);
    const controller = new AbortController();
    const { signal } = controller;
    const sending = failure(room.send('message', 1, { signal }));
    controller.abort(new Error('no more'));
    expect(await sending).toMatchObject({ message: 'no more' });
    expect(await failure(room.send('message', 2, { signal }))).toMatchObject({ message: 'no more' });
    expect(texts(socket.takeSent('send'))).toEqual([1]);
    expect((await all.reconnect()).takeSent('send')).toEqual([]);
  });
});

describe('calls', () => {
  test('history reads are sent again after a reconnection, requests are not', async () => {
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

  test('a page of the history before, after or around a position is requested by that position alone', async () => {
    const { all, room } = await inRoom(true);
    const { signal } = new AbortController();
    const pages = [{ before: 'p1' }, { since: 'p2', limit: 7 }, { around: 'p3' }, {}];
    for (const page of pages) {
      const read = room.history({ ...page, signal, timeout: 500 });
      const { id, ...frame } = all.socket.answer('history', { events: [], more: true, older: true });
      expect(frame).toEqual({ type: 'history', room: 'lobby', ...page });
      expect(await read).toEqual({ events: [], more: true, older: true });
    }
  });

  test('a call that times out has the outcome "failed" if it was not sent, otherwise "unknown"', async () => {
    const all = new Harness({ timeout: 1_000 });
    const early = failure(all.client.request('sum'));
    all.clock.advance(1_000);
    expect(await early).toMatchObject({ code: 'TIMEOUT', outcome: 'failed' });
    const socket = await all.open();
    expect(socket.sent).toEqual([]);
    const late = failure(all.client.request('sum', 1, { timeout: 50 }));
    all.clock.advance(50);
    expect(await late).toMatchObject({ code: 'TIMEOUT', outcome: 'unknown' });
    // A late reply is ignored.
    socket.answer('request', 3);
    expect(all.of('error')).toEqual([]);
  });

  test('a rate-limited request is not repeated, and its error has retryAfter', async () => {
    const all = new Harness();
    const socket = await all.open();
    const asking = failure(all.client.request('sum'));
    socket.refuse('request', 'RATE_LIMITED', { retryAfter: 5 });
    expect(await asking).toMatchObject({ code: 'RATE_LIMITED', retryAfter: 5, outcome: 'failed' });
  });

  test('a full queue rejects the new call or the oldest one', async () => {
    for (const overflow of ['reject', 'drop-oldest'] as const) {
      const all = new Harness({ queue: { size: 2, overflow } });
      const calls = ['a', 'b', 'c'].map((method) => all.client.request(method));
      const refused = overflow === 'reject' ? 2 : 0;
      expect(await failure(calls[refused]!)).toMatchObject({ code: 'QUEUE_FULL', outcome: 'failed' });
      const socket = await all.open();
      const written = ['a', 'b', 'c'].filter((_, index) => index !== refused);
      expect(socket.sent.map(({ method }) => method)).toEqual(written);
      // Sent calls do not count.
      for (let i = 0; i < 5; i++) void all.client.request('more').catch(() => {});
      expect(socket.sent).toHaveLength(7);
    }
  });

  test('a call with more bytes than the server accepts is not sent', async () => {
    const all = new Harness();
    const socket = await all.open({ maxBytes: 300 });
    const tooLong = failure(all.client.request('sum', 'ü'.repeat(130)));
    expect(await tooLong).toMatchObject({ code: 'TOO_LARGE', outcome: 'failed' });
    void all.client.request('sum', 'x'.repeat(200)).catch(() => {});
    void all.client.request('sum', '\ud83d'.repeat(10)).catch(() => {});
    expect(socket.sent).toHaveLength(2);
  });

  test('sends in flight are not sent again after close code 1009', async () => {
    const { all, room, socket } = await inRoom(true);
    const sending = failure(room.send('message', 'long'));
    socket.end(1009);
    expect(await sending).toMatchObject({ code: 'TOO_LARGE', outcome: 'unknown' });
    all.client.close();
  });

  test('a WebSocket whose send throws counts as a lost connection', async () => {
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
  test('the latest status is sent until confirmed, and again on each connection', async () => {
    const all = new Harness();
    const set = [all.client.setStatus('away'), all.client.setStatus('busy')];
    const socket = await all.open();
    expect(socket.sent.map(({ status }) => status)).toEqual(['busy', 'busy']);
    socket.refuse('status', 'UNAVAILABLE', { retryAfter: 5 });
    socket.answer('status');
    all.clock.advance(5);
    socket.answer('status');
    await Promise.all(set);
    let next = await all.reconnect();
    expect(next.sent).toMatchObject([{ type: 'status', status: 'busy' }]);
    // Several reconnections do not add frames.
    next = await all.reconnect();
    next = await all.reconnect();
    expect(next.takeSent('status')).toHaveLength(1);
  });

  test('a refused status is not sent again', async () => {
    const all = new Harness();
    const socket = await all.open();
    const set = failure(all.client.setStatus('hiding'));
    socket.refuse('status', 'FORBIDDEN');
    expect(await set).toMatchObject({ code: 'FORBIDDEN' });
    expect((await all.reconnect()).sent).toEqual([]);
  });
});
