import type { CliConnection, MasterRef } from './cli-connection.js';

/** A page of keys of one master. */
interface KeyPage {
  readonly keys: readonly string[];
  /** For further commands to that master. */
  readonly options: { key?: string };
}

/** Number of keys looked at, and of all keys. */
export interface KeyCounts {
  scanned: number;
  total: number;
}

/**
 * About `limit` keys, in equal parts of all masters, counted in `counts`. By SCAN, which does not block the server as KEYS
 * does.
 */
export async function* scanKeys(
  connection: CliConnection,
  masters: readonly MasterRef[],
  limit: number,
  pageSize: number,
  counts: KeyCounts,
): AsyncGenerator<KeyPage> {
  for (const { key } of masters) {
    const options = connection.cluster ? { key } : {};
    const [size] = await connection.run([['DBSIZE']], options);
    counts.total += Number(size);
    let left = Math.ceil(limit / masters.length);
    let cursor = '0';
    do {
      const [reply] = await connection.run(
        [['SCAN', cursor, 'COUNT', String(Math.min(pageSize, left))]],
        options,
      );
      const [next, keys] = reply as unknown as [string, readonly string[]];
      cursor = next;
      left -= keys.length;
      counts.scanned += keys.length;
      yield { keys, options };
    } while (cursor !== '0' && left > 0);
  }
}
