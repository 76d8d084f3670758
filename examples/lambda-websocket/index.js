// @ts-check
import { createClient } from 'redis';
import { PresenceService } from 'rollcall';
import { createHandler, TTL } from './presence.js';

// Outside the handler: invocations of one instance share the connection. Short timeouts, because Lambda bills the wait.
const redis = createClient({
  url: process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379',
  socket: { connectTimeout: 2_000 },
});
redis.on('error', (error) => console.error('redis', error.message));

const presence = new PresenceService({
  redis,
  background: false,
  socketTtl: TTL,
  timeout: 2_000,
  onError: (error, { stage }) => console.error(stage, error.message),
});

export const handler = createHandler(presence);

/** For a schedule of one a minute, if no process runs: ends what is overdue although nobody connects. */
export async function sweep() {
  await presence.sweep();
}
