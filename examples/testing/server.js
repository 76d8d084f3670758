// @ts-check
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRollcall } from 'rollcall';
import { WebSocketServer } from 'ws';

/**
 * A small chat server: all clients see all users and all messages. Any number of processes can run it on one
 * Redis.
 *
 * @param {object} options
 * @param {import('rollcall').RedisClient} options.redis
 * @param {number} [options.port] 0 chooses a free port
 * @param {Omit<import('rollcall').PresenceOptions, 'redis'>} [options.presence]
 * @param {import('rollcall').ErrorListener} [options.onError]
 */
export async function startServer({ redis, port = 0, presence: presenceOptions = {}, onError = () => {} }) {
  const { pubsub, presence, close } = createRollcall({ redis, onError, presence: presenceOptions });
  const http = createServer((_request, response) => response.writeHead(426).end());
  const sockets = new WebSocketServer({ server: http, maxPayload: 4_096 });

  /** @param {string} text */
  const toAll = (text) => {
    for (const ws of sockets.clients) ws.send(text);
  };
  // Raw payloads need no decoding and encoding.
  await pubsub.subscribe('chat', (/** @type {string} */ text) => toAll(text), { raw: true });
  await presence.subscribe(({ userId, status }) => toAll(JSON.stringify({ userId, status })));

  sockets.on('connection', (ws, request) => {
    // Your own authentication goes here.
    const userId = new URL(request.url ?? '/', 'http://localhost').searchParams.get('user');
    if (!userId) return ws.close(1008, 'unauthenticated');
    const socketId = randomUUID();

    /** @param {Promise<unknown>} operation */
    const closeOnError = (operation) =>
      operation.catch((error) => {
        // 1008: invalid input; 1013: Redis is unavailable, so the client may reconnect later.
        ws.close(error.code === 'ERR_INVALID_ARGUMENT' ? 1008 : 1013);
      });

    ws.on('message', (data) => {
      const { status, text } = parse(String(data));
      if (status !== undefined) closeOnError(presence.setPresence(userId, socketId, status));
      if (text !== undefined) closeOnError(pubsub.publish('chat', { from: userId, text }));
    });
    ws.on('close', () => {
      presence.removeSocket(userId, socketId).catch((error) => {
        // After `stop` the sockets are removed already. rollcall repeats any other failed removal.
        if (error.code !== 'ERR_CLOSED') onError(error, { stage: 'repair' });
      });
    });
    // Protocol errors of a client; `close` follows.
    ws.on('error', () => {});

    closeOnError(presence.setPresence(userId, socketId));
  });

  await once(http.listen(port, '127.0.0.1'), 'listening');
  const address = /** @type {import('node:net').AddressInfo} */ (http.address());
  return {
    url: `ws://127.0.0.1:${address.port}`,
    /** Stops the server. With `handoff` its users stay online while they reconnect to another one. */
    async stop({ handoff = false } = {}) {
      http.close();
      await close({ handoff });
      for (const ws of sockets.clients) ws.close(1001);
    },
  };
}

/** @param {string} text */
function parse(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
