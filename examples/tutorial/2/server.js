// @ts-check
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { PresenceService } from 'rollcall';
import { WebSocketServer } from 'ws';
import { userOf } from '../session.js';

/** @param {import('rollcall').RedisClient} redis */
export function createPresenceServer(redis) {
  const presence = new PresenceService({ redis, grace: 2_000, onError: console.error });

  const server = createServer(async (_request, response) => {
    const users = [];
    for await (const userId of presence.listOnlineUsers()) users.push(userId);
    response.setHeader('content-type', 'application/json').end(JSON.stringify(users.sort()));
  });

  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket, request) => {
    socket.on('error', () => {}); // 'close' follows
    const userId = userOf(request.headers.cookie);
    if (userId === null) return socket.close(4401, 'sign in first');
    const socketId = randomUUID();
    presence.setPresence(userId, socketId).catch(() => socket.close(1013));
    // Without waiting for setPresence: the socket may close before.
    socket.on('close', () => presence.removeSocket(userId, socketId).catch(() => {}));
  });

  return {
    server,
    async close() {
      await presence.close();
      for (const socket of sockets.clients) socket.terminate();
      server.close();
      server.closeAllConnections();
    },
  };
}
