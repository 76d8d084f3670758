// @ts-check
// The demo: `npm start`, then open the address it prints in two tabs.
//
//   main.js          starts and stops everything (this file)
//   front.js         the web server: the page, GET /presence, WebSockets handed on to the nodes
//   nodes.js         starts and kills the nodes, as processes or within this one
//   node.js          one server node: a WebSocket server and its two rollcall services
//   room.js          what rollcall is used for: who joins, leaves, waves; what the pages are told
//   public/          the page
//
// Environment: PORT (3000; 0 takes a spare one), HOST (127.0.0.1; 0.0.0.0 lets your phone in),
// REDIS_URL (unset: a Redis embedded in this process). On a real Redis the nodes are processes of
// their own, and killing one is a SIGKILL.
import { once } from 'node:events';
import { PresenceService, PubSubService } from 'rollcall';
import { createFront } from './front.js';
import { inProcesses, inThisProcess, Nodes } from './nodes.js';
import { describeRedis, embeddedRedis, realRedis } from './redis.js';
import { Room } from './room.js';
import { NODES, presenceOptions, pubsubOptions } from './settings.js';

const { PORT = '3000', HOST: host = '127.0.0.1', REDIS_URL: url } = process.env;

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

  const embedded = url ? undefined : await embeddedRedis();
  const redis = embedded?.client ?? (await realRedis(url ?? ''));
  const launch = embedded ? inThisProcess(embedded) : inProcesses(url ?? '');

  // The front owns no sockets. It reads, and like every process with a PresenceService it looks
  // after the users of nodes that died, so that they go even if all nodes are dead.
  const presence = new PresenceService({ redis, nodeName: 'front', ...presenceOptions });
  const pubsub = new PubSubService({ redis, ...pubsubOptions });
  await presence.connect();

  const room = new Room(null, presence, pubsub);
  await room.open();
  const nodes = new Nodes(NODES, launch, () => {
    pubsub.publish('nodes', nodes.list()).catch(() => {});
  });
  const server = createFront({ nodes, room, presence, redis: describeRedis(url || undefined) });
  await once(server.listen(Number(PORT), host), 'listening');
  await nodes.startAll();

  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const shown = host.includes(':') ? `[${host}]` : host;
  console.log(`rollcall demo: http://${shown}:${port} on ${describeRedis(url || undefined)}`);

  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      room.drop();
      server.close();
      await nodes.stopAll();
      await presence.close();
      await pubsub.close();
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
