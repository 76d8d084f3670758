import { type ClientError, connect } from 'rollcall/client';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { turn } from '../../support/fake-clock.js';
import { FakeSocket, failure, Harness, WELCOME } from './harness.js';

afterEach(() => vi.unstubAllGlobals());

/** Stubs the page and network events that the client listens to. */
function stubPage() {
  const listeners = new Map<string, (event: { type: string }) => void>();
  const target = {
    addEventListener: (type: string, listener: (event: { type: string }) => void) =>
      listeners.set(type, listener),
    removeEventListener: (type: string) => listeners.delete(type),
  };
  const document = { ...target, hidden: false };
  vi.stubGlobal('addEventListener', target.addEventListener);
  vi.stubGlobal('removeEventListener', target.removeEventListener);
  vi.stubGlobal('document', document);
  vi.stubGlobal('navigator', { connection: target });
  return { listeners, document, emit: (type: string) => listeners.get(type)?.({ type }) };
}

describe('a connection', () => {
  test('a connection offers the subprotocol, and is open after welcome', async () => {
    const all = new Harness();
    expect(all.client.state).toBe('connecting');
    expect(all.client.user).toBeUndefined();
    const socket = await all.open();
    expect(socket.url).toBe('wss://chat.test/ws?token=1');
    expect(socket.protocols).toEqual(['rollcall.1']);
    expect(all.client).toMatchObject({ state: 'open', user: 'alice', socket: 's1' });
    expect(all.of('open')).toEqual([{ user: 'alice', socket: 's1', reconnected: false }]);
  });

  test('each attempt requests a new URL and adds the last position to it', async () => {
    let token = 0;
    const all = new Harness({ url: async () => `https://chat.test/ws?token=${++token}` });
    const socket = await all.open({ position: 'p1' });
    socket.receive({ type: 'event', event: 'invoice', position: 'p2', data: 1 });
    const second = await all.reconnect({ position: 'p2' });
    expect(second.url).toBe('wss://chat.test/ws?token=2&since=p2');
    second.receive({ type: 'position', position: 'p3' });
    second.end();
    all.clock.advance(30_000);
    await turn();
    expect(all.socket.url).toContain('since=p3');
  });

  test('a `url` function that throws is a failed attempt', async () => {
    let fails = true;
    const all = new Harness({
      url: () => {
        if (fails) throw new Error('no token');
        return 'wss://chat.test';
      },
    });
    await turn();
    expect(all.of('error')).toEqual([new Error('no token')]);
    expect(all.client.state).toBe('waiting');
    fails = false;
    all.clock.advance(30_000);
    await all.open();
    expect(all.client.state).toBe('open');
  });

  test('an attempt without welcome times out, and its later events are ignored', async () => {
    const all = new Harness();
    await turn();
    const first = all.socket;
    all.clock.advance(10_000);
    expect(first.closed).toBe(4000);
    expect(all.of('reconnecting')).toMatchObject([{ attempt: 1, code: 1006, reason: 'no reply' }]);
    first.receive(WELCOME);
    first.end(4401);
    expect(all.client.state).toBe('waiting');
    all.clock.advance(250);
    await turn();
    expect(all.sockets).toHaveLength(2);
  });

  test('a URL that resolves too late is not used', async () => {
    const answers: ((url: string) => void)[] = [];
    const all = new Harness({ url: () => new Promise((resolve) => answers.push(resolve)) });
    await turn();
    all.clock.advance(10_250);
    await turn();
    expect(answers).toHaveLength(2);
    answers[0]?.('wss://chat.test/late');
    await turn();
    expect(all.sockets).toHaveLength(0);
    answers[1]?.('wss://chat.test/second');
    expect((await all.open()).url).toBe('wss://chat.test/second');
  });

  test('a connection pings after silence, and is closed without an answer', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.clock.advance(24_999);
    socket.receive({ type: 'pong' });
    all.clock.advance(24_999);
    expect(socket.sent).toEqual([]);
    all.clock.advance(1);
    expect(socket.takeSent('ping')).toHaveLength(1);
    socket.receive({ type: 'pong' });
    all.clock.advance(29_999);
    expect(all.client.state).toBe('open');
    all.clock.advance(1);
    expect(all.client.state).toBe('waiting');
    expect(socket.closed).toBe(4000);
  });
});

