// @ts-check
// One server of the fan-out run, of the kind in argv; its parent sends requests.
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import { PubSubService, RoomService } from 'rollcall';
import { serveWebSocket } from 'rollcall/ws';
import { Server } from 'socket.io';
import { WebSocketServer } from 'ws';

const [kind, redisPort] = process.argv.slice(2);
const ROOM = 'fan-out';
/** @param {number} size */
const dataOf = (size) => ({ text: 'x'.repeat(size) });

const connect = () => new Redis({ host: '127.0.0.1', port: Number(redisPort) });

/** @typedef {{ broadcast(size: number): unknown, stats(): object }} FanOutServer */

/**
 * A room served by rollcall, with or without history.
 *
 * @param {import('node:http').Server} server
 * @param {boolean} history
 * @returns {FanOutServer}
 */
function rollcallServer(server, history) {
  // Without presence, because the competitors have none.
  const pubsub = new PubSubService({ redis: connect() });
  const rooms = new RoomService({ pubsub, ...(history ? {} : { history: false }) });
  const wss = new WebSocketServer({ server, perMessageDeflate: false });
  let users = 0;
  serveWebSocket(wss, { rooms, authenticate: () => `user-${process.pid}-${users++}`, authorize: () => true });
  return {
    broadcast: (size) => rooms.broadcast(ROOM, 'message', dataOf(size)),
    stats: () => rooms.stats(),
  };
}

/**
 * The same with Socket.IO and its Redis adapter.
 *
 * @param {import('node:http').Server} server
 * @returns {FanOutServer}
 */
function socketIoServer(server) {
  const io = new Server(server, { transports: ['websocket'], adapter: createAdapter(connect(), connect()) });
  io.on('connection', (socket) => void socket.join(ROOM));
  return { broadcast: (size) => io.to(ROOM).emit('message', dataOf(size)), stats: () => ({}) };
}

/**
 * The minimum: every message from Redis is sent to every WebSocket unchanged.
 *
 * @param {import('node:http').Server} server
 * @returns {FanOutServer}
 */
function bareServer(server) {
  const wss = new WebSocketServer({ server, perMessageDeflate: false });
  const [publisher, subscriber] = [connect(), connect()];
  subscriber.on('message', (_, payload) => {
    const frame = Buffer.from(payload);
    for (const socket of wss.clients) socket.send(frame, { binary: false });
  });
  void subscriber.subscribe(ROOM);
  wss.on('connection', (socket) => {
    socket.on('error', () => {});
    socket.send('{"type":"welcome"}');
    socket.on('message', () => socket.send('{"type":"ok"}'));
  });
  /** @param {number} size */
  const frame = (size) => JSON.stringify({ type: 'event', room: ROOM, event: 'message', data: dataOf(size) });
  return { broadcast: (size) => publisher.publish(ROOM, frame(size)), stats: () => ({}) };
}

const server = createServer();
const fanOut =
  kind === 'socket.io'
    ? socketIoServer(server)
    : kind === 'bare'
      ? bareServer(server)
      : rollcallServer(server, kind === 'history');

process.on('message', async (/** @type {{ do: string, size?: number }} */ { do: what, size = 150 }) => {
  if (what === 'broadcast') await fanOut.broadcast(size);
  if (what === 'measure') globalThis.gc?.();
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, external } = process.memoryUsage();
  process.send?.({ cpu: user + system, rss, heap: heapUsed + external, stats: fanOut.stats() });
});
process.on('disconnect', () => process.exit());
server.listen(0, '127.0.0.1', 4_096, () => {
  process.send?.({ port: /** @type {import('node:net').AddressInfo} */ (server.address()).port });
});
