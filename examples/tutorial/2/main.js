// @ts-check
import { once } from 'node:events';
import { createCookie } from '../session.js';
import { createPresenceServer } from './server.js';

/** @param {{ createRedis: () => import('rollcall').RedisClient, log: (line: string) => void, ports: number[] }} options */
export async function main({ createRedis, log, ports }) {
  const servers = ports.map(() => createPresenceServer(createRedis()));
  for (const [at, { server }] of servers.entries()) {
    await once(server.listen(ports[at], '127.0.0.1'), 'listening');
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
    log(`http://127.0.0.1:${port} lists who is online`);
  }
  log(`connect: npx wscat -H 'cookie: ${createCookie('ann')}' -c ws://127.0.0.1:${ports[0]}`);
  return async () => {
    await Promise.all(servers.map((each) => each.close()));
  };
}