describe('reconnecting', () => {
  test('the reconnection delay doubles up to its limit, with full jitter', async () => {
    const all = new Harness({ backoff: { first: 100, max: 1_000 }, random: () => 0.5 });
    const delays = [];
    for (let i = 0; i < 6; i++) {
      await turn();
      all.socket.end(1012);
      delays.push((all.of('reconnecting').at(-1) as { delay: number }).delay);
      all.clock.advance(1_000);
    }
    expect(delays).toEqual([50, 100, 200, 400, 500, 500]);
  });

  test('the delay is reset only by a connection that stayed open for 15 s', async () => {
    const all = new Harness({ random: () => 0.5 });
    await all.open();
    await all.reconnect();
    await all.reconnect();
    all.clock.advance(14_999);
    await all.reconnect();
    all.clock.advance(15_000);
    all.socket.end();
    const delays = all.of('reconnecting').map((info) => (info as { delay: number }).delay);
    expect(delays).toEqual([250, 500, 1_000, 250]);
  });

  test.each([1000, 1008, 4400, 4401, 4403, 4409, 4499])('close code %i ends the client', async (code) => {
    const all = new Harness();
    const socket = await all.open();
    const pending = failure(all.client.request('sum'));
    const room = all.client.join('lobby');
    socket.end(code, 'why');
    expect(all.client.state).toBe('closed');
    expect(all.of('closed')).toEqual([{ code, reason: 'why' }]);
    expect(await pending).toMatchObject({ code: 'CLOSED', outcome: 'unknown' });
    expect(await failure(room.ready)).toMatchObject({ code: 'CLOSED' });
    expect(room.state).toBe('left');
    expect(all.clock.timers).toBe(0);
    expect(await failure(all.client.request('sum'))).toMatchObject({ code: 'CLOSED', outcome: 'failed' });
    expect(await failure(all.client.setStatus('away'))).toMatchObject({ code: 'CLOSED' });
    expect(all.client.join('lobby').state).toBe('left');
    all.client.reconnect();
    expect(all.sockets).toHaveLength(1);
  });

  test.each([1001, 1005, 1006, 1009, 1011, 1012, 1013, 4000, 4500, 4501, 4508, 4529])(
    'the client reconnects after close code %i',
    async (code) => {
      const all = new Harness();
      await all.open();
      await all.reconnect({}, code);
      expect(all.client.state).toBe('open');
      expect(all.of('open').at(-1)).toMatchObject({ reconnected: true });
    },
  );

  test('page and network events end the delay, and ping an open connection', async () => {
    const { emit, listeners } = stubPage();
    const all = new Harness();
    await turn();
    for (const type of ['online', 'visibilitychange']) {
      all.socket.end();
      expect(all.client.state).toBe('waiting');
      emit(type);
      expect(all.client.state).toBe('connecting');
      await turn();
    }
    const socket = await all.open();
    emit('online');
    expect(socket.takeSent('ping')).toHaveLength(1);
    all.client.close();
    expect(listeners.size).toBe(0);
  });

  test.each(['offline', 'online', 'pageshow', 'visibilitychange', 'change'])(
    'after %s a connection that does not answer within 2 s is lost',
    async (type) => {
      const { emit } = stubPage();
      const all = new Harness();
      const socket = await all.open();
      emit(type);
      expect(socket.takeSent('ping')).toHaveLength(1);
      all.clock.advance(1_999);
      expect(all.client.state).toBe('open');
      all.clock.advance(1);
      expect(all.client.state).toBe('waiting');
    },
  );

  test('wake() ends the delay, and checks an open connection within 2 s', async () => {
    const all = new Harness();
    all.client.wake();
    const socket = await all.open();
    all.client.wake();
    expect(socket.takeSent('ping')).toHaveLength(1);
    socket.receive({ type: 'pong' });
    all.clock.advance(2_000);
    expect(all.client.state).toBe('open');
    all.client.wake();
    all.clock.advance(2_000);
    expect(all.client.state).toBe('waiting');
    all.client.wake();
    expect(all.client.state).toBe('connecting');
    all.client.close();
    all.client.wake();
    await turn();
    expect(all.client.state).toBe('closed');
    expect(all.sockets).toHaveLength(1);
  });

  test('a page in the back/forward cache closes its connection, and reconnects when it is shown', async () => {
    const { emit, document } = stubPage();
    const all = new Harness();
    const socket = await all.open();
    emit('pagehide');
    document.hidden = true;
    emit('visibilitychange');
    expect(socket.closed).toBe(4000);
    all.clock.advance(100_000);
    expect(all.client.state).toBe('waiting');
    document.hidden = false;
    emit('pageshow');
    await all.open();
    expect(all.client.state).toBe('open');
  });

  test('a request without a reply makes the client ping after 2 s, and the connection is lost 2 s later', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.clock.advance(10_000);
    const asking = failure(all.client.request('sum', 1, { timeout: 60_000 }));
    all.clock.advance(1_000);
    void all.client.request('sum', 2, { timeout: 60_000 }).catch(() => {});
    all.clock.advance(999);
    expect(socket.takeSent('ping')).toEqual([]);
    all.clock.advance(1);
    expect(socket.takeSent('ping')).toHaveLength(1);
    all.clock.advance(1_999);
    expect(all.client.state).toBe('open');
    all.clock.advance(1);
    expect(await asking).toMatchObject({ code: 'CONNECTION_LOST', outcome: 'unknown' });
  });

  test('a request does not prolong the time that an unanswered ping has', async () => {
    const { emit } = stubPage();
    const all = new Harness();
    const socket = await all.open();
    emit('online');
    expect(socket.takeSent('ping')).toHaveLength(1);
    all.clock.advance(1_900);
    void all.client.request('sum', 1, { timeout: 60_000 }).catch(() => {});
    all.clock.advance(100);
    expect(all.client.state).toBe('waiting');
  });

  test('a failed handshake with only an error event is a failed attempt with its reason', async () => {
    const all = new Harness();
    await turn();
    all.socket.emit('error', { message: '', error: { code: 'ECONNREFUSED' } });
    expect(all.of('reconnecting')).toMatchObject([{ code: 1006, reason: 'ECONNREFUSED' }]);
    all.socket.end();
    expect(all.of('reconnecting')).toHaveLength(1);
  });

  test('addresses are built without setters of URL, which React Native lacks', async () => {
    const RealUrl = URL;
    vi.stubGlobal(
      'URL',
      class {
        readonly href: string;
        constructor(address: string, base?: string) {
          this.href = new RealUrl(address, base).href;
        }
      },
    );
    vi.stubGlobal('origin', 'https://chat.test');
    for (const [url, opened] of [
      ['wss://chat.test/ws?token=a', 'wss://chat.test/ws?token=a&since=p/1'],
      ['https://chat.test/ws', 'wss://chat.test/ws?since=p/1'],
      ['/ws', 'wss://chat.test/ws?since=p/1'],
    ] as const) {
      const all = new Harness({ url });
      await all.open({ position: 'p/1' });
      expect((await all.reconnect()).url).toBe(opened);
      all.client.close();
    }
  });

  test('reconnect closes the connection, and ends a delay', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.client.reconnect();
    expect(socket.closed).toBe(4000);
    expect(all.client.state).toBe('waiting');
    all.client.reconnect();
    expect(all.client.state).toBe('connecting');
    await all.open();
    expect(all.client.state).toBe('open');
  });

  test('a reconnect by hand does not lengthen later delays, nor does it count as a failure', async () => {
    const all = new Harness({ backoff: { first: 100 }, random: () => 0.5 });
    await all.open();
    for (let i = 0; i < 3; i++) {
      all.client.reconnect();
      all.client.reconnect();
      await turn();
      all.client.reconnect();
      all.clock.advance(50);
      await all.open();
    }
    all.socket.end();
    expect(all.of('reconnecting').at(-1)).toMatchObject({ attempt: 1, delay: 50 });
    expect(all.of('reconnecting')).toHaveLength(7);
  });

  test('a reconnection without positions reports a discontinuity', async () => {
    const all = new Harness();
    await all.open();
    all.clock.advance(1_000);
    const { now } = all.clock;
    all.socket.receive({ type: 'pong' });
    const since = now.call(all.clock);
    await all.reconnect();
    expect(all.of('discontinuity')).toEqual([{ reason: 'reconnected', since, recovered: false }]);
    await all.reconnect({ position: 'p1' });
    expect(all.of('discontinuity')).toHaveLength(2);
    const socket = await all.reconnect({ position: 'p1' });
    expect(all.of('discontinuity')).toHaveLength(2);
    socket.receive({ type: 'discontinuity', reason: 'trimmed', since: 1, recovered: false });
    expect(all.of('discontinuity').at(-1)).toMatchObject({ reason: 'trimmed', since: 1, recovered: false });
  });

  test('a handler may close the client at any moment', async () => {
    for (const name of ['open', 'state', 'reconnecting', 'error'] as const) {
      const all = new Harness();
      let closes = name !== 'state';
      all.client.on(name, () => closes && all.client.close());
      await all.open();
      closes = true;
      all.socket.emit('message', { data: '{' });
      all.socket.end();
      await turn();
      expect(all.client.state).toBe('closed');
      expect(all.emitted.at(-1)?.[0]).toBe('closed');
      expect(all.clock.timers).toBe(0);
    }
  });

  test('after close no event is emitted and no timer runs', async () => {
    const all = new Harness();
    const socket = await all.open();
    const handler = vi.fn();
    all.client.events.on('*', handler);
    all.client.close();
    expect(socket.closed).toBe(1000);
    const { length } = all.emitted;
    expect(all.emitted.at(-1)).toEqual(['closed', { code: 1000, reason: 'close' }]);
    socket.receive({ type: 'event', event: 'invoice', data: 1 });
    socket.end();
    all.clock.advance(100_000);
    expect(all.emitted).toHaveLength(length);
    expect(handler).not.toHaveBeenCalled();
    expect(all.clock.timers).toBe(0);
  });
});

