// @ts-check
import websocket from '@fastify/websocket';
import fastify from 'fastify';

/** @typedef {import('node:http').IncomingMessage} IncomingMessage */

/** @param {import('rollcall/server').ConnectionHandler<IncomingMessage>} handler */
export async function createApp(handler) {
  const app = fastify();
  await app.register(websocket, {
    options: {
      maxPayload: 65_536,
      handleProtocols: (protocols) => (protocols.has('rollcall.1') ? 'rollcall.1' : false),
    },
    // Without this, the plugin closes all connections at once when the app closes.
    preClose: (done) => void handler.shutdown({ drainPeriod: 5_000 }).then(() => done(), done),
  });

  /** @type {WeakMap<IncomingMessage, import('rollcall/server').Handshake<IncomingMessage>>} */
  const handshakes = new WeakMap();
  app.get(
    '/chat',
    {
      websocket: true,
      preValidation: async ({ raw }, reply) => {
        const handshake = await handler.upgrade(raw);
        handshakes.set(raw, handshake);
        const { rejection } = handshake;
        if (rejection) await reply.code(rejection.status).headers(rejection.headers).send(rejection.text);
      },
    },
    (socket, { raw }) => {
      handler.open(socket, handshakes.get(raw) ?? { request: raw });
      socket.on('message', (data, isBinary) => handler.message(socket, isBinary ? data : data.toString()));
      socket.on('pong', (data) => handler.pong(socket, data));
      socket.on('error', () => handler.error(socket));
      socket.on('close', () => handler.close(socket));
    },
  );
  return app;
}
