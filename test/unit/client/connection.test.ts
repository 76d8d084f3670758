import { type ClientError, connect } from 'rollcall/client';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { turn } from '../../support/fake-clock.js';
import { FakeSocket, failure, Harness, WELCOME } from './harness.js';

afterEach(() => vi.unstubAllGlobals());

/** Page and network, as far as the client listens to them. */
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
  test('offers the subprotocol and is open with welcome', async () => {
    const all = new Harness();
    expect(all.client.state).toBe('connecting');
    expect(all.client.user).toBeUndefined();
    const socket = await all.open();
    expect(socket.url).toBe('wss://chat.test/ws?token=1');
    expect(socket.protocols).toEqual(['rollcall.1']);
    expect(all.client).toMatchObject({ state: 'open', user: 'alice', socket: 's1' });
    expect(all.of('open')).toEqual([{ user: 'alice', socket: 's1', reconnected: false }]);
  });

  test('asks for a fresh URL each time, and names the last position in it', async () => {
    let token = 0;
    const all = new Harness({ url: async () => `https://chat.test/ws?token=${++token}` });
    const socket = await all.open({ position: 'p1' });
    socket.say({ type: 'event', event: 'invoice', position: 'p2', data: 1 });
    const second = await all.comeBack({ position: 'p2' });
    expect(second.url).toBe('wss://chat.test/ws?token=2&since=p2');
    second.say({ type: 'position', position: 'p3' });
    second.end();
    all.clock.advance(30_000);
    await turn();
    expect(all.socket.url).toContain('since=p3');
  });

  test('a URL that can not be had is a failed attempt', async () => {
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

  test('an attempt without welcome is given up, and nothing late of it is heard', async () => {
    const all = new Harness();
    await turn();
    const first = all.socket;
    all.clock.advance(10_000);
    expect(first.closed).toBe(4000);
    expect(all.of('reconnecting')).toMatchObject([{ attempt: 1, code: 1006, reason: 'no welcome' }]);
    first.say(WELCOME);
    first.end(4401);
    expect(all.client.state).toBe('waiting');
    all.clock.advance(250);
    await turn();
    expect(all.sockets).toHaveLength(2);
  });

  test('a URL that comes too late is given up, and not used any more', async () => {
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

  test('pings after silence, and gives up without an answer', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.clock.advance(24_999);
    socket.say({ type: 'pong' });
    all.clock.advance(24_999);
    expect(socket.sent).toEqual([]);
    all.clock.advance(1);
    expect(socket.take('ping')).toHaveLength(1);
    socket.say({ type: 'pong' });
    all.clock.advance(29_999);
    expect(all.client.state).toBe('open');
    all.clock.advance(1);
    expect(all.client.state).toBe('waiting');
    expect(socket.closed).toBe(4000);
  });
});

describe('coming back', () => {
  test('waits longer each time, with full jitter, up to the limit', async () => {
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

  test('a server that welcomes and closes at once meets longer waits; one that held does not', async () => {
    const all = new Harness({ random: () => 0.5 });
    await all.open();
    await all.comeBack();
    await all.comeBack();
    all.clock.advance(4_999);
    await all.comeBack();
    all.clock.advance(5_000);
    all.socket.end();
    const delays = all.of('reconnecting').map((info) => (info as { delay: number }).delay);
    expect(delays).toEqual([250, 500, 1_000, 250]);
  });

  test.each([1000, 1008, 4400, 4401, 4403, 4409, 4499])('%i ends the client', async (code) => {
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
    '%i is a reason to come back',
    async (code) => {
      const all = new Harness();
      await all.open();
      await all.comeBack({}, code);
      expect(all.client.state).toBe('open');
      expect(all.of('open').at(-1)).toMatchObject({ reconnected: true });
    },
  );

  test('the network and the page cut the wait short, and test an open connection', async () => {
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
    expect(socket.take('ping')).toHaveLength(1);
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
      expect(socket.take('ping')).toHaveLength(1);
      all.clock.advance(1_999);
      expect(all.client.state).toBe('open');
      all.clock.advance(1);
      expect(all.client.state).toBe('waiting');
    },
  );

  test('a page that goes into the back/forward cache closes its connection, and reconnects when it is shown', async () => {
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

  test('a request without a reply makes the client ping after 2 s, and the connection is lost 5 s later', async () => {
    const all = new Harness();
    const socket = await all.open();
    all.clock.advance(10_000);
    const asking = failure(all.client.request('sum', 1, { timeout: 60_000 }));
    all.clock.advance(1_000);
    void all.client.request('sum', 2, { timeout: 60_000 }).catch(() => {});
    all.clock.advance(999);
    expect(socket.take('ping')).toEqual([]);
    all.clock.advance(1);
    expect(socket.take('ping')).toHaveLength(1);
    all.clock.advance(5_000);
    expect(await asking).toMatchObject({ code: 'CONNECTION_LOST', outcome: 'unknown' });
  });

  test('a failed handshake that is reported by error alone is a failed attempt, with its reason', async () => {
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
      expect((await all.comeBack()).url).toBe(opened);
      all.client.close();
    }
  });

  test('reconnect drops the connection, and ends a wait', async () => {
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

  test('without positions the events of a break may be missing, and that is told', async () => {
    const all = new Harness();
    await all.open();
    all.clock.advance(1_000);
    const { now } = all.clock;
    all.socket.say({ type: 'pong' });
    const since = now.call(all.clock);
    await all.comeBack();
    expect(all.of('discontinuity')).toEqual([{ reason: 'reconnected', since, recovered: false }]);
    await all.comeBack({ position: 'p1' });
    expect(all.of('discontinuity')).toHaveLength(2);
    const socket = await all.comeBack({ position: 'p1' });
    expect(all.of('discontinuity')).toHaveLength(2);
    socket.say({ type: 'discontinuity', reason: 'trimmed', since: 1, recovered: false });
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
      expect(all.told.at(-1)?.[0]).toBe('closed');
      expect(all.clock.timers).toBe(0);
    }
  });

  test('after close nothing is told and nothing runs', async () => {
    const all = new Harness();
    const socket = await all.open();
    const handler = vi.fn();
    all.client.events.on('*', handler);
    all.client.close();
    expect(socket.closed).toBe(1000);
    const { length } = all.told;
    expect(all.told.at(-1)).toEqual(['closed', { code: 1000, reason: 'close' }]);
    socket.say({ type: 'event', event: 'invoice', data: 1 });
    socket.end();
    all.clock.advance(100_000);
    expect(all.told).toHaveLength(length);
    expect(handler).not.toHaveBeenCalled();
    expect(all.clock.timers).toBe(0);
  });
});

describe('frames', () => {
  test('malformed ones are errors, unknown ones nothing', async () => {
    const all = new Harness();
    const socket = await all.open();
    const bad = ['{', 'null', '7', '[]', '{}', '{"type":7}', '{"type":"event"}'];
    bad.push('{"type":"members","room":"r","members":7}');
    bad.push('{"type":"presence"}', '{"type":"error","id":"x","code":"INTERNAL"}');
    const room = all.client.join('r', { members: true });
    socket.answer('join', {});
    for (const data of bad) socket.emit('message', { data });
    socket.emit('message', { data: new ArrayBuffer(3) });
    expect(all.of('error')).toHaveLength(bad.length + 1);
    expect(all.of('error')[0]).toMatchObject({ name: 'ClientError', code: 'INVALID' });
    for (const type of ['hello', '__proto__', 'constructor', 'pong']) socket.say({ type, more: 1 });
    expect(all.of('error')).toHaveLength(bad.length + 1);
    expect(all.client.state).toBe('open');
    expect(room.state).toBe('joined');
  });

  test('an error without a request is told', async () => {
    const all = new Harness();
    (await all.open()).say({ type: 'error', code: 'INVALID', message: 'what?' });
    expect(all.of('error')).toMatchObject([{ code: 'INVALID', message: 'what?' }]);
  });

  test('events come to handlers of their name and to *, in order, and one that throws disturbs nobody', async () => {
    const all = new Harness();
    const heard: unknown[] = [];
    all.client.events.on('invoice', () => {
      throw new Error('first');
    });
    all.client.events.on('invoice', async () => {
      throw new Error('second');
    });
    const off = all.client.events.on('invoice', (data, { position, from }) =>
      heard.push([data, position, from]),
    );
    all.client.events.on('*', (data, { event }) => heard.push([event, data]));
    all.client.on('error', () => {
      throw new Error('in the handler of errors');
    });
    const socket = await all.open();
    socket.say({ type: 'event', event: 'invoice', position: 'p1', from: 'bob', data: 1 });
    socket.say({ type: 'event', event: '__proto__', data: 2 });
    socket.say({ type: 'event', event: '$later', data: 3 });
    off();
    socket.say({ type: 'event', event: 'invoice', data: 4 });
    await turn();
    expect(heard).toEqual([
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

test('options that can not be are refused at once', () => {
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

test('a call on a client that the server has closed is told the close code and the reason', async () => {
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

test('a call that times out without a connection is told why there is none', async () => {
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
])('%s is refused as data, because JSON would change it', async (_, data) => {
  const all = new Harness();
  const socket = await all.open();
  const room = all.client.join('lobby');
  socket.answer('join', {});
  const refusal = { code: 'INVALID', message: 'data: not JSON' };
  expect(await failure(room.send('message', data))).toMatchObject(refusal);
  expect(await failure(all.client.request('sum', data))).toMatchObject(refusal);
  expect(socket.sent).toEqual([]);
});

test('an event without data is refused, a request without data is not', async () => {
  const all = new Harness();
  const socket = await all.open();
  const room = all.client.join('lobby');
  socket.answer('join', {});
  expect(await failure(room.send('message', undefined))).toMatchObject({ code: 'INVALID' });
  void all.client.request('sum').catch(() => {});
  await turn();
  expect(socket.sent).toMatchObject([{ type: 'request' }]);
});

test('every connection of a client has the same client id in its URL, and another client has another', async () => {
  const [one, two] = [new Harness(), new Harness()];
  const first = await one.open();
  const next = await one.comeBack();
  const other = await two.open();
  expect(first.clientId).toMatch(/^\d{10,}$/);
  expect(next.clientId).toBe(first.clientId);
  expect(other.clientId).not.toBe(first.clientId);
});
