// @ts-check
import { Redis } from 'ioredis';
import { createClient } from 'redis';

/** @typedef {'node-redis' | 'ioredis'} Library */

/**
 * @param {number} port
 */
export async function nodeRedis(port) {
  const client = createClient({ url: `redis://127.0.0.1:${port}` });
  client.on('error', fatal);
  await client.connect();
  return client;
}

/**
 * @param {number} port
 */
export async function ioredis(port) {
  const client = new Redis({ host: '127.0.0.1', port, lazyConnect: true });
  client.on('error', fatal);
  await client.connect();
  return client;
}

/**
 * @param {Library} library
 * @param {number} port
 */
export function connect(library, port) {
  return library === 'node-redis' ? nodeRedis(port) : ioredis(port);
}

/** A measurement over a broken connection would mean nothing.
 *
 * @param {unknown} error
 */
function fatal(error) {
  throw error;
}

/** @param {any[]} clients */
export function disconnect(...clients) {
  for (const client of clients) {
    if (typeof client.destroy === 'function') client.destroy();
    else client.disconnect();
  }
}
