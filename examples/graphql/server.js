// @ts-check
import { createClient } from 'redis';
import { closeOnSignals } from 'rollcall';
import { createApp } from './app.js';

const redis = createClient();
redis.on('error', () => {}); // the client reconnects by itself; failures reach onError
const app = createApp(redis, { onError: console.error });
app.server.listen(4000, () => console.log('http://localhost:4000/graphql'));

closeOnSignals(async () => {
  await app.close();
  redis.destroy();
});
