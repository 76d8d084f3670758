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

/** What is said in a room: the last 200 messages of a day, so that nobody misses one. */
const said = defineChannel('chat:{room}', { history: { size: 200, ttl: DAY } });

/**
 * A chat server, one of any number on one Redis.
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

  // In a real application: who the token in `socket.handshake.auth` belongs to.
  io.use((socket, next) => {
    const { name } = socket.handshake.auth;
    const valid = typeof name === 'string' && /^[\p{L}\p{N} _-]{1,40}$/u.test(name);
    if (valid) socket.data.user = name;
    next(valid ? undefined : new Error('no such name'));
  });

  // Each socket is registered while it is connected, and in the presence rooms of the rooms it joins. One whose
  // connection broke stays for 10 s, for it may be recovered; so does one whose tab was closed.
  const tracking = trackPresence(io, { presence, pubsub, rooms: true, recoveryGrace: 10_000, onError });

  const lobby = await presence.watchRoom(ROOM, () => io.local.to(ROOM).emit('members', members()));
  const members = () => [...lobby.current().keys()];

  io.on('connection', (socket) => {
    socket.join(ROOM);
    socket.emit('members', members());

    // Everything said after `since`, the last position that the client has, or all there is.
    socket.once('follow', (since, ack) =>
      answer(ack, () =>
        tracking.subscribe(socket, said({ room: ROOM }), { event: 'said', since: since ?? 'earliest' }),
      ),
    );

    socket.on('say', (text, ack) =>
      answer(ack, async () => {
        if (typeof text !== 'string' || text.length === 0 || text.length > 1_000) {
          throw new Error('a message has 1 to 1,000 characters');
        }
        await pubsub.publish(said({ room: ROOM }), { from: socket.data.user, text, at: Date.now() });
      }),
    );
  });

  /** Tells a client how `work` went; whoever gives no callback is told nothing. */
  async function answer(ack, work) {
    let told = {};
    try {
      await work();
    } catch (error) {
      told = { error: { code: error.code ?? 'INVALID', message: error.message } };
    }
    if (typeof ack === 'function') ack(told);
  }

  /** The clients go to another server: nobody sees them offline. */
  async function close() {
    await tracking.close({ handoff: true });
    await io.close();
    await closeRollcall({ handoff: true });
  }

  return { server, close };
}
