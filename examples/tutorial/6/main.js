// @ts-check
import { once } from 'node:events';
import { createChat } from '../3/server.js';
import { createCookie } from '../session.js';
import { createApi } from './api.js';

/** @param {{ createRedis: () => import('rollcall').RedisClient, log: (line: string) => void, ports: number[] }} options */
export async function main({ createRedis, log, ports }) {
  const chat = createChat(createRedis());
  const api = createApi(createRedis());
  /** @type {string[]} */
  const urls = [];
  for (const [at, { server }] of [chat, api].entries()) {
    await once(server.listen(ports[at], '127.0.0.1'), 'listening');
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
    urls.push(`http://127.0.0.1:${port}`);
  }
  log(`open ${urls[0]} and sign in as ann`);
  log(`curl -H 'cookie: ${createCookie('bob')}' '${urls[1]}/presence?id=ann&id=bob'`);
  return async () => {
    await chat.serving.close();
    await chat.close();
    chat.server.close();
    chat.server.closeAllConnections();
    await api.close();
  };
}
