import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { RedisClient } from '../redis/detect.js';
import type { RedisAddress } from './address.js';
import { CliError } from './usage-error.js';

export const LIBRARIES = ['redis', 'ioredis'] as const;
export type Library = (typeof LIBRARIES)[number];

export interface OpenedClient {
  readonly client: RedisClient;
  readonly library: Library;
  /** Of the library. */
  readonly version: string;
  close(): void;
}

interface FoundLibrary {
  readonly name: Library;
  readonly version: string;
  readonly exports: Record<string, unknown>;
}

/** Delay between attempts after a connection has been lost, in ms. */
const RECONNECT_DELAY = 200;

/** Creates a client of the address, not connected. `wanted`: the only library to use. */
export async function openClient(address: RedisAddress, wanted?: Library): Promise<OpenedClient> {
  const library = await findLibrary(wanted);
  const create = library.name === 'redis' ? createNodeRedisClient : createIoredisClient;
  const { client, close } = create(library, address);
  // Failed calls are reported; without a listener both libraries report the error themselves.
  client.on('error', () => {});
  return { client: client as unknown as RedisClient, library: library.name, version: library.version, close };
}

/** The application's own library first: the current folder, then the folder of this package. */
async function findLibrary(wanted: Library | undefined): Promise<FoundLibrary> {
  for (const name of wanted === undefined ? LIBRARIES : [wanted]) {
    for (const base of [pathToFileURL(join(process.cwd(), 'index.js')), import.meta.url]) {
      const require = createRequire(base);
      let file: string;
      try {
        file = require.resolve(name);
      } catch {
        continue;
      }
      const loaded = (await import(pathToFileURL(file).href)) as Record<string, unknown> & {
        default?: object;
      };
      const { version } = require(`${name}/package.json`) as { version: string };
      return { name, version, exports: { ...loaded.default, ...loaded } };
    }
  }
  const [names, example] = wanted === undefined ? ['redis nor ioredis', 'redis'] : [wanted, wanted];
  throw new CliError(
    `${wanted === undefined ? 'neither ' : 'no '}${names} is installed in ${process.cwd()}: run this in your project, or npx -p rollcall -p ${example} rollcall …`,
  );
}

interface EventedClient {
  on(event: string, listener: () => void): unknown;
}

interface CreatedClient {
  readonly client: EventedClient;
  close(): void;
}

/** Before the first connection a failure is final, so that a wrong URL is reported at once. */
function retryPolicy<T>(stop: T): { opened(): void; delay(): number | T } {
  let wasOpen = false;
  return {
    opened: () => {
      wasOpen = true;
    },
    delay: () => (wasOpen ? RECONNECT_DELAY : stop),
  };
}

interface NodeRedisClient extends EventedClient {
  readonly isOpen: boolean;
  destroy(): void;
}

function createNodeRedisClient({ exports, version }: FoundLibrary, address: RedisAddress): CreatedClient {
  const { topology, nodes, tls, username, password, database, masterName } = address;
  const retry = retryPolicy<false>(false);
  const sockets = nodes.map((node) => ({ ...node, ...(tls ? { tls: true } : {}) }));
  const common = {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(database === 0 ? {} : { database }),
    RESP: 2,
    // Users of few rights may not send it.
    disableClientInfo: true,
  };
  const create = (name: string, options: object): NodeRedisClient => {
    const factory = exports[name];
    if (typeof factory !== 'function')
      throw new CliError(`redis ${version} has no ${name}: use redis 5 or 6`);
    return factory(options) as NodeRedisClient;
  };
  let client: NodeRedisClient;
  if (topology === 'cluster') {
    client = create('createCluster', {
      rootNodes: sockets.map((socket) => ({ socket })),
      defaults: { ...common, ...(tls ? { socket: { tls: true } } : {}) },
    });
  } else if (topology === 'sentinel') {
    client = create('createSentinel', {
      name: masterName,
      sentinelRootNodes: nodes,
      nodeClientOptions: { ...common, ...(tls ? { socket: { tls: true } } : {}) },
      ...(tls ? { sentinelClientOptions: { socket: { tls: true } } } : {}),
    });
  } else {
    client = create('createClient', {
      ...common,
      socket: { ...sockets[0], reconnectStrategy: () => retry.delay() },
    });
    client.on('ready', retry.opened);
  }
  return { client, close: () => (client.isOpen ? client.destroy() : undefined) };
}

interface IoredisClient extends EventedClient {
  disconnect(): void;
}

function createIoredisClient({ exports, version }: FoundLibrary, address: RedisAddress): CreatedClient {
  const { topology, nodes, tls, username, password, database, masterName } = address;
  const retry = retryPolicy<null>(null);
  const options = {
    username,
    password,
    db: database,
    disableClientInfo: true,
    lazyConnect: true,
    ...(tls ? { tls: {} } : {}),
  };
  const construct = (name: string, ...args: unknown[]): IoredisClient => {
    const Class = exports[name] as (new (...args: unknown[]) => IoredisClient) | undefined;
    if (Class === undefined) throw new CliError(`ioredis ${version} has no ${name}: use ioredis 5 or 6`);
    return new Class(...args);
  };
  let client: IoredisClient;
  if (topology === 'cluster') {
    client = construct('Cluster', nodes, { lazyConnect: true, redisOptions: options });
  } else if (topology === 'sentinel') {
    client = construct('Redis', {
      ...options,
      sentinels: nodes,
      name: masterName,
      failoverDetector: true,
      enableTLSForSentinelMode: tls,
    });
  } else {
    client = construct('Redis', { ...options, ...nodes[0], retryStrategy: () => retry.delay() });
    client.on('ready', retry.opened);
  }
  return { client, close: () => client.disconnect() };
}
