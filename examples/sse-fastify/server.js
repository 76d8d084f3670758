// @ts-check
// A chat over server-sent events: `npm run build && node examples/sse-fastify/server.js`, then open the address
// it prints in two tabs. PORT: 3000; REDIS_URL: a Redis embedded in this process.
import { createClient } from 'redis';
import { createRollcall, RoomService } from 'rollcall';
import { createApp } from './app.js';

const { PORT = '3000', REDIS_URL: url } = process.env;

const redis = url ? createClient({ url }) : await embedded();
redis.on('error', () => {});

const { pubsub, presence, close } = createRollcall({ redis });
const rooms = new RoomService({ pubsub, presence });
await presence.connect();

const app = createApp(rooms);
console.log('listening', await app.listen({ port: Number(PORT), host: '127.0.0.1' }));

process.once('SIGTERM', async () => {
  await app.close();
  await rooms.close();
  await close();
  process.exit();
});

async function embedded() {
  const { createEmbeddedRedis } = await import('rollcall/testing');
  return (await createEmbeddedRedis()).client;
}
