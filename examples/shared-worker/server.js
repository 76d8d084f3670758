// The chat of app.js on a port. REDIS_URL names a Redis; by default it is the one of this machine.
import { createClient } from 'redis';
import { closeOnSignals } from 'rollcall';
import { createApp } from './app.js';

const redis = createClient({ url: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379' });
redis.on('error', () => {}); // the client reconnects by itself
const { server, close } = createApp({ redis });
const port = Number(process.env.PORT ?? 8080);
server.listen(port, '127.0.0.1', () => console.log(`Open http://127.0.0.1:${port}/?user=ann in two tabs`));

closeOnSignals(async () => {
  await close();
  redis.destroy();
});
