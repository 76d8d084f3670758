/** The database in clients and clusters. */
interface ClientWithDatabase {
  options?: { database?: unknown; db?: unknown; redisOptions?: { db?: unknown } };
  _options?: { defaults?: { database?: unknown } };
}

/** As configured: a later SELECT is ignored. */
export function databaseOf(client: object): number {
  const { options, _options } = client as ClientWithDatabase;
  const configured = [
    // node-redis
    options?.database,
    // ioredis, ioredis-mock
    options?.db,
    // Clusters, whose servers have databases since Valkey 9
    options?.redisOptions?.db,
    _options?.defaults?.database,
  ].find((value) => value !== undefined && value !== null);
  const database = Number(configured ?? 0);
  return Number.isSafeInteger(database) && database > 0 ? database : 0;
}

/**
 * Part of channel names, so that two logical databases never receive each other's messages: channels belong
 * to the server. Empty for database 0.
 */
export function databaseSuffix(database: number | undefined): string {
  return database === undefined || database === 0 ? '' : `@${database}`;
}
