// One server node of the chat. Nodes share nothing but Redis. This is the file to copy.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { createRollcall, NotificationService } from 'rollcall';
import { RequestError, serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';
import { notifyMentions } from './mentions.js';
import { isSameOrigin, readTicket } from './security.js';
import { isName, options, publishEverySecond, ROOMS } from './settings.js';

/** Statuses of one device. */
const STATUSES = ['online', 'away', 'busy'];
/** Statuses of a user, for all their devices; `null` is that of each device. */
const OWN_STATUSES = [null, 'busy', 'invisible'];
/** The longest duration of a user's status, in ms. */
const MAX_STATUS = 3_600_000;
/** Time in ms for which a user who was put out of a room stays out. */
const BAN = 5_000;
/** A chat message is a few hundred bytes. */
const MAX_FRAME_BYTES = 8_192;
/** Frames that a user may send from all devices; reconnecting to all rooms takes about ten. */
const RATE = { points: 100, duration: 5 };

/** @param secret verifies tickets */
export async function startNode(name, redis, secret) {
  const started = Date.now();
  const totals = { connects: 0, reconnects: 0, messages: 0, failures: 0 };
  const onError = () => void totals.failures++;

  const services = createRollcall({
    redis,
    onError,
    ...options,
    presence: { ...options.presence, nodeName: name },
  });
  const { pubsub, presence, rooms } = services;
  const notifications = new NotificationService({ rooms, onError });

  const http = createServer((_request, response) => response.writeHead(426).end());
  const webSockets = new WebSocketServer({
    server: http,
    verifyClient: ({ req }, done) => done(isSameOrigin(req), 403),
  });

  const handle = serveWebSocket(webSockets, {
    rooms,
    onError,
    maxFrameBytes: MAX_FRAME_BYTES,
    rateLimit: new RateLimiterMemory(RATE),
    heartbeatInterval: 10_000,
    authenticate(request) {
      const ticket = readTicket(secret, queryOf(request).get('ticket') ?? '');
      if (ticket === null) return null;
      const device = /mobi/i.test(request.headers['user-agent']) ? 'phone' : 'computer';
      return { userId: ticket.name, expiresAt: ticket.until, meta: { node: name, device } };
    },
    authorize(_user, { action, room, event, userId, status }) {
      switch (action) {
        case 'join':
        case 'members':
        case 'typing':
        case 'history':
          return ROOMS.includes(room);
        case 'send': {
          const allowed = ROOMS.includes(room) && event === 'message';
          if (allowed) totals.messages++;
          return allowed;
        }
        case 'watch':
          return isName(userId);
        case 'status':
          return STATUSES.includes(status);
        case 'request':
          return true;
        default:
          return false;
      }
    },
    requests: {
      ...notifications.requestHandlers(),
      /** The devices and statuses of users, in one round trip. Only the user who asks learns that they are invisible. */
      async people({ userId }, names) {
        if (!Array.isArray(names) || names.length > 100 || !names.every(isName))
          throw new RequestError('INVALID', 'no such users');
        const [people, self] = await Promise.all([
          presence.getMultiplePresence(names),
          presence.getPresence(userId, { reveal: true }),
        ]);
        return { people: Object.fromEntries(people), own: self?.ownStatus?.status ?? null };
      },
      /** Sets the user's status for all their devices; `duration`, in ms, ends it in the one before. */
      async status({ userId }, data) {
        const { status, duration } = Object(data);
        const isValid = duration === undefined || (duration > 0 && duration <= MAX_STATUS);
        if (!OWN_STATUSES.includes(status) || !isValid) throw new RequestError('INVALID', 'no such status');
        await presence.setStatus(userId, status, duration ? { until: Date.now() + duration } : {});
      },
      /** Puts a user out of a room. A real application would ask whether `userId` may do this. */
      async kick({ userId }, data) {
        const { room, user } = Object(data);
        if (!ROOMS.includes(room) || !isName(user)) throw new RequestError('INVALID', 'no such room or user');
        await rooms.kick(room, user, { reason: `${userId} put you out of ${room}`, ban: BAN });
      },
    },
  });
  await presence.connect();
  await notifyMentions({ pubsub, rooms, presence, notifications });

  webSockets.on('connection', (_socket, request) => {
    totals.connects++;
    // A client that reconnects, to any node, sends its position.
    if (queryOf(request).get('since')) totals.reconnects++;
  });
  const reporter = publishEverySecond(pubsub, () => {
    const { sockets, users } = rooms.stats();
    return { source: name, started, sockets, users, ...totals };
  });

  // A free port, for the front only.
  await once(http.listen(0, '127.0.0.1'), 'listening');

  /** Cuts all connections without close frames. */
  const drop = () => {
    reporter.stop();
    for (const socket of webSockets.clients) socket.terminate();
    http.close();
    http.closeAllConnections();
  };
  return {
    port: http.address().port,
    /** Stops as for a deploy: clients reconnect to another node, and no user is reported offline. */
    async stop() {
      await handle.close({ handoff: true });
      await services.close({ handoff: true });
      drop();
    },
    /** Simulates a crash; the caller has cut the connection to Redis before. */
    crash() {
      drop();
      void handle.close();
      void services.close();
    },
  };
}

const queryOf = ({ url }) => new URLSearchParams(url.slice(url.indexOf('?') + 1));
