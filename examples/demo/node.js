// @ts-check
// One server node of the chat. It knows nothing of the other nodes: Redis is all they share. This is the
// file to copy.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { createRollcall, NotificationService } from 'rollcall';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';
import { isSameOrigin, urlOf } from './http.js';
import { notifyMentions } from './mentions.js';
import { isName, MAX_FRAME_BYTES, options, RATE, ROOMS, STATUSES, sayEverySecond } from './settings.js';
import { readTicket } from './tickets.js';

/**
 * @param {string} name
 * @param {import('rollcall').RedisClient} redis
 * @param {string} secret opens tickets
 */
export async function startNode(name, redis, secret) {
  const started = Date.now();
  const totals = { connects: 0, returns: 0, madeUp: 0, lost: 0, failures: 0 };
  const onError = () => void totals.failures++;

  const { pubsub, presence, rooms, close } = createRollcall({
    redis,
    onError,
    ...options,
    presence: { ...options.presence, nodeName: name },
  });
  const notifications = new NotificationService({ rooms, onError });

  const http = createServer((_request, response) => response.writeHead(426).end());
  const webSockets = new WebSocketServer({
    server: http,
    verifyClient: (/** @type {{ req: import('node:http').IncomingMessage }} */ { req }) => isSameOrigin(req),
  });

  const serving = serveWebSocket(webSockets, {
    rooms,
    onError,
    maxFrameBytes: MAX_FRAME_BYTES,
    rateLimit: new RateLimiterMemory(RATE),
    heartbeatInterval: 10_000,
    authenticate(request) {
      const ticket = readTicket(secret, urlOf(request).searchParams.get('ticket'));
      if (ticket === null) return null;
      const meta = { node: name, device: deviceOf(request.headers['user-agent']) };
      return { userId: ticket.name, expiresAt: ticket.until, meta };
    },
    authorize(_user, request) {
      switch (request.action) {
        case 'join':
        case 'typing':
        case 'history':
          return ROOMS.includes(request.room);
        case 'send':
          return ROOMS.includes(request.room) && request.event === 'message';
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
      /** On which nodes, and by what, the users named are here: one round trip for all of them. */
      async devices(_socket, data) {
        const names = Array.isArray(data) ? data.filter(isName).slice(0, 100) : [];
        const found = names.length > 0 ? await presence.getMultiplePresence(names) : new Map();
        return [...found.values()].map(({ userId, sockets }) => ({
          user: userId,
          devices: sockets.map((/** @type {any} */ { status, meta }) => ({ status, ...meta })),
        }));
      },
    },
  });
  await presence.connect();
  await notifyMentions({ pubsub, rooms, presence, notifications }, totals);

  webSockets.on('connection', (_socket, request) => {
    totals.connects++;
    // A client that was here before, on whichever node, says where it stands.
    if (urlOf(request).searchParams.has('since')) totals.returns++;
  });
  const saying = sayEverySecond(pubsub, () => {
    const { sockets, users, delivered } = rooms.stats();
    return { source: name, started, sockets, users, delivered, ...totals };
  });

  // A spare port, for the front alone.
  await once(http.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (http.address());

  /** Cuts all connections, without a word to the clients. */
  const drop = () => {
    saying.stop();
    for (const socket of webSockets.clients) socket.terminate();
    http.close();
    http.closeAllConnections();
  };
  return {
    port,
    /** As for a deploy: clients are told to come back elsewhere, and nobody sees them go. */
    async stop() {
      await serving.close({ handoff: true });
      await close({ handoff: true });
      drop();
    },
    /** What a crash leaves of a node in this process, once its link to Redis is cut: nothing. */
    crash() {
      drop();
      void serving.close();
      void close();
    },
  };
}

/** @param {string | undefined} agent what the browser says of itself */
function deviceOf(agent = '') {
  return /mobi/i.test(agent) ? 'phone' : 'computer';
}
