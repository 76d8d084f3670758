import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { createClient, createCluster, createSentinel } from 'redis';

const CLUSTER_OR_SENTINEL = /^redis(s?)-(cluster|sentinel):\/\/(.*@)?([^/]+)\/?(.*)$/;

/**
 * A client for a URL of one of these forms (`rediss…://` for TLS), not connected:
 *
 *     redis://user:password@host:6379
 *     redis-cluster://user:password@host:7000,host:7001
 *     redis-sentinel://user:password@host:26379,host:26380/name-of-the-master
 */
export function createRedisClient(url) {
  const client = createFor(url);
  // An owner must handle these events. rollcall reports what fails, and the client reconnects by itself.
  client.on('error', () => {});
  return client;
}

function createFor(url) {
  const [, tls, kind, login = '', hosts, name] = CLUSTER_OR_SENTINEL.exec(url) ?? [];
  if (kind === undefined) return createClient({ url });
  const nodes = hosts.split(',').map((each) => new URL(`http://${login}${each}`));
  const [{ username, password }] = nodes;
  const options = {
    ...(password && {
      username: decodeURIComponent(username) || undefined,
      password: decodeURIComponent(password),
    }),
    ...(tls && { socket: { tls: true } }),
  };
  const defaultPort = kind === 'cluster' ? 6_379 : 26_379;
  const addresses = nodes.map(({ hostname, port }) => ({
    host: hostname,
    port: Number(port) || defaultPort,
  }));
  return kind === 'sentinel'
    ? createSentinel({ name: name || 'mymaster', sentinelRootNodes: addresses, nodeClientOptions: options })
    : createCluster({ rootNodes: addresses.map((socket) => ({ socket })), defaults: options });
}

/** A URL for the page and the console, without the password. */
export function describeRedis(url) {
  const [, scheme = '', hosts = 'REDIS_URL'] = /^([a-z-]+:\/\/)(?:.*@)?([^/?]+)/.exec(url) ?? [];
  return scheme + hosts;
}

/** Starts a redis-server on a free port of the loopback interface, in memory only, until this process exits. */
export async function startRedisServer() {
  const port = await findFreePort();
  const { REDIS_SERVER: program = 'redis-server' } = process.env;
  // In its own process group, so that Ctrl-C does not reach it.
  const options = { detached: true, stdio: ['ignore', 'pipe', 'ignore'] };
  const server = spawn(program, ['--port', port, '--bind', '127.0.0.1', '--save', ''], options);
  process.on('exit', () => server.kill('SIGKILL'));
  await once(server, 'spawn').catch(() => {
    throw new Error('redis-server not found: install it, or omit --real');
  });
  for await (const line of createInterface({ input: server.stdout })) {
    if (/ready to accept connections/i.test(line)) break;
  }
  server.stdout.resume();
  return { url: `redis://127.0.0.1:${port}`, signal: (name) => server.kill(name) };
}

async function findFreePort() {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address();
  server.close();
  return port;
}
