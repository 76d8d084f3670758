// @ts-check
// A node as a process of its own: `fork` starts it with the node's name, and REDIS_URL and the secret in its
// environment. It reports its port, or why it cannot start, and lives until its parent lets go.
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
