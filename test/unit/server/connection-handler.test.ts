import { InvalidArgumentError, LimitError, type RoomService } from 'rollcall';
import {
  type ConnectionHandlerOptions,
  type ConnectionIdentity,
  type ConnectionPeer,
  createConnectionHandler,
  type HandshakeRequest,
} from 'rollcall/server';
import { expect, test } from 'vitest';
import type { IdentifiedListener } from '../../../src/rooms/identity-change.js';
import type { Peer } from '../../../src/rooms/peer-writer.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { deferred } from '../../support/wait.js';

type Frame = { type: string; [member: string]: unknown };

/** A connection that records the calls on it: a WebSocket of the web platform, which has no ping. */
class FakePeer implements ConnectionPeer {
  readyState = 1;
  bufferedAmount: number | undefined = 0;
  accepts: boolean | undefined;
  readonly frames: Frame[] = [];
  readonly done: string[] = [];

  send(frame: string): boolean | undefined {
    this.frames.push(JSON.parse(frame));
    return this.accepts;
  }
  close(code: number, reason: string): void {
    this.done.push(`close ${code} ${reason}`);
  }
}

class PingingPeer extends FakePeer {
  ping(data = ''): void {
    this.done.push(`ping ${data}`);
  }
  terminate(): void {
    this.done.push('terminate');
  }
}

function fixture(options: Partial<ConnectionHandlerOptions<ConnectionIdentity, HandshakeRequest>> = {}) {
  const clock = new FakeClock();
  const errors: string[] = [];
  const attached: Peer[] = [];
  /** Changes of the user, which end with `changing`. */
  const changes: string[] = [];
  let changing: Promise<void> | undefined;
  const holdChanges = () => {
    const held = deferred<void>();
    changing = held.promise;
    return held;
  };
  const rooms = {
    attach: async (peer: Peer) => {
      attached.push(peer);
      const socket = {
        id: 's1',
        userId: 'ann',
        attached: true,
        rooms: [],
        detach: async () => {
          socket.attached = false;
        },
        close: (code: number, reason: string) => peer.close(code, reason),
        serve: () => {},
        changeUser: async (userId: string, _: object, onIdentified: IdentifiedListener) => {
          const previous = socket.userId;
          changes.push(`${previous} to ${userId}`);
          await changing;
          socket.userId = userId;
          onIdentified({ previous, position: '9-1' });
        },
      };
      return socket;
    },
    broadcastTyping: () => {},
  } as unknown as RoomService;
  const handler = createConnectionHandler<ConnectionIdentity, HandshakeRequest>({
    rooms,
    authenticate: () => 'ann',
    authorize: () => true,
    heartbeatInterval: 1_000,
    pongTimeout: 400,
    clock,
    onError: ({ message }) => errors.push(message),
    ...options,
  });
  const request: HandshakeRequest = { url: '/?user=ann', headers: {} };
  const open = async <P extends ConnectionPeer>(peer: P): Promise<P> => {
    handler.open(peer, { request });
    await turn();
    return peer;
  };
  /** Lets every check of the heartbeats run. */
  const pass = (ms: number) => {
    for (let at = 0; at < ms; at += 100) clock.advance(100);
  };
  return { handler, clock, errors, attached, request, open, pass, changes, holdChanges };
}

test('a peer is served from open to close, and its end is counted once', async () => {
  const { handler, open } = fixture();
  const peer = await open(new FakePeer());
  expect(peer.frames).toMatchObject([{ type: 'welcome', user: 'ann', heartbeat: 1_000 }]);
  handler.message(peer, '{"type":"ping"}');
  handler.message(peer, Buffer.from('{"type":"ping"}'));
  await turn();
  expect(peer.frames.slice(1)).toMatchObject([{ type: 'pong' }, { type: 'error', code: 'INVALID' }]);
  expect(handler.stats()).toMatchObject({ connections: 1, frames: 2, malformed: 1 });
  handler.close(peer);
  handler.close(peer);
  // Events that a transport reports late.
  handler.message(peer, '{"type":"ping"}');
  handler.error(peer);
  await turn();
  expect(peer.frames).toHaveLength(3);
  expect(handler.stats().connections).toBe(0);
});

test('a transport that reports the end within `close` ends a connection once, also when onConnect detaches its socket', async () => {
  const ended: string[] = [];
  const { handler, open } = fixture({
    onConnect: (socket) => void socket.detach(),
    onDisconnect: ({ id }) => void ended.push(id),
  });
  class PromptPeer extends FakePeer {
    override close(code: number, reason: string): void {
      super.close(code, reason);
      handler.close(this);
    }
  }
  const peer = await open(new PromptPeer());
  await turn();
  expect(peer.done).toEqual(['close 1012 detached']);
  expect(ended).toEqual(['s1']);
  expect(handler.stats().connections).toBe(0);
});