describe('connect() again', () => {
  test('after close, handlers stay and everything else begins anew', async () => {
    let token = 0;
    const all = new Harness({ url: () => `wss://chat.test/ws?token=${++token}` });
    const first = await all.open({ position: 'p1' });
    const received = vi.fn();
    all.client.events.on('invoice', received);
    const room = all.client.join('lobby', { members: true });
    first.answer('join', { position: 'r1' });
    first.receive({ type: 'members', room: 'lobby', reset: true, members: [] });
    void all.client.setStatus('away');
    first.answer('status');
    await turn();
    all.client.connect();
    expect(all.sockets).toHaveLength(1);
    all.client.close();
    const states: string[] = [];
    all.client.on('state', (state) => states.push(`${state} ${all.client.state}`));
    all.client.connect();
    expect(all.client.user).toBeUndefined();
    const second = await all.open({ user: 'bob', socket: 's2', position: 'q1' });
    expect(second.url).toBe('wss://chat.test/ws?token=2');
    expect(second.sent).toEqual([]);
    expect(states).toEqual(['connecting connecting', 'open open']);
    expect(all.of('open').at(-1)).toEqual({ user: 'bob', socket: 's2', reconnected: false });
    expect(all.of('discontinuity')).toEqual([]);
    second.receive({ type: 'event', event: 'invoice', data: 1 });
    expect(received).toHaveBeenCalledTimes(1);
    expect(room.state).toBe('left');
    const again = all.client.join('lobby');
    expect(again).not.toBe(room);
    expect(second.answer('join', {})).not.toHaveProperty('since');
    await again.ready;
    // The socket and the room of before no longer have an effect.
    first.receive({ type: 'event', event: 'invoice', data: 2 });
    first.end();
    await room.leave();
    expect(again.state).toBe('joined');
    expect(received).toHaveBeenCalledTimes(1);
    expect(all.client.state).toBe('open');
    all.client.close();
    expect(all.clock.timers).toBe(0);
  });

  test('after a close code that forbids to reconnect, also from a handler of `closed`', async () => {
    const { listeners } = stubPage();
    const all = new Harness();
    await all.open();
    const count = listeners.size;
    all.client.on('closed', ({ code }) => code === 4401 && all.client.connect());
    all.socket.end(4401);
    expect(all.client.state).toBe('connecting');
    await all.open();
    expect(all.client.state).toBe('open');
    expect(listeners.size).toBe(count);
  });

  test('`closed` is the last event: a status that was being sent again is not reported', async () => {
    const all = new Harness();
    await all.open();
    void all.client.setStatus('away');
    all.socket.answer('status');
    await turn();
    await all.reconnect();
    all.client.close();
    await turn();
    expect(all.emitted.at(-1)?.[0]).toBe('closed');
  });
});

