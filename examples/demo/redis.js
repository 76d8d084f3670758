// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createClient, createCluster, createSentinel } from 'redis';

const CLUSTER_OR_SENTINEL = /^redis(s?)-(cluster|sentinel):\/\/(?:([^:@]*):([^@]*)@)?([^/]+)(?:\/(.+))?$/;

/**
 * A client of a real Redis, by a URL of one of these forms:
 *
 *     redis://user:password@host:6379
 *     redis-cluster://user:password@host:7000,host:7001
 *     redis-sentinel://user:password@host:26379,host:26380/name-of-the-master
 *
 * (`rediss…://` for TLS.) rollcall connects it, and the client reconnects by itself. The owner of a
 * client must handle its `error` events; they are ignored here because rollcall reports failed operations.
 *
 * @param {string} url
 */
export function realRedis(url) {
  const client = clientFor(url);
  client.on('error', () => {});
  return /** @type {import('rollcall').RedisClient} */ (client);
}

/** @param {string} url */
function clientFor(url) {
  const match = CLUSTER_OR_SENTINEL.exec(url);
  if (match === null) return createClient({ url });
  const [, tls, kind, username, password, hosts = '', name = 'mymaster'] = match;
  const nodes = hosts.split(',').map((each) => {
    const { hostname, port } = new URL(`redis://${each}`);
    return { host: hostname, port: Number(port || (kind === 'cluster' ? 6379 : 26379)) };
  });
  const login = {
    ...(username && { username: decodeURIComponent(username) }),
    ...(password && { password: decodeURIComponent(password) }),
    ...(tls && { socket: { tls: /** @type {const} */ (true) } }),
  };
  if (kind === 'sentinel')
    return createSentinel({ name, sentinelRootNodes: nodes, nodeClientOptions: login });
  return createCluster({ rootNodes: nodes.map((socket) => ({ socket })), defaults: login });
}

/**
 * Starts a redis-server on a free port of the loopback interface, in memory only. The shell around it kills it when
 * this process ends for any reason.
 */
export async function ownRedis() {
  const port = await findFreePort();
  const { REDIS_SERVER: program = 'redis-server' } = process.env;
  const script =
    'command -v "$0" >/dev/null || exit; ' +
    '"$0" --port "$1" --bind 127.0.0.1 --save "" </dev/null & echo "pid $!"; cat; kill -9 $!; wait';
  // In its own process group, so that Ctrl-C does not reach it.
  const shell = spawn('sh', ['-c', script, program, String(port)], {
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true,
  });
  let output = '';
  for await (const chunk of shell.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    output += chunk;
    if (/ready to accept connections/i.test(output)) break;
  }
  shell.stdout.resume();
  const pid = Number(/^pid (\d+)$/m.exec(output)?.[1]);
  if (!pid) throw new Error('redis-server not found: install it, or omit --real');
  return {
    url: `redis://127.0.0.1:${port}`,
    /** @param {NodeJS.Signals} signal */
    signal: (signal) => void process.kill(pid, signal),
    async stop() {
      shell.stdin.end();
      await once(shell, 'exit');
    },
  };
}

async function findFreePort() {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  server.close();
  return port;
}

/**
 * Describes the Redis for the page and the console, without the password.
 *
 * @param {string | undefined} url
 */
export function describeRedis(url) {
  if (url === undefined) return 'embedded Redis';
  const [, scheme, hosts] = /^([a-z-]+:\/\/)(?:.*@)?([^/?]+)/.exec(url) ?? [];
  return scheme === undefined ? 'REDIS_URL' : scheme + hosts;
}
