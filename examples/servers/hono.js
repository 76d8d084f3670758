// @ts-check
import { upgradeWebSocket } from '@hono/node-server';
import { Hono } from 'hono';

/** @typedef {import('rollcall/server').Handshake} Handshake */

/** @param {import('rollcall/server').ConnectionHandler} handler */
export function createApp(handler) {
  /** @type {Hono<{ Variables: { handshake: Handshake } }>} */
  const app = new Hono();
  app.get(
    '/chat',
    async (context, next) => {
      const handshake = await handler.upgrade(context.req.raw);
      const { rejection } = handshake;
      if (rejection) return new Response(rejection.text, rejection);
      context.set('handshake', handshake);
      return next();
    },
    upgradeWebSocket(({ var: { handshake } }) => ({
      onOpen: (_, { raw }) => {
        const socket = /** @type {import('ws').WebSocket} */ (/** @type {unknown} */ (raw));
        socket.on('pong', (data) => handler.pong(socket, data));
        handler.open(socket, handshake);
      },
      onMessage: ({ data }, { raw }) => handler.message(/** @type {any} */ (raw), data),
      onError: (_, { raw }) => handler.error(/** @type {any} */ (raw)),
      onClose: (_, { raw }) => handler.close(/** @type {any} */ (raw)),
    })),
  );
  return app;
}