describe('frames', () => {
  test('malformed frames are reported as errors, and unknown frames are ignored', async () => {
    const all = new Harness();
    await all.loadWatches();
    const socket = await all.open();
    const bad = ['{', 'null', '7', '[]', '{}', '{"type":"event"}'];
    bad.push('{"type":"members","room":"r","members":7}');
    bad.push('{"type":"presence"}', '{"type":"error","id":"x","code":"INTERNAL"}');
    const room = all.client.join('r', { members: true });
    socket.answer('join', {});
    for (const data of bad) socket.emit('message', { data });
    socket.emit('message', { data: new ArrayBuffer(3) });
    expect(all.of('error')).toHaveLength(bad.length + 1);
    expect(all.of('error')[0]).toBeInstanceOf(SyntaxError);
    expect(all.of('error')[1]).toMatchObject({ name: 'ClientError', code: 'INVALID' });
    for (const type of ['hello', '__proto__', 'constructor', 'pong']) socket.receive({ type, more: 1 });
    expect(all.of('error')).toHaveLength(bad.length + 1);
    expect(all.client.state).toBe('open');
    expect(room.state).toBe('joined');
  });

  test('an error frame without a request is reported', async () => {
    const all = new Harness();
    (await all.open()).receive({ type: 'error', code: 'INVALID', message: 'what?' });
    expect(all.of('error')).toMatchObject([{ code: 'INVALID', message: 'what?' }]);
  });

  test('events reach the handlers of their name and of * in order, and a handler that throws does not affect others', async () => {
    const all = new Harness();
    const received: unknown[] = [];
    all.client.events.on('invoice', () => {
      throw new Error('first');
    });
    all.client.events.on('invoice', async () => {
      throw new Error('second');
    });
    const off = all.client.events.on('invoice', (data, { position, from }) =>
      received.push([data, position, from]),
    );
    all.client.events.on('*', (data, { event }) => received.push([event, data]));
    all.client.on('error', () => {
      throw new Error('in the handler of errors');
    });
    const socket = await all.open();
    socket.receive({ type: 'event', event: 'invoice', position: 'p1', from: 'bob', data: 1 });
    socket.receive({ type: 'event', event: '__proto__', data: 2 });
    socket.receive({ type: 'event', event: '$later', data: 3 });
    off();
    socket.receive({ type: 'event', event: 'invoice', data: 4 });
    await turn();
    expect(received).toEqual([
      [1, 'p1', 'bob'],
      ['invoice', 1],
      ['__proto__', 2],
      ['invoice', 4],
    ]);
    expect(
      all
        .of('error')
        .map((error) => (error as Error).message)
        .sort(),
    ).toEqual(['first', 'first', 'second', 'second']);
  });
});

