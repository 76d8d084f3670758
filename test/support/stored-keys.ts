/** Runs one command on a server; see `RedisServer.cli`. */
export type Cli = (...args: string[]) => Promise<string>;

const READ: Record<string, (key: string) => string[]> = {
  string: (key) => ['GET', key],
  hash: (key) => ['HGETALL', key],
  set: (key) => ['SMEMBERS', key],
  zset: (key) => ['ZRANGE', key, '0', '-1'],
  list: (key) => ['LRANGE', key, '0', '-1'],
};

/** Keys whose name or content has `text`, on all `masters`. */
export async function keysWith(text: string, masters: readonly Cli[]): Promise<string[]> {
  const found: string[] = [];
  for (const cli of masters) {
    const keys = (await cli('KEYS', '*')).split('\n').filter((key) => key !== '');
    for (const key of keys) {
      const type = (await cli('TYPE', key)).trim();
      const content = key.includes(text) ? '' : await cli(...(READ[type]?.(key) ?? ['TYPE', key]));
      if (key.includes(text) || content.includes(text)) found.push(key);
    }
  }
  return found.sort();
}

/** Kinds of keys of all services: without prefixes, tags and random parts. */
export const keyKinds = (keys: readonly string[]) => [
  ...new Set(
    keys.map(
      (key) => /:(sockets|user|online|due|room|node|inbox|changes)\b|^rollcall:(\w+)/.exec(key)?.[0] ?? key,
    ),
  ),
];
