// @ts-check
import { createEmbeddedRedis } from 'rollcall/testing';

/** @typedef {import('rollcall').RedisClient} RedisClient */

/**
 * A client of a real Redis. rollcall connects it and leaves reconnecting to it. The owner of a
 * client listens to its errors; here they are of no interest, as rollcall reports what failed.
 *
 * @param {string} url
 */
export async function realRedis(url) {
  const { createClient } = await import('redis');
  const client = createClient({ url });
  client.on('error', () => {});
  return client;
}

/** A Redis inside this process: nothing to install, gone when the process ends. */
export const embeddedRedis = createEmbeddedRedis;

/**
 * What the demo runs on, for people: never with the password.
 *
 * @param {string | undefined} url
 */
export function describeRedis(url) {
  if (url === undefined) return 'embedded Redis';
  try {
    const { protocol, host } = new URL(url);
    return `${protocol}//${host}`;
  } catch {
    return 'REDIS_URL';
  }
}