test('invalid options throw at once', () => {
  const WebSocket = FakeSocket;
  const url = 'wss://chat.test';
  for (const options of [
    { url: 7 as never, WebSocket },
    { url, WebSocket, timeout: 0 },
    { url, WebSocket, backoff: { first: 100, max: 10 } },
    { url, WebSocket, queue: { size: -1 } },
  ]) {
    expect(() => connect(options)).toThrow(expect.objectContaining({ code: 'INVALID' } as ClientError));
  }
  vi.stubGlobal('WebSocket', undefined);
  expect(() => connect({ url })).toThrow('no global WebSocket: pass `WebSocket` from ws');
  expect(() => connect({ WebSocket } as never)).toThrow('url: not a string or function');
});

test('calls on a client closed by the server reject with the close code and the reason', async () => {
  const all = new Harness();
  const socket = await all.open();
  const room = all.client.join('lobby');
  const ready = failure(room.ready);
  socket.end(4401, 'who are you?');
  const text = 'the client is closed: 4401 who are you?';
  expect(await ready).toMatchObject({ code: 'CLOSED', message: text });
  expect(await failure(all.client.request('sum'))).toMatchObject({ code: 'CLOSED', message: text });
  expect(await failure(room.send('message', 1))).toMatchObject({ code: 'CLOSED', message: text });
});