test('a request that cannot be copied is reported, and its connection closed', async () => {
  const { handler, errors } = fixture({ identityChange: true });
  const peer = new FakePeer();
  const released = { url: '/?user=ann' } as HandshakeRequest;
  Object.defineProperty(released, 'headers', {
    get() {
      throw new Error('the request was released');
    },
  });
  handler.open(peer, { request: released });
  await turn();
  expect(errors).toMatchObject([/the request was released/]);
  expect(peer.done).toMatchObject([/^close 4500/]);
});

test('a wrong use is an InvalidArgumentError that says what to do', async () => {
  const { handler, open, request } = fixture();
  const peer = await open(new FakePeer());
  const wrong: [() => unknown, RegExp][] = [
    [() => handler.open({} as never, { request }), /peer: must have the methods send and close/],
    [() => handler.open(new FakePeer(), undefined as never), /handshake: must be the result of upgrade/],
    [() => handler.open(peer, { request }), /peer: was opened before/],
    [() => handler.message(new FakePeer(), ''), /peer: was not opened/],
    [() => handler.close(undefined as never), /peer: was not opened/],
  ];
  for (const [call, message] of wrong) {
    expect(call).toThrow(InvalidArgumentError);
    expect(call).toThrow(message);
  }
  const options = { rooms: { attach: () => {} }, authenticate: () => null, authorize: () => true };
  expect(() => createConnectionHandler({ ...options, authentication: 1 } as never)).toThrow(
    /"authenticate"|unknown option/,
  );
  expect(() => createConnectionHandler(undefined as never)).toThrow(/options/);
});

test('upgrade selects the subprotocol in both forms of headers', async () => {
  const { handler } = fixture();
  const name = 'Sec-WebSocket-Protocol';
  for (const headers of [
    new Headers({ [name]: 'token.x, rollcall.1' }),
    { [name.toLowerCase()]: 'rollcall.1' },
  ]) {
    expect(await handler.upgrade({ url: '/', headers })).toMatchObject({
      protocol: 'rollcall.1',
      headers: { [name]: 'rollcall.1' },
    });
  }
  for (const headers of [new Headers(), {}, new Headers({ [name]: 'rollcall.10' })]) {
    expect(await handler.upgrade({ url: '/', headers })).toMatchObject({ protocol: undefined, headers: {} });
  }
});

test('upgrade reads the request once: a server may release it when it upgrades the connection', async () => {
  let reads = 0;
  const { handler, attached } = fixture({ authenticate: () => (reads++ === 0 ? 'ann' : null) });
  const request = { url: '/', headers: {} };
  const handshake = await handler.upgrade(request);
  Object.defineProperty(request, 'url', { get: () => expect.fail('released') });
  const peer = new FakePeer();
  handler.open(peer, handshake);
  await turn();
  expect([reads, attached.length, peer.frames[0]?.type]).toEqual([1, 1, 'welcome']);
});

test('an authenticate that never settles rejects the handshake, and is reported', async () => {
  for (const refuseWith of ['close', 'status'] as const) {
    const { handler, clock, errors, request } = fixture({
      authenticate: () => new Promise<never>(() => {}),
      refuseWith,
    });
    const answer = handler.upgrade(request);
    await turn();
    clock.advance(1_400);
    const handshake = await answer;
    expect(errors).toEqual(['authenticate has not settled within heartbeatInterval + pongTimeout']);
    if (refuseWith === 'status') {
      expect(handshake.rejection).toMatchObject({ status: 503, headers: { 'Retry-After': '1' } });
    } else {
      const peer = new FakePeer();
      handler.open(peer, handshake);
      await turn();
      expect(peer.done).toEqual(['close 4500 not available now']);
    }
  }
});

test('buffered bytes are read from a property or a function', async () => {
  const { attached, open } = fixture();
  const peer = await open(new FakePeer());
  peer.bufferedAmount = 70;
  expect(attached[0]?.bufferedAmount).toBe(70);
  const other = new FakePeer();
  other.bufferedAmount = undefined;
  await open(Object.assign(other, { getBufferedAmount: () => 80 }));
  expect(attached[1]?.bufferedAmount).toBe(80);
});

