// @ts-check
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { createRollcall, defineChannel } from 'rollcall';
import { trackPresence } from 'rollcall/socket.io';
import { Server } from 'socket.io';

const PAGE = fileURLToPath(new URL('public', import.meta.url));
const ROOM = 'lobby';
const DAY = 86_400_000;

/** The messages of a room, with a history of the last 200 messages of a day, so that clients can catch up. */
const chat = defineChannel('chat:{room}', { history: { size: 200, ttl: DAY } });

/**
 * A chat server. Any number of processes can run it on one Redis.
 *
 * @param {import('rollcall').RedisClient} redis
 * @param {{ onError?: import('rollcall').ErrorListener }} [options]
 */
export async function createChat(redis, { onError = () => {} } = {}) {
  const { presence, pubsub, close: closeRollcall } = createRollcall({ redis, onError });

  const app = express();
  app.use(express.static(PAGE));
  app.get('/online', async (_request, response) => {
    response.json({ online: await presence.getOnlineCount() });
  });

  const server = createServer(app);
  const io = new Server(server, { connectionStateRecovery: {}, maxHttpBufferSize: 10_000 });

  // Your own authentication goes here, for example with a token in `socket.handshake.auth`.
  io.use((socket, next) => {
    const { name } = socket.handshake.auth;
    const valid = typeof name === 'string' && /^[\p{L}\p{N} _-]{1,40}$/u.test(name);
    if (valid) socket.data.user = name;
    next(valid ? undefined : new Error('invalid name'));
  });

  // Registers each connected socket, and mirrors its rooms as presence rooms. After a broken connection or a closed
  // tab the socket stays registered for 10 s, because Socket.IO may recover it.
  const tracker = trackPresence(io, { presence, pubsub, rooms: true, recoveryGrace: 10_000, onError });

  const lobby = await presence.watchRoom(ROOM, () => io.local.to(ROOM).emit('members', members()));
  const members = () => [...lobby.current().keys()];

  io.on('connection', (socket) => {
    socket.join(ROOM);
    socket.emit('members', members());

    // Sends the messages after `since`, the last position that the client has, or the whole history.
    socket.once('follow', (since, ack) =>
      acknowledge(ack, () =>
        tracker.subscribe(socket, chat({ room: ROOM }), { event: 'said', since: since ?? 'earliest' }),
      ),
    );

    socket.on('say', (text, ack) =>
      acknowledge(ack, async () => {
        if (typeof text !== 'string' || text.length === 0 || text.length > 1_000) {
          throw new Error('a message has 1 to 1,000 characters');
        }
        await pubsub.publish(chat({ room: ROOM }), { from: socket.data.user, text, at: Date.now() });
      }),
    );
  });

  /**
   * Runs `task` and acknowledges its outcome, if the client gave a callback.
   *
   * @param {unknown} ack
   * @param {() => Promise<unknown>} task
   */
  async function acknowledge(ack, task) {
    let result = {};
    try {
      await task();
    } catch (error) {
      const { code = 'INVALID', message } = /** @type {Error & { code?: string }} */ (error);
      result = { error: { code, message } };
    }
    if (typeof ack === 'function') ack(result);
  }

  /** Shuts down for a deploy: the clients reconnect to another server and are never shown offline. */
  async function close() {
    await tracker.close({ handoff: true });
    await io.close();
    await closeRollcall({ handoff: true });
  }

  return { server, close };
}
