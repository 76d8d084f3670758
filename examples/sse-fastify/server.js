// @ts-check
// A chat over server-sent events: `npm run build && node examples/sse-fastify/server.js`, then open the address
// it prints in two tabs. Environment: PORT (3000), REDIS_URL (default: an embedded Redis).
import { createClient } from 'redis';
import { closeOnSignals, createRollcall } from 'rollcall';
import { createApp } from './app.js';

const { PORT = '3000', REDIS_URL: url } = process.env;

const redis = url ? connectTo(url) : await embedded();

const { rooms, presence, close } = createRollcall({
  redis,
  // A page that reloads within 5 s is never reported offline.
  presence: { grace: 5_000 },
  onError: (error, { stage }) => console.error(stage, error.message),
});
await presence.connect();

const app = createApp(rooms);
console.log('listening', await app.listen({ port: Number(PORT), host: '127.0.0.1' }));

closeOnSignals(async () => {
  await app.close();
  // Users of this process stay online while they reconnect elsewhere.
  await close({ handoff: true });
});

/** @param {string} url */
function connectTo(url) {
  const client = createClient({ url });
  client.on('error', () => {}); // the client reconnects by itself; failures reach onError
  return client;
}

async function embedded() {
  const { createEmbeddedRedis } = await import('rollcall/testing');
  return (await createEmbeddedRedis()).client;
}
