// @ts-check
import { once } from 'node:events';
import { createChat } from './server.js';

/** @param {{ createRedis: () => import('rollcall').RedisClient, log: (line: string) => void, ports: number[] }} options */
export async function main({ createRedis, log, ports }) {
  const chats = ports.map(() => createChat(createRedis()));
  for (const [at, { server }] of chats.entries()) {
    await once(server.listen(ports[at], '127.0.0.1'), 'listening');
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
    log(`open http://127.0.0.1:${port}`);
  }
  return async () => {
    for (const { server, serving, close } of chats) {
      await serving.close();
      await close();
      server.close();
      server.closeAllConnections();
    }
  };
}
