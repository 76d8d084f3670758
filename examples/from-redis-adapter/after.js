// @ts-check
import { createServer } from 'node:http';
import { createRollcall, defineChannel } from 'rollcall';
import { trackPresence } from 'rollcall/socket.io';
import { Server } from 'socket.io';

const chat = defineChannel('chat:{room}', { history: { size: 200, ttl: 86_400_000 } });

/**
 * @param {import('rollcall').RedisClient} redis
 * @param {{ onError: import('rollcall').ErrorListener }} options
 */
export async function createChat(redis, { onError }) {
  const { presence, pubsub, close: closeRollcall } = createRollcall({ redis, onError });
  await pubsub.connect();
  const server = createServer();
  const io = new Server(server); // with the adapter, if you still use io.emit to all servers

  io.use((socket, next) => {
    socket.data.user = socket.handshake.auth['name']; // your own authentication goes here
    next();
  });
  const tracker = trackPresence(io, { presence, pubsub, rooms: true, recoveryGrace: 0, onError });
  io.on('connection', (socket) => {
    socket.on('follow', async (since, ack) => {
      socket.join('lobby');
      // The client passes the position of its last message, or null at first.
      await tracker.subscribe(socket, chat({ room: 'lobby' }), { event: 'said', since: since ?? 'latest' });
      ack();
    });
    socket.on('say', async (text, ack) => {
      await pubsub.publish(chat({ room: 'lobby' }), { from: socket.data.user, text });
      ack();
    });
    socket.on('online', async (ack) => {
      const members = await presence.getRoomMembers('lobby'); // asks Redis
      ack(members.map(({ userId }) => userId));
    });
  });

  async function close() {
    await tracker.close({ handoff: true });
    await io.close();
    await closeRollcall({ handoff: true });
  }
  return { server, close };
}
