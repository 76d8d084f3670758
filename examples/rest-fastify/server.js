// @ts-check
import { createClient } from 'redis';
import { closeOnSignals, PresenceService } from 'rollcall';
import { createApp } from './app.js';

const redis = createClient({ url: process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379' });
redis.on('error', () => {});

// A short timeout: a quick 503 is better than a request that hangs.
const presence = new PresenceService({
  redis,
  timeout: 1_000,
  onError: (error, { stage }) => console.error(stage, error.message),
});

const app = createApp(presence);
console.log('listening', await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '127.0.0.1' }));

closeOnSignals(async () => {
  await app.close();
  await presence.close();
  redis.destroy();
});
