// @ts-check
// Runs one node as a process. `fork` passes the node's name as argument, and REDIS_URL and the secret in the
// environment. It sends its port, or why it cannot start, and runs until its parent disconnects.
import { startNode } from './node.js';
import { realRedis } from './redis.js';

const [name = 'node'] = process.argv.slice(2);
const { REDIS_URL = '', DEMO_SECRET = '' } = process.env;

// Ctrl-C in a terminal reaches the whole process group; the parent decides when we stop.
process.on('SIGINT', () => {});

try {
  const node = await startNode(name, await realRedis(REDIS_URL), DEMO_SECRET);
  process.once('disconnect', async () => {
    await node.stop();
    process.exit();
  });
  process.send?.({ port: node.port });
} catch (error) {
  process.send?.({ error: error instanceof Error ? error.message : String(error) }, () => process.exit(1));
}
