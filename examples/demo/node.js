// @ts-check
// One server node of the chat. Nodes share nothing but Redis. This is the file to copy.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { createRollcall, NotificationService } from 'rollcall';
import { RequestError, serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';
import { notifyMentions } from './mentions.js';
import { isSameOrigin, readTicket } from './security.js';
import * as settings from './settings.js';

const { isName, OWN_STATUSES, ROOMS, STATUSES } = settings;

/**
 * @param {string} name
 * @param {import('rollcall').RedisClient} redis
 * @param {string} secret verifies tickets
 */
export async function startNode(name, redis, secret) {
  const started = Date.now();
  const totals = { connects: 0, reconnects: 0, messages: 0, recovered: 0, lost: 0, failures: 0 };
  const onError = () => void totals.failures++;

  const { pubsub, presence, rooms, close } = createRollcall({
    redis,
    onError,
    ...settings.options,
    presence: { ...settings.options.presence, nodeName: name },
  });
  const notifications = new NotificationService({ rooms, onError });

  const http = createServer((_request, response) => response.writeHead(426).end());
  const webSockets = new WebSocketServer({
    server: http,
    /** @param {{ req: import('node:http').IncomingMessage }} info */
    verifyClient: ({ req }, done) => done(isSameOrigin(req), 403),
  });

  const handle = serveWebSocket(webSockets, {
    rooms,
    onError,
    maxFrameBytes: settings.MAX_FRAME_BYTES,
    rateLimit: new RateLimiterMemory(settings.RATE),
    heartbeatInterval: 10_000,
    authenticate(request) {
      const ticket = readTicket(secret, queryOf(request).get('ticket') ?? '');
      if (ticket === null) return null;
      const device = /mobi/i.test(request.headers['user-agent'] ?? '') ? 'phone' : 'computer';
      return { userId: ticket.name, expiresAt: ticket.until, meta: { node: name, device } };
    },
    authorize(_user, request) {
      switch (request.action) {
        case 'join':
        case 'members':
        case 'typing':
        case 'history':
          return ROOMS.includes(request.room);
        case 'send': {
          const allowed = ROOMS.includes(request.room) && request.event === 'message';
          if (allowed) totals.messages++;
          return allowed;
        }
        case 'watch':
          return isName(request.userId);
        case 'status':
          return STATUSES.includes(request.status);
        case 'request':
          return true;
      }
    },
    requests: {
      ...notifications.requestHandlers(),
      /**
       * The devices and nodes of users and the end of their status, read in one round trip, and the own status of
       * the user who asks: only they may know that they are invisible.
       */
      async people({ userId }, data) {
        const names = Array.isArray(data) ? data.filter(isName).slice(0, 100) : [];
        const [found, self] = await Promise.all([
          names.length > 0 ? presence.getMultiplePresence(names) : new Map(),
          presence.getPresence(userId, { reveal: true }),
        ]);
        const people = [...found.values()].map(({ userId, sockets, ownStatus }) => ({
          user: userId,
          until: ownStatus?.until?.getTime(),
          devices: sockets.map((/** @type {any} */ { meta }) => meta),
        }));
        return { people, own: self?.ownStatus?.status ?? null };
      },
      /** Sets the user's status for all their devices; `duration`, in ms, ends it in the one before. */
      async status({ userId }, data) {
        const { status, duration } = /** @type {any} */ (Object(data));
        const isValid = duration === undefined || (duration > 0 && duration <= settings.MAX_STATUS);
        if (!OWN_STATUSES.includes(status) || !isValid) throw new RequestError('INVALID', 'no such status');
        await presence.setStatus(userId, status, duration ? { until: Date.now() + duration } : {});
      },
      /** Puts a user out of a room. A real application would ask whether `userId` may do this. */
      async kick({ userId }, data) {
        const { room, user } = /** @type {any} */ (Object(data));
        if (!ROOMS.includes(room) || !isName(user)) throw new RequestError('INVALID', 'no such room or user');
        await rooms.kick(room, user, { reason: `${userId} put you out of ${room}`, ban: settings.BAN });
      },
    },
  });
  await presence.connect();
  await notifyMentions({ pubsub, rooms, presence, notifications }, totals);

  webSockets.on('connection', (_socket, request) => {
    totals.connects++;
    // A client that reconnects, to any node, sends its position.
    if (queryOf(request).get('since')) totals.reconnects++;
  });
  const reporter = settings.publishEverySecond(pubsub, () => {
    const { sockets, users } = rooms.stats();
    return { source: name, started, sockets, users, ...totals };
  });

  // A free port, for the front only.
  await once(http.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (http.address());

  /** Cuts all connections without close frames. */
  const drop = () => {
    reporter.stop();
    for (const socket of webSockets.clients) socket.terminate();
    http.close();
    http.closeAllConnections();
  };
  return {
    port,
    /** Stops as for a deploy: clients reconnect to another node, and no user is reported offline. */
    async stop() {
      await handle.close({ handoff: true });
      await close({ handoff: true });
      drop();
    },
    /** Simulates a crash; the caller has cut the connection to Redis before. */
    crash() {
      drop();
      void handle.close();
      void close();
    },
  };
}

/** @param {import('node:http').IncomingMessage} request */
const queryOf = ({ url = '' }) => new URLSearchParams(url.slice(url.indexOf('?') + 1));
