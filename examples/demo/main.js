// The demo: `npm start`, then open the address it prints in two tabs.
//
//   node.js, mentions.js   one server node: WebSockets, rooms, presence, notifications. The file to copy
//   front.js               the web server: the page, the dashboard's events, the buttons
//   public/                the page: React, with the hooks of rollcall/react
//   nodes.js, backends.js, node-process.js   start and kill nodes: within this process, or as processes
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

await main().catch(({ code, message }) => {
  const inUse = code === 'EADDRINUSE' && `port ${PORT} is in use; choose another with PORT=…`;
  const text = inUse || (url ? `${describeRedis(url)}: ${message}` : message);
  // One line without a stack trace. Child processes exit when this process does.
  process.stderr.write(`rollcall demo: ${text.split('\n')[0]}\n`);
  process.exit(1);
});

async function main() {
  if (!/^\d{1,5}$/.test(PORT) || Number(PORT) > 65_535)
    throw new Error(`PORT must be a number from 0 to 65535, not ${JSON.stringify(PORT)}`);
  if (isOwn && url) throw new Error('--real starts its own Redis: unset REDIS_URL, or omit --real');
  const secret = randomBytes(32).toString('hex');
  const starting = url ? realBackend(secret, url) : isOwn ? ownBackend(secret) : embeddedBackend(secret);
  const { redis, client, launch, freeze } = await starting;

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
  await Promise.all(NODES.map(nodes.start));

  const address = `${host.includes(':') ? `[${host}]` : host}:${server.address().port}`;
  console.log(`rollcall demo: http://${address} on ${redis}`);
  console.log('Open it in two tabs. Ctrl-C ends it.');

  closeOnSignals(async () => {
    freeze?.end();
    reporter.stop();
    ended.abort();
    await Promise.all(NODES.map(nodes.stop));
    await close();
  });
}
