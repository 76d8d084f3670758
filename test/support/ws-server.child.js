// A separate server process on the built package: its memory can be measured, and it can be killed.

import { createServer } from 'node:http';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { createClient, createCluster } from 'redis';
import { WebSocketServer } from 'ws';
import { PresenceService, PubSubService, RoomService } from '../../dist/index.js';
import { serveWebSocket } from '../../dist/ws.js';

const {
  port,
  prefix,
  timeout = 5_000,
  serve = {},
  rooms: roomOptions = {},
  presence: presenceOptions = {},
  forbidden,
  ws = {},
  rate,
} = JSON.parse(process.argv[2]);

const errors = [];
const onError = (error) => errors.push(`${error.name}: ${error.message}`);
process.on('unhandledRejection', (error) => errors.push(`unhandled: ${error}`));
process.on('uncaughtException', (error) => errors.push(`uncaught: ${error}`));

const reconnecting = { socket: { reconnectStrategy: 50 } };
const toUrl = (each) => ({ url: `redis://127.0.0.1:${each}` });
const redis = Array.isArray(port)
  ? createCluster({ rootNodes: port.map(toUrl), defaults: reconnecting })
  : createClient({ ...toUrl(port), ...reconnecting });
redis.on('error', () => {});
await redis.connect();

const pubsub = new PubSubService({ redis, prefix, timeout, onError });
const presence = new PresenceService({ redis, prefix, timeout, onError, ...presenceOptions });
const rooms = new RoomService({ pubsub, presence, onError, ...roomOptions });
const http = createServer();
const wss = new WebSocketServer({ server: http, ...ws });
const serving = serveWebSocket(wss, {
  rooms,
  onError,
  authenticate: ({ url }) => {
    const user = new URL(url, 'http://localhost').searchParams.get('user');
    return user === 'undecided' ? new Promise(() => {}) : user;
  },
  authorize: async (_, { action, room = '', userId = '' }) => {
    const subject = action === 'members' ? `${room}:members` : room + userId;
    if (forbidden !== undefined && (await redis.sIsMember(forbidden, subject))) return false;
    return !(room.startsWith('closed') || userId.startsWith('closed'));
  },
  requests: { echo: (_, data) => data, merge: (_, data) => ({ ...{}, ...data }) },
  ...(rate && {
    rateLimit: new RateLimiterMemory(rate),
    // The well-behaved are not counted with the others.
    rateLimitKey: ({ userId }) => userId,
  }),
  ...serve,
});

const actions = {
  memory: async () => {
    // Objects that were just dropped are released in the next turns.
    for (let round = 0; round < 3; round++) {
      await new Promise((resolve) => setImmediate(resolve));
      globalThis.gc();
    }
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  },
  stats: () => ({ ...serving.stats(), ...rooms.stats() }),
  errors: () => errors.splice(0),
  kick: ({ room, userId, options }) => rooms.kick(room, userId, options),
  revoke: ({ userId, options }) => rooms.revoke(userId, options),
  /** The properties added to Object.prototype. */
  pollution: () => {
    const found = [];
    for (const key in {}) found.push(key);
    return [...found, ...Object.keys(Object.prototype), ...Object.keys(Array.prototype)];
  },
  close: async (options = {}) => {
    const { handoff } = options;
    await serving.close(options);
    await rooms.close({ handoff });
    await presence.close({ handoff });
  },
};

process.on('message', async ({ id, action, args }) => {
  let answer;
  try {
    answer = { id, value: await actions[action](args) };
  } catch (error) {
    answer = { id, error: String(error) };
  }
  if (process.connected) process.send(answer);
});
// Whoever started this process has ended, however that went.
process.on('disconnect', () => process.exit());

http.listen(0, '127.0.0.1', () => process.send({ ready: http.address().port }));
