// @ts-check
import { readFileSync } from 'node:fs';
import fastify from 'fastify';
import { pipeEventStream } from 'rollcall/sse';

const page = readFileSync(new URL('page.html', import.meta.url));
const script = readFileSync(new URL('page.js', import.meta.url));

const user = { type: 'string', minLength: 1, maxLength: 40 };
const text = { type: 'string', minLength: 1, maxLength: 2_000 };

/**
 * A chat with one room. Clients receive messages as server-sent events and send them with POST.
 *
 * @param {import('rollcall').RoomService} rooms
 */
export function createApp(rooms) {
  const app = fastify();

  // Streams never end by themselves. When this signal ends them, the clients reconnect to any process.
  const closing = new AbortController();
  app.addHook('preClose', async () => closing.abort());

  app.get('/', (_request, reply) => reply.type('text/html; charset=utf-8').send(page));
  app.get('/page.js', (_request, reply) => reply.type('text/javascript; charset=utf-8').send(script));

  // Your own authentication goes here and below: take the user from a session, not from the request.
  const querystring = { type: 'object', required: ['user'], properties: { user } };
  app.get('/events', { schema: { querystring } }, (request, reply) => {
    const { user: userId } = /** @type {{ user: string }} */ (request.query);
    reply.hijack();
    pipeEventStream(request.raw, reply.raw, {
      rooms,
      user: { userId },
      join: [{ room: 'lobby', last: 50, members: true }],
      signal: closing.signal,
      onError: (error, { stage }) => console.error(stage, error.message),
    });
  });

  const body = { type: 'object', required: ['user', 'text'], properties: { user, text } };
  app.post('/messages', { schema: { body } }, async (request, reply) => {
    const message = /** @type {{ user: string, text: string }} */ (request.body);
    await rooms.broadcast('lobby', 'message', { text: message.text }, { from: message.user });
    return reply.code(204).send();
  });

  return app;
}
