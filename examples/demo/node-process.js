// Runs one node as a process, until its parent disconnects. It sends its port, or why it cannot start.
import { startNode } from './node.js';
import { createRedisClient } from './redis.js';

const { REDIS_URL, DEMO_SECRET } = process.env;
// Ctrl-C in a terminal reaches the whole process group; the parent decides when we stop.
process.on('SIGINT', () => {});

try {
  const { port, stop } = await startNode(process.argv[2], createRedisClient(REDIS_URL), DEMO_SECRET);
  process.once('disconnect', () => stop().finally(process.exit));
  process.send({ port });
} catch ({ message }) {
  process.send({ error: message }, () => process.exit(1));
}
