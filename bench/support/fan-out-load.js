// @ts-check
// The clients of the fan-out run: many plain WebSockets in one process, which only count messages.
import { WebSocket } from 'ws';

/** Connections that are opened concurrently. */
const AT_ONCE = 100;

/** @type {WebSocket[]} */
const sockets = [];
let received = 0;
let expected = Number.POSITIVE_INFINITY;

const count = () => {
  if (++received >= expected) {
    expected = Number.POSITIVE_INFINITY;
    process.send?.({ received });
  }
};

/**
 * Opens a connection and joins the room.
 *
 * @param {string} kind
 * @param {number} port
 */
function join(kind, port) {
  const socketIo = kind === 'socket.io';
  const path = socketIo ? 'socket.io/?EIO=4&transport=websocket' : '';
  const socket = new WebSocket(`ws://127.0.0.1:${port}/${path}`, { perMessageDeflate: false });
  sockets.push(socket);
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('message', (/** @type {Buffer} */ data) => {
      // Engine.IO: 0 open, 2 ping, 40 connected, 42 an event. Ours: {"type":"welcome" / "ok" / "event".
      const begin = data.toString('latin1', 0, 12);
      if (begin.startsWith('42') || begin === '{"type":"eve') return count();
      if (begin.startsWith('0')) socket.send('40');
      else if (begin.startsWith('40') || begin === '{"type":"ok"') resolve(socket);
      else if (begin === '2') socket.send('3');
      else if (begin === '{"type":"wel') socket.send('{"type":"join","id":1,"room":"fan-out"}');
    });
  });
}

/** @typedef {{ do: 'join', kind: string, ports: number[], count: number } | { do: 'expect', count: number } | { do: 'stall', count: number } | { do: 'open' }} LoadRequest */

process.on('message', async (/** @type {LoadRequest} */ request) => {
  if (request.do === 'join') {
    let started = 0;
    const worker = async () => {
      while (started < request.count) {
        const port = request.ports[started++ % request.ports.length];
        await join(request.kind, /** @type {number} */ (port));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    process.send?.({ joined: sockets.length });
  } else if (request.do === 'expect') {
    received = 0;
    expected = request.count;
    process.send?.({ ready: true });
  } else if (request.do === 'stall') {
    // The sockets stop reading, so that the buffers of their servers fill.
    for (const socket of sockets.slice(0, request.count)) socket.pause();
    process.send?.({ stalled: request.count });
  } else process.send?.({ open: sockets.filter(({ readyState }) => readyState === WebSocket.OPEN).length });
});
process.on('disconnect', () => process.exit());
