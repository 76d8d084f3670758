// For Deno, without a framework.

/**
 * @param {import('rollcall/server').ConnectionHandler} handler
 * @param {number} port
 */
export function serve(handler, port) {
  return Deno.serve({ port, hostname: '127.0.0.1' }, async (request) => {
    if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') {
      return new Response('a WebSocket is expected', { status: 426 });
    }
    const handshake = await handler.upgrade(request);
    const { rejection, protocol } = handshake;
    if (rejection) return new Response(rejection.text, rejection);
    // Deno sends pings by itself, and closes a connection that does not answer for idleTimeout seconds.
    const { socket, response } = Deno.upgradeWebSocket(request, { protocol, idleTimeout: 30 });
    socket.onopen = () => handler.open(socket, handshake);
    socket.onmessage = ({ data }) => handler.message(socket, data);
    socket.onclose = () => handler.close(socket);
    return response;
  });
}