test('without buffered bytes they count from a send that returns false until drain', async () => {
  const { handler, attached, open } = fixture();
  const peer = new FakePeer();
  peer.bufferedAmount = undefined;
  await open(peer);
  const send = () => attached[0]?.send('"0123456789"');
  send();
  expect(attached[0]?.bufferedAmount).toBe(0);
  peer.accepts = false;
  send();
  peer.accepts = true;
  send();
  expect(attached[0]?.bufferedAmount).toBe(24);
  handler.drain(peer);
  expect(attached[0]?.bufferedAmount).toBe(0);
  send();
  expect(attached[0]?.bufferedAmount).toBe(0);
});

test('a peer with pings is cut if it does not answer; a transport that reports no answers at all is reported', async () => {
  const { handler, errors, open, pass } = fixture();
  const [silent, alive] = [await open(new PingingPeer()), await open(new PingingPeer())];
  pass(1_300);
  expect([silent.done, alive.done]).toEqual([['ping '], ['ping ']]);
  pass(600);
  expect(silent.done.at(-1)).toBe('terminate');
  expect(errors).toEqual([expect.stringContaining('call pong of the handler')]);
  expect(handler.stats()).toMatchObject({ silent: 2, connections: 0 });
  const answering = await open(new PingingPeer());
  pass(1_300);
  handler.pong(answering, new Uint8Array());
  pass(600);
  expect(answering.done).toEqual(['ping ']);
  expect(errors).toHaveLength(1);
});

test('a peer without pings is cut a minute after the client should have sent one, as timers of hidden pages are late', async () => {
  const { handler, errors, attached, open, pass } = fixture();
  const peer = await open(new FakePeer());
  pass(61_000);
  expect(peer.done).toEqual([]);
  // A client that receives frames sends no pings.
  attached[0]?.send('"frame"');
  pass(61_000);
  handler.message(peer, '{"type":"ping"}');
  await turn();
  pass(61_000);
  expect(peer.done).toEqual([]);
  pass(1_000);
  expect(peer.done).toEqual([expect.stringMatching(/^close 4500/)]);
  expect(handler.stats()).toMatchObject({ silent: 1, connections: 0 });
  expect(errors).toEqual([]);
});

test('lists of members are paced by pings where the transport has them', async () => {
  const { handler, attached, open } = fixture();
  const peer = await open(new PingingPeer());
  const received: number[] = [];
  attached[0]?.confirm?.(() => received.push(1));
  attached[0]?.confirm?.(() => received.push(2));
  expect(peer.done).toEqual(['ping 1', 'ping 2']);
  handler.pong(peer, Buffer.from('1'));
  expect(received).toEqual([1]);
  handler.pong(peer);
  expect(received).toEqual([1, 2]);
  await open(new FakePeer());
  expect(attached[1]?.confirm).toBeUndefined();
});

test('the transport may report the end within close', async () => {
  const { handler, attached, errors, request } = fixture({ authenticate: () => null });
  class SynchronousPeer extends FakePeer {
    override close(code: number, reason: string): void {
      super.close(code, reason);
      handler.close(this);
    }
  }
  const peers = [new SynchronousPeer(), new SynchronousPeer()] as const;
  handler.open(peers[0], await handler.upgrade(request));
  handler.open(peers[1], { request });
  await turn();
  for (const peer of peers) expect(peer.done).toEqual(['close 4401 not authenticated']);
  expect([handler.stats().connections, attached, errors]).toEqual([0, [], []]);
});

test('a code that the transport refuses cuts the connection, and is reported', async () => {
  class PickyPeer extends PingingPeer {
    override close(): void {
      throw new RangeError('no such code');
    }
  }
  const { handler, errors, open } = fixture({ authenticate: () => null });
  const peer = await open(new PickyPeer());
  expect(peer.done).toEqual(['terminate']);
  expect(handler.stats().connections).toBe(0);
  expect(errors).toEqual([expect.stringContaining('no such code')]);
});

test('nothing is sent to a WebSocket that is closing', async () => {
  const { handler, attached, open } = fixture();
  const peer = await open(new PingingPeer());
  peer.readyState = 2;
  attached[0]?.send('"late"');
  attached[0]?.confirm?.(() => expect.fail('not received'));
  handler.message(peer, '{"type":"ping"}');
  await turn();
  expect([peer.frames.length, peer.done]).toEqual([1, []]);
});

test('a connection whose transport never reports its end ends by itself', async () => {
  const { handler, clock, open } = fixture();
  const peer = await open(new PingingPeer());
  const closing = handler.shutdown();
  await turn();
  clock.advance(5_000);
  await closing;
  expect(peer.done).toEqual(['close 1012 service restart', 'terminate']);
  expect(handler.stats().connections).toBe(0);
  expect(clock.timers).toBe(0);
});

