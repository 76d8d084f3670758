// @ts-check
import { createEmbeddedRedis } from 'rollcall/testing';

/** @typedef {import('rollcall').RedisClient} RedisClient */

/**
 * A client of a real Redis, by a URL of one of these forms:
 *
 *     redis://user:password@host:6379
 *     redis-cluster://user:password@host:7000,host:7001
 *     redis-sentinel://user:password@host:26379,host:26380/name-of-the-master
 *
 * (`rediss…://` for TLS.) rollcall connects it and leaves reconnecting to it. The owner of a client
 * listens to its errors; here they are of no interest, as rollcall reports what failed.
 *
 * @param {string} url
 * @returns {Promise<RedisClient>}
 */
export async function realRedis(url) {
  const redis = await import('redis');
  const client = clientFor(redis, url);
  client.on('error', () => {});
  return /** @type {RedisClient} */ (client);
}

const SEVERAL = /^redis(s?)-(cluster|sentinel):\/\/(?:([^:@]*):([^@]*)@)?([^/]+)(?:\/(.+))?$/;

/**
 * @param {typeof import('redis')} redis
 * @param {string} url
 */
function clientFor(redis, url) {
  const match = SEVERAL.exec(url);
  if (match === null) return redis.createClient({ url });
  const [, tls, kind, username, password, hosts = '', name = 'mymaster'] = match;
  const nodes = hosts.split(',').map((each) => {
    const { hostname, port } = new URL(`redis://${each}`);
    return { host: hostname, port: Number(port || (kind === 'cluster' ? 6379 : 26379)) };
  });
  const login = {
    ...(username ? { username: decodeURIComponent(username) } : {}),
    ...(password ? { password: decodeURIComponent(password) } : {}),
    ...(tls === 's' ? { socket: { tls: /** @type {const} */ (true) } } : {}),
  };
  if (kind === 'sentinel') {
    return redis.createSentinel({ name, sentinelRootNodes: nodes, nodeClientOptions: login });
  }
  return redis.createCluster({ rootNodes: nodes.map((socket) => ({ socket })), defaults: login });
}

/** A Redis inside this process: nothing to install, gone when the process ends. */
export const embeddedRedis = createEmbeddedRedis;

/**
 * What the demo runs on, for people: never with the password.
 *
 * @param {string | undefined} url
 */
export function describeRedis(url) {
  if (url === undefined) return 'embedded Redis';
  const [, scheme, hosts] = /^([a-z-]+:\/\/)(?:.*@)?([^/?]+)/.exec(url) ?? [];
  return scheme === undefined ? 'REDIS_URL' : scheme + hosts;
}
