// @ts-check
import { closeOnSignals } from 'rollcall';
import { createChat } from './chat.js';

/** @type {import('rollcall').ErrorListener} */
const onError = (error, { stage }) => console.error(stage, error.message);

/** Connects to the Redis at REDIS_URL, or starts an embedded one. */
async function openRedis() {
  const url = process.env['REDIS_URL'];
  if (url === undefined) {
    const { createEmbeddedRedis } = await import('rollcall/testing');
    const embedded = await createEmbeddedRedis();
    return { redis: embedded.client, end: () => embedded.close() };
  }
  const { createClient } = await import('redis');
  const redis = createClient({ url });
  redis.on('error', () => {});
  return { redis, end: () => redis.destroy() };
}

const { redis, end } = await openRedis();
const chat = await createChat(redis, { onError });
chat.server.listen(Number(process.env['PORT'] ?? 3000), '127.0.0.1', () => {
  console.log('listening', chat.server.address());
});

closeOnSignals(async () => {
  await chat.close();
  await end();
});
