// @ts-check
// The demo: `npm start`, then open the address it prints in two tabs.
//
//   main.js          starts and stops everything (this file)
//   worlds.js        what it runs on: nodes within this process, or processes on a real Redis
//   node.js          one server node: WebSockets, rooms, presence, notifications. The file to copy
//   mentions.js      turns an @name in a message into a notification
//   nodes.js         which nodes run
//   front.js         the web server: the page, who goes to which node, the dashboard's events, the buttons
//   public/          the page: plain modules, and rollcall/client
//   settings.js, redis.js, tickets.js, http.js, files.js: small things they need
//
// Environment: PORT (3000; 0 takes a spare one), HOST (127.0.0.1; 0.0.0.0 lets your phone in),
// REDIS_URL (unset: a Redis embedded in this process). On a real Redis the nodes are processes of
// their own, and killing one is a SIGKILL. `npm start -- --real` starts a redis-server of the demo's own,
// which the page can freeze.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createRollcall } from 'rollcall';
import { createFront } from './front.js';
import { Nodes } from './nodes.js';
import { describeRedis } from './redis.js';
import { NODES, options, ROOMS, sayEverySecond } from './settings.js';
import { embeddedWorld, ownWorld, realWorld } from './worlds.js';

const { PORT = '3000', HOST: host = '127.0.0.1', REDIS_URL: url } = process.env;
const own = process.argv.includes('--real');

try {
  await main();
} catch (error) {
  // One line that says what to do, no stack trace. Nodes end as soon as their parent has gone.
  process.stderr.write(`rollcall demo: ${explain(error).split('\n')[0]}\n`);
  process.exit(1);
}

async function main() {
  if (!/^\d{1,5}$/.test(PORT) || Number(PORT) > 65_535) {
    throw new Error(`PORT must be a number from 0 to 65535, not ${JSON.stringify(PORT)}`);
  }
  if (own && url) throw new Error('--real starts a Redis of its own: unset REDIS_URL, or leave it out');

  const secret = randomBytes(32).toString('hex');
  const world = own ? await ownWorld(secret) : await (url ? realWorld(url, secret) : embeddedWorld(secret));

  // The front owns no sockets. It reads, and like every process with a PresenceService it looks
  // after the users of nodes that died, so that they go even if all nodes are dead.
  const { presence, pubsub, close } = createRollcall({
    redis: world.client,
    ...options,
    presence: { ...options.presence, nodeName: 'front' },
  });
  await presence.connect();

  let frozen = false;
  const saying = sayEverySecond(pubsub, async () => ({
    source: 'front',
    redis: world.redis,
    freeze: world.freeze?.what ?? null,
    nodes: nodes.list(),
    ...options.presence,
    online: await presence.getOnlineCount(),
    rooms: Object.fromEntries(await presence.getRoomCounts(ROOMS)),
  }));
  const nodes = new Nodes(NODES, world.launch, saying.now);
  /** @param {number} ms */
  const freeze = (ms) => {
    if (frozen) return;
    frozen = true;
    world.freeze?.begin();
    setTimeout(() => {
      world.freeze?.end();
      frozen = false;
    }, ms);
  };

  const ended = new AbortController();
  const server = createFront({
    nodes,
    presence,
    pubsub,
    secret,
    ...(world.freeze && { freeze }),
    signal: ended.signal,
  });
  await once(server.listen(Number(PORT), host), 'listening');
  await nodes.startAll();

  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const shown = host.includes(':') ? `[${host}]` : host;
  console.log(`rollcall demo: http://${shown}:${port} on ${world.redis}`);

  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      if (frozen) world.freeze?.end();
      saying.stop();
      ended.abort();
      await nodes.stopAll();
      await close();
      await world.stop?.();
      process.exit();
    });
  }
}

/** @param {any} error */
function explain(error) {
  if (error?.code === 'EADDRINUSE') return `port ${PORT} is taken; choose another with PORT=…`;
  if (error?.code === 'EACCES' || error?.code === 'EADDRNOTAVAIL') {
    return `cannot listen on port ${PORT} of ${host} (${error.code})`;
  }
  const message = error instanceof Error ? error.message : String(error);
  return url ? `${describeRedis(url)}: ${message}` : message;
}
