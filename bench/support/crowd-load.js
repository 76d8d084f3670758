// @ts-check
// The other end of the crowd run: many plain WebSockets in one process, which only count what they get.
import { WebSocket } from 'ws';

/** Connections under way at once. */
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
 * Connects one, until it is in the room.
 *
 * @param {string} kind
 * @param {number} port
 */
function enter(kind, port) {
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
      else if (begin === '{"type":"wel') socket.send('{"type":"join","id":1,"room":"crowd"}');
    });
  });
}

/** @typedef {{ do: 'enter', kind: string, ports: number[], count: number } | { do: 'expect', count: number } | { do: 'stall', count: number } | { do: 'open' }} Order */

process.on('message', async (/** @type {Order} */ order) => {
  if (order.do === 'enter') {
    let begun = 0;
    const worker = async () => {
      while (begun < order.count) {
        const port = order.ports[begun++ % order.ports.length];
        await enter(order.kind, /** @type {number} */ (port));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    process.send?.({ entered: sockets.length });
  } else if (order.do === 'expect') {
    received = 0;
    expected = order.count;
    process.send?.({ ready: true });
  } else if (order.do === 'stall') {
    // They stop reading, and their servers' buffers fill.
    for (const socket of sockets.slice(0, order.count)) socket.pause();
    process.send?.({ stalled: order.count });
  } else process.send?.({ open: sockets.filter(({ readyState }) => readyState === WebSocket.OPEN).length });
});
process.on('disconnect', () => process.exit());
