import { ConfigurationError, InvalidArgumentError } from '../internal/errors.js';

/** The database in clients. */
interface ClientWithDatabase {
  options?: { database?: unknown; db?: unknown };
}

/** The database in Cluster clients: where they apply it, and where they ignore it. */
interface ClusterClientWithDatabase {
  // ioredis
  options?: { db?: unknown; redisOptions?: { db?: unknown } };
  startupNodes?: unknown;
  // node-redis
  _options?: {
    database?: unknown;
    rootNodes?: readonly unknown[];
    defaults?: { database?: unknown; url?: unknown };
  };
}

/** As configured: a later SELECT is ignored. */
export function databaseOf(client: object): number {
  const { options } = client as ClientWithDatabase;
  // node-redis, then ioredis and ioredis-mock
  return toDatabase(options?.database ?? options?.db);
}

/**
 * Of a Cluster client; the servers have databases since Valkey 9.
 *
 * @throws `InvalidArgumentError` for a database that the client ignores: it would use another one.
 */
export function databaseOfCluster(client: object): number {
  const { options, startupNodes, _options } = client as ClusterClientWithDatabase;
  if (_options !== undefined) {
    const { defaults, rootNodes = [] } = _options;
    const used = toDatabase(defaults?.database ?? databaseInUrl(defaults?.url));
    assertSame('createCluster', 'defaults.database', used, [_options.database, ...rootNodes.map(ofNode)]);
    return used;
  }
  const used = toDatabase(options?.redisOptions?.db);
  const nodes = Array.isArray(startupNodes) ? startupNodes.map(ofNode) : [];
  assertSame('Cluster of ioredis', 'redisOptions.db', used, [options?.db, ...nodes]);
  return used;
}

function assertSame(client: string, option: string, used: number, ignored: readonly unknown[]): void {
  const other = ignored.map(toDatabase).find((database) => database !== 0 && database !== used);
  if (other === undefined) return;
  throw new InvalidArgumentError(
    'redis',
    `has database ${other} where ${client} ignores it, and would use database ${used}: pass it as ${option}`,
  );
}

/** In a node's URL or options. */
function ofNode(node: unknown): unknown {
  if (typeof node === 'string') return databaseInUrl(node);
  const { url, database, db } = (node ?? {}) as { url?: unknown; database?: unknown; db?: unknown };
  return database ?? db ?? databaseInUrl(url);
}

function databaseInUrl(url: unknown): string | undefined {
  if (typeof url !== 'string' || !URL.canParse(url)) return undefined;
  return new URL(url).pathname.slice(1);
}

function toDatabase(value: unknown): number {
  const database = Number(value ?? 0);
  return Number.isSafeInteger(database) && database > 0 ? database : 0;
}

/** The server has no such database, or does not permit this user to SELECT it. */
const NO_DATABASE =
  /^(?:ERR (?:SELECT is not allowed|DB index is out of range)|NOPERM .*\bselect\b|ERR unknown command .*select)/i;

/** Undefined for other errors, and for database 0. */
export function databaseRefusal(
  error: unknown,
  database: number | undefined,
): ConfigurationError | undefined {
  if (database === 0) return undefined;
  const refusal = [error, (error as Error | undefined)?.cause].find(
    (each): each is Error => each instanceof Error && NO_DATABASE.test(each.message),
  );
  return refusal && createDatabaseError(refusal, database);
}

export function createDatabaseError(cause: Error, database: number | undefined): ConfigurationError {
  return new ConfigurationError(
    `Redis refuses database ${database ?? 'of the client'} (${cause.message}): the user needs +select and the server a higher setting of databases; on a Cluster only Valkey 9 has several, by the setting cluster-databases`,
    { cause },
  );
}

/**
 * Part of channel names, so that two logical databases never receive each other's messages: channels belong
 * to the server. Empty for database 0.
 */
export function databaseSuffix(database: number | undefined): string {
  return database === undefined || database === 0 ? '' : `@${database}`;
}
