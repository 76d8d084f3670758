// @ts-check
// One server of the crowd run, of the kind in argv: told by its parent what to do.
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import { PubSubService, RoomService } from 'rollcall';
import { serveWebSocket } from 'rollcall/ws';
import { Server } from 'socket.io';
import { WebSocketServer } from 'ws';

const [kind, redisPort] = process.argv.slice(2);
const ROOM = 'crowd';
/** @param {number} size */
const dataOf = (size) => ({ text: 'x'.repeat(size) });

const connect = () => new Redis({ host: '127.0.0.1', port: Number(redisPort) });

/** @typedef {{ broadcast(size: number): unknown, stats(): object }} Crowd */

/**
 * A room served by rollcall; `history`: what is said is kept, and every message has its place in the chain.
 *
 * @param {import('node:http').Server} server
 * @param {boolean} history
 * @returns {Crowd}
 */
function ours(server, history) {
  // Without presence, for the others have none.
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
 * @returns {Crowd}
 */
function theirs(server) {
  const io = new Server(server, { transports: ['websocket'], adapter: createAdapter(connect(), connect()) });
  io.on('connection', (socket) => void socket.join(ROOM));
  return { broadcast: (size) => io.to(ROOM).emit('message', dataOf(size)), stats: () => ({}) };
}

/**
 * The least that can be done: what comes from Redis goes to every WebSocket, as it is.
 *
 * @param {import('node:http').Server} server
 * @returns {Crowd}
 */
function bare(server) {
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
const crowd =
  kind === 'socket.io' ? theirs(server) : kind === 'bare' ? bare(server) : ours(server, kind === 'history');

process.on('message', async (/** @type {{ do: string, size?: number }} */ { do: what, size = 150 }) => {
  if (what === 'broadcast') await crowd.broadcast(size);
  if (what === 'measure') globalThis.gc?.();
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, external } = process.memoryUsage();
  process.send?.({ cpu: user + system, rss, heap: heapUsed + external, stats: crowd.stats() });
});
process.on('disconnect', () => process.exit());
server.listen(0, '127.0.0.1', 4_096, () => {
  process.send?.({ port: /** @type {import('node:net').AddressInfo} */ (server.address()).port });
});
