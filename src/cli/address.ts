import type { HostAndPort } from '../redis/cluster-slots.js';
import { UsageError } from './usage-error.js';

/** Address of Redis, with the credentials. */
export interface RedisAddress {
  readonly topology: 'single' | 'cluster' | 'sentinel';
  /** The server, some nodes of the Cluster, or the sentinels. */
  readonly nodes: readonly HostAndPort[];
  readonly tls: boolean;
  readonly username?: string;
  readonly password?: string;
  /** Logical database. */
  readonly database: number;
  /** The name that the sentinels give the master. */
  readonly masterName?: string;
}

export interface AddressOptions {
  readonly cluster?: boolean | undefined;
  /** The name of the master: the URLs are those of sentinels. */
  readonly sentinel?: string | undefined;
}

const URL_FORM = /^(rediss?)(?:[+-](sentinel|cluster))?:\/\/(?:([^@/]*)@)?([^/?#]+)(?:\/([^?#]*))?$/i;
const REDIS_PORT = 6_379;
const SENTINEL_PORT = 26_379;

export function looksLikeUrl(text: string): boolean {
  return /^rediss?(?:[+-]\w+)?:\/\//i.test(text);
}

/**
 * Several URLs, or several hosts in one, are nodes of one topology.
 *
 * @throws {@link UsageError} for a URL of another form, or for URLs that contradict each other.
 */
export function parseAddress(urls: readonly string[], options: AddressOptions = {}): RedisAddress {
  const parsed = urls.map((url) => parseUrl(url, options));
  const [first] = parsed;
  if (first === undefined) throw new UsageError('no URL of Redis');
  const shape = ({ topology, tls, username, password, database, masterName }: RedisAddress) =>
    JSON.stringify([topology, tls, username, password, database, masterName]);
  if (parsed.some((each) => shape(each) !== shape(first))) {
    throw new UsageError('several URLs must agree in scheme, user, password, database and master name');
  }
  const nodes = parsed.flatMap((each) => each.nodes);
  const topology = first.topology === 'single' && nodes.length > 1 ? 'cluster' : first.topology;
  return { ...first, topology, nodes };
}

/** Without the password. */
export function describeAddress({ topology, nodes, tls, database, masterName }: RedisAddress): string {
  const scheme = `redis${tls ? 's' : ''}${topology === 'single' ? '' : `+${topology}`}`;
  const hosts = nodes.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',');
  const path = [masterName, database === 0 ? undefined : String(database)].filter(
    (part) => part !== undefined,
  );
  return `${scheme}://${hosts}${path.map((part) => `/${part}`).join('')}`;
}

function parseUrl(url: string, { cluster = false, sentinel }: AddressOptions): RedisAddress {
  const match = URL_FORM.exec(url);
  if (match === null) {
    throw new UsageError(
      `${hidePassword(url)} is no URL of Redis: use redis://host:6379, rediss:// for TLS, redis+sentinel://host:26379/name or redis+cluster://host:7000,host:7001`,
    );
  }
  const [, scheme = '', kind, login, hosts = '', path = ''] = match;
  if (cluster && (sentinel !== undefined || kind === 'sentinel')) {
    throw new UsageError('--cluster and Sentinel exclude each other');
  }
  const topology =
    kind === 'sentinel' || sentinel !== undefined
      ? 'sentinel'
      : kind === 'cluster' || cluster
        ? 'cluster'
        : 'single';
  const parts = path
    .split('/')
    .filter((part) => part !== '')
    .map(decode);
  const named = topology === 'sentinel' && sentinel === undefined ? (parts.shift() ?? 'mymaster') : sentinel;
  const [database = '0', ...rest] = parts;
  if (!/^\d{1,4}$/.test(database) || rest.length > 0) {
    throw new UsageError(`${hidePassword(url)}: the path must be the number of a database`);
  }
  return {
    topology,
    nodes: hosts
      .split(',')
      .map((host) => parseHost(host, url, topology === 'sentinel' ? SENTINEL_PORT : REDIS_PORT)),
    tls: scheme.toLowerCase() === 'rediss',
    ...parseLogin(login),
    database: Number(database),
    ...(named === undefined ? {} : { masterName: named }),
  };
}

function parseHost(text: string, url: string, defaultPort: number): HostAndPort {
  const match = /^(?:\[([\da-f:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/i.exec(text);
  const port = Number(match?.[3] ?? defaultPort);
  if (match === null || port < 1 || port > 65_535) {
    throw new UsageError(`${hidePassword(url)}: ${JSON.stringify(text)} is no host and port`);
  }
  return { host: decode((match[1] ?? match[2]) as string), port };
}

/** `user:password`; without a colon a user name, as in other URLs. */
function parseLogin(login: string | undefined): { username?: string; password?: string } {
  if (login === undefined || login === '') return {};
  const colon = login.indexOf(':');
  const username = decode(colon < 0 ? login : login.slice(0, colon));
  const password = colon < 0 ? '' : decode(login.slice(colon + 1));
  return { ...(username === '' ? {} : { username }), ...(password === '' ? {} : { password }) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new UsageError('the URL has a % that is no percent-encoding');
  }
}

/** The text in quotes. */
export function hidePassword(url: string): string {
  return JSON.stringify(url.replace(/:\/\/.*@/, '://…@'));
}