test('onConnect and onDisconnect are called once each; the connection survives their errors', async () => {
  const calls: string[] = [];
  const { handler, open, errors } = fixture({
    onConnect: ({ id }, { userId }) => {
      calls.push(`+${id} ${userId}`);
      throw new Error('of onConnect');
    },
    onDisconnect: async ({ id }, { userId }) => {
      calls.push(`-${id} ${userId}`);
      throw new Error('of onDisconnect');
    },
  });
  const peer = await open(new FakePeer());
  expect(calls).toEqual(['+s1 ann']);
  handler.message(peer, '{"type":"ping"}');
  await turn();
  expect(peer.frames.map(({ type }) => type)).toEqual(['welcome', 'pong']);
  handler.close(peer);
  await turn();
  expect(calls).toEqual(['+s1 ann', '-s1 ann']);
  expect(errors).toEqual([
    expect.stringContaining('of onConnect'),
    expect.stringContaining('of onDisconnect'),
  ]);
});

/** A connection whose token in the URL, `user.life`, expires `life` ms after it is read. */
async function refreshFixture(
  peer: FakePeer,
  headers: HandshakeRequest['headers'] = { cookie: 'a=1' },
  options: Partial<ConnectionHandlerOptions<ConnectionIdentity, HandshakeRequest>> = {},
) {
  const requests: HandshakeRequest[] = [];
  const users: unknown[] = [];
  const setUp = fixture({
    authenticate: (request) => {
      requests.push(request);
      const [userId = '', life = ''] = /token=([^&]*)/.exec(request.url ?? '')?.[1]?.split('.') ?? [];
      if (userId === 'broken') throw new Error('no database');
      return userId === '' ? null : { userId, ...(life && { expiresAt: setUp.clock.now() + Number(life) }) };
    },
    authorize: (user) => {
      users.push(user.expiresAt);
      return true;
    },
    requests: { go: () => 1 },
    ...options,
  });
  const { handler } = setUp;
  handler.open(peer, { request: { url: '/chat?token=ann.1000', headers } });
  await turn();
  const send = async (frame: object) => {
    handler.message(peer, JSON.stringify(frame));
    await turn();
    return peer.frames.at(-1);
  };
  const refresh = (token: string, id = 1) =>
    send({ type: 'refresh', id, url: `wss://x.test/other?token=${token}` });
  return { ...setUp, requests, users, send, refresh };
}

test('a refresh moves the expiry of a connection, and authorize gets the new user', async () => {
  const peer = new FakePeer();
  const { clock, refresh, requests, send, users } = await refreshFixture(peer);
  expect(peer.frames[0]).toMatchObject({ type: 'welcome', expiresIn: 1_000 });
  clock.advance(900);
  expect(await refresh('ann.3000')).toEqual({ type: 'ok', id: 1, data: { expiresIn: 3_000 } });
  // Host and path are those of the handshake.
  expect(requests[1]).toMatchObject({ url: '/chat?token=ann.3000', headers: { cookie: 'a=1' } });
  await send({ type: 'request', id: 2, method: 'go' });
  expect(users).toEqual([clock.now() + 3_000]);
  clock.advance(2_900);
  expect(peer.done).toEqual([]);
  clock.advance(100);
  expect(peer.done).toEqual(['close 4501 the credentials have expired']);
});

test('after a refresh without an expiry the connection stays open', async () => {
  const peer = new FakePeer();
  const { clock, refresh } = await refreshFixture(peer);
  expect(await refresh('ann')).toEqual({ type: 'ok', id: 1, data: {} });
  clock.advance(1_300);
  expect(peer.done).toEqual([]);
});

test('a refused refresh leaves the connection and its expiry', async () => {
  const peer = new FakePeer();
  const { clock, refresh, errors } = await refreshFixture(peer);
  expect(await refresh('')).toMatchObject({
    type: 'error',
    id: 1,
    code: 'FORBIDDEN',
    message: 'not authenticated',
  });
  expect(await refresh('ann.-1')).toMatchObject({
    code: 'FORBIDDEN',
    message: 'the credentials have expired',
  });
  expect(await refresh('broken')).toMatchObject({ code: 'UNAVAILABLE', retryAfter: 1_000 });
  expect(errors).toEqual([expect.stringContaining('no database')]);
  clock.advance(999);
  expect(peer.done).toEqual([]);
  clock.advance(1);
  expect(peer.done).toEqual(['close 4501 the credentials have expired']);
});

test('credentials of another user are refused, and the connection closes as expired', async () => {
  const peer = new FakePeer();
  const { refresh, send } = await refreshFixture(peer);
  const message = 'the credentials are of another user';
  expect(await refresh('bob.9000')).toEqual({ type: 'error', id: 1, code: 'FORBIDDEN', message });
  expect(peer.done).toEqual([`close 4501 ${message}`]);
  await send({ type: 'ping' });
  expect(peer.frames).toHaveLength(2);
});

