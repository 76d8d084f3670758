// @ts-check
// A server of the connections run, of the kind in argv; its parent sends requests.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import { PresenceService, PubSubService, RoomService } from 'rollcall';
import { pipeEventStream } from 'rollcall/sse';
import { serveWebSocket } from 'rollcall/ws';
import { Server } from 'socket.io';
import { WebSocketServer } from 'ws';

const [kind = '', redisPort, deflate] = process.argv.slice(2);
const perMessageDeflate = deflate === 'deflate' ? { threshold: 512 } : false;
/** Like text that people write: a compressor finds something, but not everything. */
const WORDS = Array.from({ length: 500 }, (_, n) => (n * 7_919 + 13).toString(36));
/** @param {number} size */
const dataOf = (size) => {
  let text = '';
  for (let n = 0; text.length < size; n++) text += `${WORDS[(n * n * 31 + n) % WORDS.length]} `;
  return { text: text.slice(0, size) };
};

/** @type {Promise<unknown>[]} */
const connecting = [];
const connect = () => {
  const client = new Redis({ host: '127.0.0.1', port: Number(redisPort) });
  connecting.push(once(client, 'ready'));
  return client;
};

/** @typedef {{ broadcast(room: string, size: number): unknown, open(): number }} ConnectionsServer */

/**
 * With presence and histories; without both it does what the competitors do.
 *
 * @param {import('node:http').Server} server
 * @param {boolean} whole
 * @returns {ConnectionsServer}
 */
function rollcallServer(server, whole) {
  const pubsub = new PubSubService({ redis: connect() });
  const presence = whole ? new PresenceService({ redis: connect() }) : undefined;
  const rooms = new RoomService({ pubsub, ...(presence ? { presence } : { history: false }) });
  const wss = new WebSocketServer({ server, perMessageDeflate });
  serveWebSocket(wss, {
    rooms,
    authenticate: (request) => new URL(request.url ?? '', 'ws://localhost').searchParams.get('user') ?? '',
    authorize: () => true,
  });
  return {
    broadcast: (room, size) => rooms.broadcast(room, 'message', dataOf(size)),
    open: () => wss.clients.size + (presence?.stats().sockets ?? 0),
  };
}

/**
 * @param {import('node:http').Server} server
 * @returns {ConnectionsServer}
 */
function socketIoServer(server) {
  const adapter = createAdapter(connect(), connect());
  const io = new Server(server, { transports: ['websocket'], adapter, perMessageDeflate });
  io.on('connection', (socket) => {
    socket.on('join', async (/** @type {string} */ room, /** @type {() => void} */ done) => {
      await socket.join(room);
      done();
    });
  });
  return {
    broadcast: (room, size) => io.to(room).emit('message', dataOf(size)),
    open: () => io.engine.clientsCount,
  };
}

/**
 * A map of rooms to WebSockets, one subscription for each room.
 *
 * @param {import('node:http').Server} server
 * @returns {ConnectionsServer}
 */
function bareServer(server) {
  const wss = new WebSocketServer({ server, perMessageDeflate });
  const [publisher, subscriber] = [connect(), connect()];
  /** @type {Map<string, Set<import('ws').WebSocket>>} */
  const members = new Map();
  subscriber.on('message', (room, payload) => {
    const frame = Buffer.from(payload);
    for (const socket of members.get(room) ?? []) socket.send(frame, { binary: false });
  });
  wss.on('connection', (socket) => {
    /** @type {string[]} */
    const joined = [];
    socket.on('error', () => {});
    socket.send('{"type":"welcome"}');
    socket.on('message', async (text) => {
      const { id, room } = JSON.parse(text.toString());
      const sockets = members.get(room) ?? new Set();
      if (sockets.size === 0) {
        members.set(room, sockets);
        sockets.add(socket);
        await subscriber.subscribe(room);
      }
      sockets.add(socket);
      joined.push(room);
      socket.send(`{"type":"ok","id":${id}}`);
    });
    socket.on('close', () => {
      for (const room of joined) {
        const sockets = members.get(room);
        sockets?.delete(socket);
        if (sockets?.size === 0) void subscriber.unsubscribe(room);
      }
    });
  });
  return {
    broadcast: (room, size) =>
      publisher.publish(room, JSON.stringify({ type: 'event', room, event: 'message', data: dataOf(size) })),
    open: () => wss.clients.size,
  };
}

/**
 * Event streams of one channel.
 *
 * @param {import('node:http').Server} server
 * @returns {ConnectionsServer}
 */
function eventStreams(server) {
  const pubsub = new PubSubService({ redis: connect() });
  let open = 0;
  server.on('request', (request, response) => {
    open++;
    response.on('close', () => open--);
    pipeEventStream(request, response, { pubsub, channels: [{ channel: 'room-0', history: false }] });
  });
  return { broadcast: (room, size) => pubsub.publish(room, dataOf(size)), open: () => open };
}

/**
 * @param {import('node:http').Server} server
 * @returns {ConnectionsServer}
 */
function bareEventStreams(server) {
  const [publisher, subscriber] = [connect(), connect()];
  /** @type {Set<import('node:http').ServerResponse>} */
  const streams = new Set();
  subscriber.on('message', (channel, payload) => {
    const event = `event: ${channel}\ndata: ${payload}\n\n`;
    for (const response of streams) response.write(event);
  });
  void once(subscriber, 'ready').then(() => subscriber.subscribe('room-0'));
  server.on('request', (_, response) => {
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-transform',
    });
    response.write('event: $ready\ndata: {}\n\n');
    streams.add(response);
    response.on('close', () => streams.delete(response));
  });
  return {
    broadcast: (room, size) => publisher.publish(room, JSON.stringify(dataOf(size))),
    open: () => streams.size,
  };
}

const server = createServer();
/** @type {Record<string, () => ConnectionsServer>} */
const kinds = {
  rollcall: () => rollcallServer(server, true),
  plain: () => rollcallServer(server, false),
  'socket.io': () => socketIoServer(server),
  bare: () => bareServer(server),
  sse: () => eventStreams(server),
  'bare-sse': () => bareEventStreams(server),
};
const made = kinds[kind]?.();
if (made === undefined) throw new Error(`no kind ${kind}`);

/** @typedef {{ do: 'measure' | 'memory' } | { do: 'broadcast', rooms: number, size: number, times: number }} ServerRequest */

process.on('message', async (/** @type {ServerRequest} */ request) => {
  if (request.do === 'broadcast') {
    const sent = [];
    for (let n = 0; n < request.times; n++)
      sent.push(made.broadcast(`room-${n % request.rooms}`, request.size));
    await Promise.all(sent);
  }
  if (request.do === 'memory') {
    for (let turn = 0; turn < 5; turn++) {
      globalThis.gc?.();
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, external } = process.memoryUsage();
  process.send?.({ cpu: user + system, open: made.open(), rss, heap: heapUsed + external });
});
process.on('disconnect', () => process.exit());
// A subscriber by hand must not subscribe before.
await Promise.all(connecting);
server.listen(0, '127.0.0.1', 4_096, () => {
  process.send?.({ port: /** @type {import('node:net').AddressInfo} */ (server.address()).port });
});