test('a call that times out without a connection rejects with the reason of the last failed attempt', async () => {
  const all = new Harness({ timeout: 1_000 });
  const asking = failure(all.client.request('sum'));
  await turn();
  all.socket.emit('error', { message: 'connect ECONNREFUSED 127.0.0.1:1' });
  all.clock.advance(1_000);
  expect(await asking).toMatchObject({
    code: 'TIMEOUT',
    outcome: 'failed',
    message: 'not connected: 1006 connect ECONNREFUSED 127.0.0.1:1',
  });
});

test.each([
  ['a Map', new Map([[1, 2]])],
  ['a Set', new Set([1])],
  ['NaN', Number.NaN],
  ['a function', () => 1],
  ['a BigInt', 1n],
])('%s is rejected as data, because JSON would change it', async (_, data) => {
  const all = new Harness();
  const socket = await all.open();
  const room = all.client.join('lobby');
  socket.answer('join', {});
  const refusal = { code: 'INVALID', message: 'data: not JSON' };
  expect(await failure(room.send('message', data))).toMatchObject(refusal);
  expect(await failure(all.client.request('sum', data))).toMatchObject(refusal);
  expect(socket.sent).toEqual([]);
});

test('an event without data is rejected, a request without data is not', async () => {
  const all = new Harness();
  const socket = await all.open();
  const room = all.client.join('lobby');
  socket.answer('join', {});
  expect(await failure(room.send('message', undefined))).toMatchObject({ code: 'INVALID' });
  void all.client.request('sum').catch(() => {});
  await turn();
  expect(socket.sent).toMatchObject([{ type: 'request' }]);
});

test('all connections of a client have the same client id in the URL, and two clients have different ids', async () => {
  const [one, two] = [new Harness(), new Harness()];
  const first = await one.open();
  const next = await one.reconnect();
  const other = await two.open();
  expect(first.clientId).toMatch(/^\d{10,}$/);
  expect(next.clientId).toBe(first.clientId);
  expect(other.clientId).not.toBe(first.clientId);
});
