// @ts-check
// The demo: `npm start`, then open the address it prints in two tabs.
//
//   main.js       starts and stops everything (this file)
//   node.js       one server node: WebSockets, rooms, presence, notifications. The file to copy
//   mentions.js   turns an @name in a message into a notification
//   front.js      the web server: the page, the assignment of nodes, the dashboard's events, the buttons
//   public/       the page: React, with the hooks of rollcall/react
//   nodes.js, backends.js, node-process.js   start, restart and kill nodes: within this process, or as processes
//   settings.js, security.js, redis.js       helpers
//
// Environment: PORT (3000; 0 chooses a free port), HOST (127.0.0.1; 0.0.0.0 accepts other devices),
// REDIS_URL (default: an embedded Redis). On a real Redis each node is a process, and killing one is a SIGKILL.
// `npm start -- --real` starts a redis-server that the page can freeze.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeOnSignals, createRollcall } from 'rollcall';
import { embeddedBackend, ownBackend, realBackend } from './backends.js';
import { createFront } from './front.js';
import { createNodes } from './nodes.js';
import { describeRedis } from './redis.js';
import { NODES, options, publishEverySecond, ROOMS } from './settings.js';

const { PORT = '3000', HOST: host = '127.0.0.1', REDIS_URL: url } = process.env;
const isOwn = process.argv.includes('--real');

try {
  await main();
} catch (error) {
  // One line without a stack trace. Child processes exit when this process does.
  process.stderr.write(`rollcall demo: ${explain(error).split('\n')[0]}\n`);
  process.exit(1);
}

async function main() {
  if (!/^\d{1,5}$/.test(PORT) || Number(PORT) > 65_535) {
    throw new Error(`PORT must be a number from 0 to 65535, not ${JSON.stringify(PORT)}`);
  }
  if (isOwn && url) throw new Error('--real starts its own Redis: unset REDIS_URL, or omit --real');
  const secret = randomBytes(32).toString('hex');
  const starting = url ? realBackend(url, secret) : isOwn ? ownBackend(secret) : embeddedBackend(secret);
  const { redis, client, launch, freeze, stop } = await starting;

  // The front owns no sockets. Like every process with a PresenceService it detects crashed nodes, so their users
  // go offline even if no node is left.
  const { presence, pubsub, close } = createRollcall({
    // The page shows the faults that its buttons cause; the console stays readable.
    onError: null,
    redis: client,
    ...options,
    presence: { ...options.presence, nodeName: 'front' },
  });
  await presence.connect();

  const reporter = publishEverySecond(pubsub, async () => ({
    source: 'front',
    redis,
    freeze: freeze?.what ?? null,
    nodes: nodes.list(),
    ...options.presence,
    online: await presence.getOnlineCount(),
    rooms: Object.fromEntries(await presence.getRoomCounts(ROOMS)),
  }));
  const nodes = createNodes(NODES, launch, reporter.publishNow);
  const ended = new AbortController();
  const server = await createFront({ nodes, presence, pubsub, secret, freeze, signal: ended.signal });
  await once(server.listen(Number(PORT), host), 'listening');
  await Promise.all(NODES.map((name) => nodes.start(name)));

  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  console.log(`rollcall demo: http://${host.includes(':') ? `[${host}]` : host}:${port} on ${redis}`);
  console.log('Open it in two tabs. Ctrl-C ends it.');

  closeOnSignals(async () => {
    freeze?.end();
    reporter.stop();
    ended.abort();
    await Promise.all(NODES.map((name) => nodes.stop(name)));
    await close();
    await stop?.();
  });
}

/** @param {any} error */
function explain(error) {
  if (error?.code === 'EADDRINUSE') return `port ${PORT} is in use; choose another with PORT=…`;
  if (error?.code === 'EACCES' || error?.code === 'EADDRNOTAVAIL') {
    return `cannot listen on port ${PORT} of ${host} (${error.code})`;
  }
  const message = error instanceof Error ? error.message : String(error);
  return url ? `${describeRedis(url)}: ${message}` : message;
}
