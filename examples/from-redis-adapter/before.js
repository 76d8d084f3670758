// @ts-check
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { Server } from 'socket.io';

/** @param {ReturnType<import('redis').createClient>} redis */
export async function createChat(redis) {
  const subscriber = redis.duplicate();
  subscriber.on('error', () => {});
  await Promise.all([redis.connect(), subscriber.connect()]);
  const server = createServer();
  const io = new Server(server, { adapter: createAdapter(redis, subscriber) });

  io.use((socket, next) => {
    socket.data.user = socket.handshake.auth['name']; // your own authentication goes here
    next();
  });
  io.on('connection', (socket) => {
    socket.on('follow', (ack) => {
      socket.join('lobby');
      ack();
    });
    socket.on('say', (text, ack) => {
      io.to('lobby').emit('said', { from: socket.data.user, text });
      ack();
    });
    socket.on('online', async (ack) => {
      const sockets = await io.in('lobby').fetchSockets(); // asks every server
      ack([...new Set(sockets.map(({ data }) => data.user))]);
    });
  });

  async function close() {
    await io.close();
    await subscriber.close();
  }
  return { server, close };
}
