// @ts-check
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRollcall } from 'rollcall';
import { WebSocketServer } from 'ws';

/**
 * A small chat server: everybody sees who is there, and everything anybody says. Any number of
 * processes run it on one Redis.
 *
 * @param {object} options
 * @param {import('rollcall').RedisClient} options.redis
 * @param {number} [options.port] 0 takes a spare one
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
  // Relayed as it came: nothing is parsed only to be written again.
  await pubsub.subscribe('chat', (/** @type {string} */ text) => toAll(text), { raw: true });
  await presence.subscribe(({ userId, status }) => toAll(JSON.stringify({ userId, status })));

  sockets.on('connection', (ws, request) => {
    // Your own authentication goes here.
    const userId = new URL(request.url ?? '/', 'http://localhost').searchParams.get('user');
    if (!userId) return ws.close(1008, 'who are you?');
    const socketId = randomUUID();

    /** @param {Promise<unknown>} work */
    const orClose = (work) =>
      work.catch((error) => {
        // 1008: the client's fault; 1013: Redis is away, and the client may come back.
        ws.close(error.code === 'ERR_INVALID_ARGUMENT' ? 1008 : 1013);
      });

    ws.on('message', (data) => {
      const { status, text } = parse(String(data));
      if (status !== undefined) orClose(presence.setPresence(userId, socketId, status));
      if (text !== undefined) orClose(pubsub.publish('chat', { from: userId, text }));
    });
    ws.on('close', () => {
      presence.removeSocket(userId, socketId).catch((error) => {
        // After `stop` the sockets are gone already. Anything else is made up for by rollcall.
        if (error.code !== 'ERR_CLOSED') onError(error, { stage: 'repair' });
      });
    });
    // What a broken client does; `close` follows.
    ws.on('error', () => {});

    orClose(presence.setPresence(userId, socketId));
  });

  await once(http.listen(port, '127.0.0.1'), 'listening');
  const address = /** @type {import('node:net').AddressInfo} */ (http.address());
  return {
    url: `ws://127.0.0.1:${address.port}`,
    /** Ends the server; with `handoff` its users stay visible while they reconnect elsewhere. */
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
