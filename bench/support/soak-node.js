// One server process of `bench/soak.js`: rooms and presence behind WebSockets.
import { readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import process from 'node:process';
import { Redis } from 'ioredis';
import { createRollcall } from 'rollcall';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';

const { port, grace, history } = JSON.parse(/** @type {string} */ (process.argv[2]));
/** @type {string[]} */
const errors = [];
const onError = (/** @type {Error} */ error, /** @type {{ stage: string }} */ { stage }) =>
  errors.push(`${stage}: ${error.name}: ${error.message}`);
process.on('unhandledRejection', (error) => errors.push(`unhandled rejection: ${error}`));
process.on('uncaughtException', (error) => errors.push(`uncaught exception: ${error}`));

const redis = new Redis({ host: '127.0.0.1', port });
redis.on('error', () => {});
const { rooms, presence, close } = createRollcall({
  redis,
  onError,
  presence: { grace, lease: 10_000 },
  rooms: { history },
});
const server = createServer();
const serving = serveWebSocket(new WebSocketServer({ server }), {
  rooms,
  onError,
  authenticate: ({ url = '' }) => new URL(url, 'http://x').searchParams.get('user'),
  authorize: () => true,
  heartbeatInterval: 2_000,
  pongTimeout: 2_000,
});

/** @type {Record<string, () => unknown>} */
const actions = {
  sample: async () => {
    for (let round = 0; round < 3; round++) {
      await new Promise((resolve) => setImmediate(resolve));
      globalThis.gc?.();
    }
    const { heapUsed, external } = process.memoryUsage();
    const descriptors = readdirSync('/proc/self/fd').length;
    return { bytes: heapUsed + external, descriptors, sockets: presence.stats().sockets };
  },
  errors: () => errors.splice(0),
  close: async () => {
    await serving.close();
    await close();
    server.close();
  },
};

process.on('message', async (/** @type {{ id: number, action: string }} */ { id, action }) => {
  const value = await actions[action]?.();
  if (process.connected) process.send?.({ id, value });
});
process.on('disconnect', () => process.exit());
server.listen(0, '127.0.0.1', () => {
  process.send?.({ id: 0, value: /** @type {import('node:net').AddressInfo} */ (server.address()).port });
});
