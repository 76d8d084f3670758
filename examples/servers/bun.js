// For Bun, without a framework.

/**
 * @param {import('rollcall/server').ConnectionHandler} handler
 * @param {number} port
 */
export function serve(handler, port) {
  return Bun.serve({
    port,
    hostname: '127.0.0.1',
    async fetch(request, server) {
      const handshake = await handler.upgrade(request);
      const { rejection, headers } = handshake;
      if (rejection) return new Response(rejection.text, rejection);
      if (server.upgrade(request, { headers, data: handshake })) return undefined;
      return new Response('a WebSocket is expected', { status: 426 });
    },
    websocket: {
      maxPayloadLength: 65_536,
      open: (socket) => handler.open(socket, socket.data),
      message: (socket, data) => handler.message(socket, data),
      ping: (socket) => handler.ping(socket),
      pong: (socket, data) => handler.pong(socket, data),
      close: (socket) => handler.close(socket),
    },
  });
}
