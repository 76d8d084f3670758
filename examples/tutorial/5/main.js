// @ts-check
import { once } from 'node:events';
import { createChat } from '../3/server.js';
import { connectWithCookie } from '../4/client.js';
import { createCookie } from '../session.js';
import { stop } from './stop.js';

/** @param {{ createRedis: () => import('rollcall').RedisClient, log: (line: string) => void, ports: number[] }} options */
export async function main({ createRedis, log, ports }) {
  const before = createChat(createRedis());
  const after = createChat(createRedis());
  /** @type {string[]} */
  const urls = [];
  for (const [at, { server }] of [before, after].entries()) {
    await once(server.listen(ports[at], '127.0.0.1'), 'listening');
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
    urls.push(`http://127.0.0.1:${port}`);
  }
  await after.presence.subscribe(({ userId, previous, status }) =>
    log(`${userId}: ${previous} -> ${status}`),
  );

  // A load balancer would do this: new connections go to the first server of the list.
  const ann = connectWithCookie(() => urls[0] ?? '', createCookie('ann'));
  await new Promise((resolve) => ann.on('open', resolve));
  const reconnected = new Promise((resolve) => ann.on('open', resolve));

  urls.shift(); // out of the load balancer first
  await stop(before, 200);
  await reconnected;
  const found = await after.presence.getPresence('ann');
  log(`after the deploy ann is ${found?.status} on ${found?.sockets.length} device`);

  ann.close();
  await after.serving.close();
  await after.close();
  after.server.close();
}