test('with identityChange, credentials of another user change the user, and later frames are theirs', async () => {
  const peer = new FakePeer();
  const users: string[] = [];
  const { clock, refresh, send, changes, holdChanges } = await refreshFixture(peer, undefined, {
    identityChange: true,
    authorize: ({ userId }) => users.push(userId) > 0,
    requests: { who: (_socket, _data, { userId }) => userId },
  });
  const change = holdChanges();
  await refresh('bob.3000');
  expect(await send({ type: 'request', id: 2, method: 'who' })).toMatchObject({
    type: 'welcome',
    user: 'ann',
  });
  expect([changes, users]).toEqual([['ann to bob'], []]);
  change.resolve();
  await turn();
  expect(peer.frames.slice(1)).toEqual([
    { ...peer.frames[0], user: 'bob', position: '9-1', expiresIn: 3_000 },
    { type: 'ok', id: 1, data: { expiresIn: 3_000 } },
    { type: 'ok', id: 2, data: 'bob' },
  ]);
  expect(users).toEqual(['bob']);
  clock.advance(2_999);
  expect(peer.done).toEqual([]);
  clock.advance(1);
  expect(peer.done).toEqual(['close 4501 the credentials have expired']);
});

test('a frame that was authorized before the change, and waits for others, is authorized again', async () => {
  const peer = new FakePeer();
  const users: string[] = [];
  const held = deferred<void>();
  const { refresh, send } = await refreshFixture(peer, undefined, {
    identityChange: true,
    authorize: ({ userId }) => users.push(userId) > 0,
    requests: { wait: () => held.promise, who: (_socket, _data, { userId }) => userId },
  });
  // All but one of the slots. The refresh has the last one.
  for (let id = 100; id < 163; id++) await send({ type: 'request', id, method: 'wait' });
  users.length = 0;
  const authenticated = refresh('bob.3000');
  await send({ type: 'request', id: 2, method: 'who' });
  await authenticated;
  await turn();
  held.resolve();
  await turn();
  expect(peer.frames.find(({ id }) => id === 2)).toEqual({ type: 'ok', id: 2, data: 'bob' });
  expect(users.at(-1)).toBe('bob');
});

test('a change that fails leaves the user, their credentials and the connection', async () => {
  const peer = new FakePeer();
  const { clock, refresh, holdChanges } = await refreshFixture(peer, undefined, { identityChange: true });
  holdChanges().reject(new LimitError('too many sockets'));
  expect(await refresh('bob.3000')).toEqual({
    type: 'error',
    id: 1,
    code: 'LIMIT',
    message: 'too many sockets',
  });
  clock.advance(999);
  expect(peer.done).toEqual([]);
  clock.advance(1);
  expect(peer.done).toEqual(['close 4501 the credentials have expired']);
});

test('refreshes run one after the other', async () => {
  const peer = new FakePeer();
  const { handler, requests } = await refreshFixture(peer);
  for (const [id, life] of [3_000, 2_000].entries()) {
    handler.message(peer, JSON.stringify({ type: 'refresh', id, url: `?token=ann.${life}` }));
  }
  await turn();
  expect(requests.map(({ url }) => url)).toEqual([
    '/chat?token=ann.1000',
    '/chat?token=ann.3000',
    '/chat?token=ann.2000',
  ]);
  expect(peer.frames.slice(1)).toMatchObject([
    { data: { expiresIn: 3_000 } },
    { data: { expiresIn: 2_000 } },
  ]);
});

test('a refresh of a web-standard request keeps the headers of the handshake', async () => {
  const peer = new FakePeer();
  const { refresh, requests } = await refreshFixture(peer, new Headers({ cookie: 'a=1' }));
  await refresh('ann.2000');
  const [, request] = requests as Request[];
  expect(request?.url).toBe('http://localhost/chat?token=ann.2000');
  expect(request?.headers.get('cookie')).toBe('a=1');
});

test('a refresh of credentials that do not expire, and one without a URL, are INVALID', async () => {
  const { handler, open } = fixture();
  const peer = await open(new FakePeer());
  expect(peer.frames[0]).not.toHaveProperty('expiresIn');
  for (const frame of [{ url: '/' }, { url: '' }, {}]) {
    handler.message(peer, JSON.stringify({ type: 'refresh', ...frame }));
    await turn();
    expect(peer.frames.at(-1)).toMatchObject({ type: 'error', code: 'INVALID' });
  }
  expect(peer.done).toEqual([]);
});
