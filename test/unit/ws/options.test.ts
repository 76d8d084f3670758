import { InvalidArgumentError, type RoomService } from 'rollcall';
import { type ServeOptions, serveWebSocket, type WebSocketServerLike } from 'rollcall/ws';
import { expect, test } from 'vitest';
import { FakeClock } from '../../support/fake-clock.js';

const rooms = { attach: () => {}, broadcastTyping: () => {} } as unknown as RoomService;
const server = (): WebSocketServerLike => ({ options: {}, on: () => {}, off: () => {} });
const right = { rooms, authenticate: () => 'ann', authorize: () => true };

test.each<[string, object]>([
  ['rooms', { rooms: {} }],
  ['authenticate', { authenticate: undefined }],
  ['authorize', { authorize: true }],
  ['visible', { visible: true }],
  ['visible: must return true or false at once', { visible: async () => true }],
  ['onError', { onError: 1 }],
  ['rateLimit.consume', { rateLimit: {} }],
  ['rateLimit.consume', { rateLimit: null }],
  ['rateLimitKey', { rateLimitKey: 'ip' }],
  ['requests', { requests: 7 }],
  ['requests.hello', { requests: { hello: 'fixture' } }],
  ['typing.start', { typing: {} }],
  ['typing.stop', { typing: { start: () => {} } }],
  ['maxFrameBytes', { maxFrameBytes: 0 }],
  ['maxFrameBytes', { maxFrameBytes: 1.5 }],
  ['maxRooms', { maxRooms: -1 }],
  ['maxWatched', { maxWatched: Number.NaN }],
  ['heartbeatInterval', { heartbeatInterval: 0 }],
  ['pongTimeout', { pongTimeout: '10s' }],
  ['refuseWith', { refuseWith: 'silence' }],
])('an invalid %s is rejected without side effects: %j', (argument, wrong) => {
  const wss = server();
  wss.on = () => expect.fail('it has begun');
  const options = { clock: new FakeClock(), ...right, ...wrong } as ServeOptions;
  expect(() => serveWebSocket(wss, options)).toThrow(InvalidArgumentError);
  expect(() => serveWebSocket(wss, options)).toThrow(argument);
  expect(wss.options).toEqual({});
});

test('an object that is not a WebSocketServer is rejected', () => {
  for (const wrong of [undefined, null, {}, { on: () => {} }, { on: () => {}, options: null }]) {
    expect(() => serveWebSocket(wrong as never, right)).toThrow(/server/);
  }
});
