// One invocation of a serverless function, started by invocation.ts: it connects, makes some calls, ends its client and
// returns. On a single Redis the presence service is never closed, and nothing of it may keep the process alive. On a Cluster
// it has connections of its own to the nodes.
import process from 'node:process';
import { PresenceService } from 'rollcall';

const { client: library, ports, cluster, options, calls } = JSON.parse(process.argv[2]);
const host = '127.0.0.1';

async function createClient() {
  if (library === 'ioredis') {
    const { Redis, Cluster } = await import('ioredis');
    const client = cluster
      ? new Cluster(ports.map((port) => ({ host, port })))
      : new Redis(ports[0], { host });
    return { client, end: () => client.disconnect() };
  }
  const redis = await import('redis');
  const client = cluster
    ? redis.createCluster({ rootNodes: ports.map((port) => ({ socket: { host, port } })) })
    : redis.createClient({ socket: { host, port: ports[0] } });
  return { client, end: () => client.destroy() };
}

const errors = [];
const { client, end } = await createClient();
client.on('error', () => {});
const presence = new PresenceService({
  redis: client,
  background: false,
  ...options,
  onError: (error, { stage }) => errors.push(`${stage}: ${error.message}`),
});
const results = [];
for (const [method, ...args] of calls) {
  try {
    const value = await presence[method](...args);
    results.push(value instanceof Map ? [...value] : (value ?? null));
  } catch (error) {
    results.push({ error: error.name, message: error.message });
  }
}
if (cluster) await presence.close();
end();
process.stdout.write(JSON.stringify({ results, errors }));
