import { createClient } from 'redis';
import { createApp } from './app.js';

const app = await createApp(() =>
  createClient({ url: process.env['REDIS_URL'] ?? 'redis://localhost:6379' }).on('error', console.error),
);
await app.listen(3000);
