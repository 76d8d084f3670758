import { Redis } from 'ioredis';
import { createClient } from 'redis';
import {
  bufferCodec,
  closeOnSignals,
  createRollcall,
  defineChannel,
  NotificationService,
  PresenceService,
  PubSubService,
  RoomService,
  TypingService,
} from 'rollcall';
import { connect } from 'rollcall/client';
import { createMsgpackCodec } from 'rollcall/msgpack';
import { trackPresence } from 'rollcall/socket.io';
import { eventStream, pipeEventStream } from 'rollcall/sse';
import { createChaosDriver, createEmbeddedRedis } from 'rollcall/testing';
import { serveWebSocket } from 'rollcall/ws';
import { expect, test, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { timeLimit } from '../support/machine.js';

// Common mistakes of newcomers and JavaScript users, with the error message of each. A message names the argument, the cause
// and, unless it is obvious, the remedy.

type Untyped = (...args: unknown[]) => unknown;
const any = (value: unknown) => value as never;

test('every common mistake is rejected with its cause', async () => {
  // As before Node 22.
  vi.stubGlobal('WebSocket', undefined);
  const embedded = await createEmbeddedRedis();
  const redis = embedded.client;
  const r = createRollcall({ redis, onError: null });
  const peer = { send() {}, close() {}, bufferedAmount: 0 };
  const socket = await r.rooms.attach(peer, { userId: 'ann', socketId: 's1' });
  const wss = new WebSocketServer({ noServer: true });
  const serve = { rooms: r.rooms, authenticate: () => 'ann', authorize: () => true };
  const typing = new TypingService({ rooms: r.rooms });
  const notifications = new NotificationService({ rooms: r.rooms });
  const live = createClient();
  const mistakes: [mistake: string, make: () => unknown, message: string][] = [
    ['createRollcall()', () => (createRollcall as Untyped)(), 'redis: is missing'],
    ['createRollcall({})', () => createRollcall(any({})), 'redis: is missing'],
    [
      'createRollcall(client)',
      () => createRollcall(any(live)),
      'options: is a Redis client: call createRollcall({ redis: client })',
    ],
    [
      'createRollcall(promise)',
      () => createRollcall(any(Promise.resolve(live))),
      'options: is a Promise: call createRollcall({ redis: await client })',
    ],
    ['redis: url', () => createRollcall({ redis: any('redis://localhost') }), 'redis: is a string'],
    [
      'redis: options',
      () => createRollcall({ redis: any({ url: 'x' }) }),
      'redis: is an object of options, not a client',
    ],
    [
      'redis: createClient',
      () => createRollcall({ redis: any(createClient) }),
      'redis: is a function, not what it returns',
    ],
    [
      'redis: class Redis',
      () => createRollcall({ redis: any(Redis) }),
      'redis: is a function, not what it returns',
    ],
    [
      'redis: promise',
      () => createRollcall({ redis: any(Promise.resolve(live)) }),
      'redis: is a Promise: await it, as in { redis: await client.connect() }',
    ],
    [
      'redis: multi',
      () => createRollcall({ redis: any(live.multi()) }),
      'redis: is of class Class, which is no client that rollcall knows',
    ],
    [
      'redis: keyPrefix',
      () => createRollcall({ redis: new Redis({ keyPrefix: 'a:', lazyConnect: true }) }),
      'redis: has the keyPrefix "a:", which clients apply to keys but not to channels; use rollcall\'s own prefix option',
    ],
    [
      'onError: string',
      () => createRollcall({ redis, onError: any('log') }),
      'onError: must be a function, not "log"',
    ],
    [
      'misspelt',
      () => createRollcall({ redis, timout: 1 } as never),
      'options: has an unknown option "timout"; did you mean "timeout"?',
    ],
    [
      'grace at the top',
      () => createRollcall({ redis, grace: 1 } as never),
      'options: grace is an option of presence: pass { redis, presence: { grace } }',
    ],
    [
      'timeout string',
      () => new PubSubService({ redis, timeout: any('5000') }),
      'timeout: must be a number of ms from 1 to 600000, not "5000"',
    ],
    [
      'timeout 0',
      () => new PubSubService({ redis, timeout: 0 }),
      'timeout: must be a number of ms from 1 to 600000, not 0',
    ],
    [
      'clock',
      () => new PubSubService({ redis, clock: any({}) }),
      'clock: lacks the methods now, monotonic, random, after',
    ],
    [
      'codec',
      () => new PubSubService({ redis, codec: any(JSON) }),
      'codec: must be a codec: an object with encode and decode',
    ],
    ['publish()', () => (r.pubsub.publish as Untyped)(), 'channel: must be a string, not undefined'],
    [
      'publish channel only',
      () => (r.pubsub.publish as Untyped)('a'),
      'message: cannot be encoded as JSON: undefined has no JSON form: pass null',
    ],
    [
      'publish BigInt',
      () => r.pubsub.publish('a', 1n),
      'message: cannot be encoded as JSON: Do not know how to serialize a BigInt',
    ],
    [
      'publish function',
      () => r.pubsub.publish('a', () => {}),
      'message: cannot be encoded as JSON: a function has no JSON form',
    ],
    [
      'publish Map',
      () => r.pubsub.publish('a', new Map([[1, 2]])),
      'message: cannot be encoded as JSON: a Map has no JSON form',
    ],
    [
      'publish Buffer',
      () => r.pubsub.publish('a', Buffer.from('x')),
      'message: is bytes, which have no JSON form: use bufferCodec',
    ],
    [
      'publish cyclic',
      () => {
        const o: Record<string, unknown> = {};
        o['o'] = o;
        return r.pubsub.publish('a', o);
      },
      "message: cannot be encoded as JSON: Converting circular structure to JSON\n    --> starting at object with constructor 'Object'\n    --- property 'o' closes the circle",
    ],
    [
      'publish object to bufferCodec',
      () => new PubSubService({ redis: embedded.connect(), codec: bufferCodec }).publish('a', any({})),
      'message: must be a Buffer, a typed array, a DataView or an ArrayBuffer for bufferCodec',
    ],
    [
      'publish history ttl',
      () => r.pubsub.publish('a', 1, { history: { size: 1, tll: 5 } as never }),
      'history: has an unknown option "tll"; did you mean "ttl"?',
    ],
    [
      'publish history true',
      () => r.pubsub.publish('a', 1, { history: any(true) }),
      'history: must be an object, not true',
    ],
    [
      'publish idempotencyKey w/o history',
      () => r.pubsub.publish('a', 1, { idempotencyKey: 'k' }),
      'idempotencyKey: can only be used with history',
    ],
    [
      'subscribe no handler',
      () => (r.pubsub.subscribe as Untyped)('a'),
      'handler: must be a function, not undefined',
    ],
    [
      'subscribe swapped',
      () => (r.pubsub.subscribe as Untyped)(() => {}, 'a'),
      'channel: is a function: a definition is called with its params, as in room({ id }); the channel comes before the handler',
    ],
    [
      'subscribe array',
      () => (r.pubsub.subscribe as Untyped)(['a', 'b'], () => {}),
      'channel: must be one channel, not an array: make one call for each',
    ],
    [
      'subscribe definition',
      () => (r.pubsub.subscribe as Untyped)(defineChannel('room:{id}'), () => {}),
      'channel: is a function: a definition is called with its params, as in room({ id }); the channel comes before the handler',
    ],
    [
      'subscribe since',
      () => r.pubsub.subscribe('a', () => {}, { since: 'last' }),
      "since: must be 'latest', 'earliest' or a position returned by rollcall, not \"last\"",
    ],
    [
      'subscribe signal',
      () => r.pubsub.subscribe('a', () => {}, { signal: any(new AbortController()) }),
      'signal: must be an AbortSignal, not an object',
    ],
    [
      'psubscribe since',
      () => r.pubsub.psubscribe('a*', () => {}, { since: 'latest' } as never),
      'since: cannot be used with a pattern: only channels have history',
    ],
    [
      'messages overflow',
      () => r.pubsub.messages('a', { overflow: any('drop') }),
      'overflow: must be one of drop-oldest, drop-newest, close, not "drop"',
    ],
    [
      'recover',
      () => r.pubsub.recover({ channels: { a: 'x' } }),
      'channels["a"]: must be a position returned by rollcall',
    ],
    ['recover()', () => (r.pubsub.recover as Untyped)(), 'request: is missing'],
    [
      'recover string',
      () => r.pubsub.recover({ channels: any('a') }),
      'channels: must be an object of positions by channel name, or an iterable of [channel, position] pairs',
    ],
    [
      'history last',
      () => r.pubsub.history('a', { last: 5 } as never),
      'options: has an unknown option "last"; known are since, before, limit, reverse',
    ],
    [
      'history limit',
      () => r.pubsub.history('a', { limit: 0 }),
      'limit: must be a whole number from 1 to 1000, not 0',
    ],
    ['defineChannel missing param', () => (defineChannel('room:{id}') as Untyped)({}), 'id: is missing'],
    ['defineChannel no params', () => (defineChannel('room:{id}') as Untyped)(), 'id: is missing'],
    [
      'defineChannel unbalanced',
      () => defineChannel('room:{id' as never),
      'template: "room:{id" has a brace outside a placeholder such as {roomId}',
    ],
    [
      'defineChannel schema',
      () => defineChannel('r', { schema: any({ parse() {} }) }),
      'schema: must be a Standard Schema of version 1',
    ],
    [
      'prefix',
      () => new PresenceService({ redis, prefix: 'my app' }),
      'prefix: must be 1 to 64 letters, digits or any of "_ . : -", not "my app"',
    ],
    [
      'lease in seconds',
      () => new PresenceService({ redis, lease: 30 }),
      'lease: must be a number of ms from 500 to 86400000, not 30',
    ],
    [
      'partitions',
      () => new PresenceService({ redis, partitions: 0 }),
      'partitions: must be a whole number from 1 to 1024, not 0',
    ],
    [
      'setPresence numeric user',
      () => r.presence.setPresence(any(42), 's'),
      'userId: must be a string, not 42',
    ],
    [
      'setPresence no socket',
      () => (r.presence.setPresence as Untyped)('ann'),
      'socketId: must be a string, not undefined',
    ],
    [
      'status offline',
      () => r.presence.setPresence('a', 's', 'offline'),
      'status: must not be "offline": that is what a user without sockets is; call removeSocket',
    ],
    [
      'status space',
      () => r.presence.setPresence('a', 's', 'in a call'),
      'status: must be 1 to 64 letters, digits or any of "_ . : -", without spaces, not "in a call"',
    ],
    [
      'meta third',
      () => (r.presence.setPresence as Untyped)('a', 's', { device: 'x' }),
      'status: must be a string, not an object: meta is the fourth argument',
    ],
    [
      'meta too big',
      () => r.presence.setPresence('a', 's', 'online', { x: 'y'.repeat(5000) }),
      'meta: is 5008 bytes of JSON; maxMetaBytes is 4096',
    ],
    [
      'getMultiplePresence string',
      () => r.presence.getMultiplePresence('ann'),
      'userIds: must be an iterable of strings, not "ann"',
    ],
    [
      'getPresence array',
      () => (r.presence.getPresence as Untyped)(['ann']),
      'userId: must be a string, not an array',
    ],
    [
      'presence.subscribe()',
      () => (r.presence.subscribe as Untyped)(),
      'handler: must be a function, not undefined',
    ],
    [
      'watch string',
      () => r.presence.watch('ann', () => {}),
      'userIds: must be an iterable of strings, not "ann"',
    ],
    [
      'statusPriority',
      () => new PresenceService({ redis, statusPriority: any('online') }),
      'statusPriority: must be a non-empty array of statuses',
    ],
    [
      'rooms without pubsub',
      () => new RoomService({ redis } as never),
      'pubsub: must be a PubSubService: pass the pubsub of createRollcall',
    ],
    [
      'attach {}',
      () => r.rooms.attach(any({}), { userId: 'a' }),
      'peer: must have the methods send and close, and the number bufferedAmount',
    ],
    ['attach no user', () => (r.rooms.attach as Untyped)(peer), 'userId: must be a string, not undefined'],
    [
      'attach twice',
      () => r.rooms.attach(peer, { userId: 'ann', socketId: 's1' }),
      'socketId: is attached already: use another id for every connection',
    ],
    [
      'broadcast object',
      () => (r.rooms.broadcast as Untyped)('lobby', { text: 'x' }),
      'event: must be a string, not an object',
    ],
    [
      'broadcast $',
      () => r.rooms.broadcast('lobby', '$x'),
      'event: must not begin with "$", which rollcall uses for its own events',
    ],
    [
      'broadcast undefined fn',
      () => (r.rooms.broadcast as Untyped)('lobby', 'e', () => {}),
      'data: cannot be encoded as JSON: a function has no JSON form',
    ],
    [
      'broadcast Map',
      () => r.rooms.broadcast('lobby', 'e', any(new Map([[1, 2]]))),
      'data: cannot be encoded as JSON: a Map has no JSON form',
    ],
    [
      'sendToUser Promise',
      () => r.rooms.sendToUser('ann', 'e', any(Promise.resolve(1))),
      'data: cannot be encoded as JSON: a Promise (await it) has no JSON form',
    ],
    [
      'sendToUser NaN',
      () => r.rooms.sendToUser('ann', 'e', Number.NaN),
      'data: cannot be encoded as JSON: NaN has no JSON form',
    ],
    [
      'broadcast Buffer',
      () => r.rooms.broadcast('lobby', 'e', any(Buffer.from('x'))),
      'data: is bytes, which have no JSON form',
    ],
    [
      'join since+last',
      () => socket.join('a', { since: 'earliest', last: 5 }),
      'last: cannot be combined with since',
    ],
    [
      'join true members',
      () => socket.join('a', { members: any('all') }),
      "members: must be true, false or 'count'",
    ],
    ['update unjoined', () => socket.update('nowhere', 1), 'room: must be joined first'],
    ['socket.watch string', () => socket.watch('bob'), 'userIds: must be an array of ids, not one string'],
    ['disconnectUser reason', () => r.rooms.disconnectUser('ann', any(4403)), 'reason: must be a string'],
    [
      'typing ttl',
      () => new TypingService({ rooms: r.rooms, ttl: 1 }),
      'ttl: must be a number of ms from 100 to 600000, not 1',
    ],
    [
      'typing {}',
      () => new TypingService({} as never),
      'rooms: must be a RoomService: pass the rooms of createRollcall',
    ],
    [
      'typing.start no user',
      () => (typing.start as Untyped)('lobby'),
      'userId: must be a string, not undefined',
    ],
    [
      'notifications {}',
      () => new NotificationService({} as never),
      'rooms: must be a RoomService: pass the rooms of createRollcall',
    ],
    [
      'notify no data',
      () => (notifications.notify as Untyped)('ann'),
      'notification: cannot be encoded as JSON: undefined has no JSON form: pass null',
    ],
    [
      'acknowledge bad id',
      () => notifications.acknowledge('ann', 'x'),
      'id: must be a position returned by rollcall',
    ],
    [
      'serveWebSocket no authorize',
      () => serveWebSocket(wss, { ...serve, authorize: undefined } as never),
      'authorize: must be a function, not undefined',
    ],
    [
      'serveWebSocket no rooms',
      () => serveWebSocket(wss, { ...serve, rooms: undefined } as never),
      'rooms: must be a RoomService: pass the rooms of createRollcall',
    ],
    [
      'serveWebSocket port',
      () => (serveWebSocket as Untyped)(8080, serve),
      'server: must be a WebSocketServer of ws',
    ],
    [
      'serveWebSocket ws 7',
      () => serveWebSocket({ options: { backlog: null }, on: () => {}, off: () => {} } as never, serve),
      'server: is of ws 8.4 or older; rollcall/ws needs ws 8.5 or later',
    ],
    [
      'serveWebSocket requests',
      () => serveWebSocket(wss, { ...serve, requests: { a: any('x') } }),
      'requests.a: must be a function, not "x"',
    ],
    [
      'serveWebSocket request name',
      () => serveWebSocket(wss, { ...serve, requests: { 'a b': async () => 1 } }),
      'requests["a b"]: is no name that a client can call: use 1 to 64 letters, digits or any of "_ . : -"',
    ],
    [
      'serveWebSocket misspelt',
      () => serveWebSocket(wss, { ...serve, heartbeatInterwal: 1 } as never),
      'options: has an unknown option "heartbeatInterwal"; did you mean "heartbeatInterval"?',
    ],
    [
      'serveWebSocket createRollcall',
      () => serveWebSocket(wss, { ...serve, rooms: any(r) }),
      'rooms: must be a RoomService: pass the rooms of createRollcall',
    ],
    [
      'eventStream node req',
      () => (eventStream as Untyped)({ headers: {} }, { pubsub: r.pubsub, channels: ['a'] }),
      'request: must be a Request; for a request of node:http call pipeEventStream',
    ],
    [
      'pipeEventStream Request',
      () => (pipeEventStream as Untyped)(new Request('http://x'), {}, { pubsub: r.pubsub, channels: ['a'] }),
      'response: must be a response of node:http',
    ],
    [
      'eventStream nothing',
      () => eventStream(new Request('http://x'), {} as never),
      'options: must have either pubsub and channels, or rooms and a user',
    ],
    [
      'eventStream both',
      () => eventStream(new Request('http://x'), { pubsub: r.pubsub, rooms: r.rooms } as never),
      'options: must have either pubsub and channels, or rooms and a user',
    ],
    [
      'eventStream channels string',
      () => eventStream(new Request('http://x'), { pubsub: r.pubsub, channels: any('news') }),
      'channels: must be a list of 1 to 100 channels',
    ],
    [
      'eventStream no user',
      () => eventStream(new Request('http://x'), { rooms: r.rooms, join: ['a'] } as never),
      'user: is missing: pass { userId }',
    ],
    [
      'trackPresence no io',
      () => (trackPresence as Untyped)({}, { presence: r.presence }),
      'io: must be a Server or Namespace of Socket.IO 4',
    ],
    ['connect()', () => (connect as Untyped)(), 'url: not a string or function'],
    ['connect {}', () => connect({} as never), 'url: not a string or function'],
    [
      'connect no WebSocket',
      () => connect({ url: 'ws://127.0.0.1:1' }),
      'no global WebSocket: pass `WebSocket` from ws',
    ],
    [
      'connect backoff',
      () => connect({ url: 'ws://127.0.0.1:1', WebSocket, backoff: { first: 0 } }),
      'backoff, timeout or queue: out of range',
    ],
    [
      'join empty',
      () => {
        const c = connect({ url: 'ws://127.0.0.1:1', WebSocket });
        try {
          return c.join('');
        } finally {
          c.close();
        }
      },
      'room: empty, or not a string',
    ],
    [
      'watch string',
      () => {
        const c = connect({ url: 'ws://127.0.0.1:1', WebSocket });
        try {
          return c.watch('bob');
        } finally {
          c.close();
        }
      },
      'users: not a list',
    ],
    [
      'watch nothing',
      () => {
        const c = connect({ url: 'ws://127.0.0.1:1', WebSocket });
        try {
          return (c.watch as Untyped)();
        } finally {
          c.close();
        }
      },
      'users: not a list',
    ],
    [
      'client send Map',
      async () => {
        const c = connect({ url: 'ws://127.0.0.1:1', WebSocket });
        try {
          return await c.request('x', new Map());
        } finally {
          c.close();
        }
      },
      'data: not JSON',
    ],
    [
      'client closed',
      async () => {
        const c = connect({ url: 'ws://127.0.0.1:1', WebSocket });
        c.close();
        return c.request('x');
      },
      'the client is closed: 1000 close',
    ],
    [
      'wrong port',
      async () => {
        const c = connect({ url: 'ws://127.0.0.1:1', WebSocket, timeout: timeLimit(1_000) });
        try {
          return await c.request('x');
        } finally {
          c.close();
        }
      },
      'not connected: 1006 connect ECONNREFUSED 127.0.0.1:1',
    ],
    ['closeOnSignals()', () => (closeOnSignals as Untyped)(), 'close: must be a function, not undefined'],
    [
      'msgpack option',
      () => createMsgpackCodec({ map: true } as never),
      'options: has an unknown option "map"; did you mean "maps"?',
    ],
    [
      'failNext',
      () => createChaosDriver(embedded.connect()).failNext('reply' as never),
      'fault: must be one of request-lost, reply-lost, not "reply"',
    ],
    [
      'publish after close',
      async () => {
        const p = new PubSubService({ redis: embedded.connect() });
        await p.close();
        return p.publish('a', 1);
      },
      'this PubSubService is closed',
    ],
  ];
  const messages: [string, string][] = [];
  for (const [mistake, make] of mistakes) {
    try {
      await make();
      messages.push([mistake, 'no error']);
    } catch (error) {
      messages.push([mistake, (error as Error).message.split('; pass a client, pool')[0] as string]);
    }
  }
  expect(messages).toEqual(mistakes.map(([mistake, , message]) => [mistake, message]));
  vi.unstubAllGlobals();
  await typing.close();
  await r.close();
  await embedded.close();
});
