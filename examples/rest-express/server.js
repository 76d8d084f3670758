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

const server = createApp(presence).listen(Number(process.env['PORT'] ?? 3000), '127.0.0.1', () => {
  console.log('listening', server.address());
});

closeOnSignals(async () => {
  // Requests in progress are answered first.
  await new Promise((resolve) => server.close(resolve));
  await presence.close();
  redis.destroy();
});
