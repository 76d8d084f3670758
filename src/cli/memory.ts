import { unescapeId } from '../presence/ids.js';
import type { PlainCommand } from '../redis/driver.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand } from './command.js';
import { formatBytes, formatCount, formatDuration, printable, table } from './output.js';
import { type KeyCounts, scanKeys } from './scan-keys.js';
import { numberOption } from './values.js';

/** Keys of one kind among those that were looked at. */
interface KindReport {
  readonly kind: string;
  keys: number;
  bytes: number;
  /** Keys that never expire. */
  persistent: number;
  /** In ms; of the keys that expire. */
  shortestTtl: number | undefined;
  longestTtl: number | undefined;
}

interface LargeKey {
  /** Room or channel. */
  readonly name: string;
  readonly bytes: number;
  /** Members or messages. */
  readonly length: number;
}

interface Sampled extends KeyCounts {
  readonly kinds: Map<string, KindReport>;
  readonly rooms: LargeKey[];
  readonly histories: LargeKey[];
}

const PAGE = 500;
const LARGEST = 10;

export const memory: CliCommand = {
  name: 'memory',
  args: [],
  summary: 'shows keys by kind with sizes and TTLs, and the largest rooms and histories, from a sample',
  options: {
    sample: { type: 'string', help: 'how many keys to look at (default: 10000)' },
  },
  async run({ open, output, values, prefix }) {
    const limit = numberOption('sample', values['sample'], 10_000, 1);
    const connection = await open();
    const sampled = await sample(connection, prefix, limit);
    const { scanned, total } = sampled;
    const scale = scanned === 0 ? 0 : Math.max(total / scanned, 1);
    const kinds = [...sampled.kinds.values()]
      .sort((a, b) => b.bytes - a.bytes)
      .map((kind) => ({
        ...kind,
        estimatedKeys: Math.round(kind.keys * scale),
        estimatedBytes: Math.round(kind.bytes * scale),
      }));
    const { rooms, histories } = sampled;
    const approximately = scale > 1 ? '~' : '';
    output.print({ scanned, total, kinds, rooms, histories }, () => [
      ...table(
        ['KIND', 'KEYS', 'MEMORY', 'EACH', 'TTL'],
        kinds.map((kind) => [
          kind.kind,
          approximately + formatCount(kind.estimatedKeys),
          approximately + formatBytes(kind.estimatedBytes),
          formatBytes(kind.bytes / kind.keys),
          describeTtl(kind),
        ]),
      ),
      ...largest('LARGEST ROOMS', 'MEMBERS', rooms),
      ...largest('LARGEST HISTORIES', 'MESSAGES', histories),
      '',
      scanned < total
        ? `looked at ${formatCount(scanned)} of ${formatCount(total)} keys (--sample); numbers with ~ are estimates`
        : `looked at all ${formatCount(total)} keys`,
    ]);
    return 0;
  },
};

async function sample(connection: CliConnection, prefix: string, limit: number): Promise<Sampled> {
  const sampled: Sampled = { scanned: 0, total: 0, kinds: new Map(), rooms: [], histories: [] };
  const masters = await connection.masters();
  for await (const { keys, options } of scanKeys(connection, masters, limit, PAGE, sampled)) {
    await measure(connection, prefix, keys, options, sampled);
  }
  for (const list of [sampled.rooms, sampled.histories]) {
    list.sort((a, b) => b.bytes - a.bytes);
    list.length = Math.min(list.length, LARGEST);
  }
  return sampled;
}

async function measure(
  connection: CliConnection,
  prefix: string,
  keys: readonly string[],
  options: { key?: string },
  sampled: Sampled,
): Promise<void> {
  const known = keys.flatMap((key) => {
    const kind = kindOf(key, prefix);
    if (kind === undefined) count(sampled, 'not rollcall', 0, undefined);
    return kind === undefined ? [] : [{ key, ...kind }];
  });
  const commands = known.flatMap(({ key, kind }): PlainCommand[] => [
    ['MEMORY', 'USAGE', key],
    ['PTTL', key],
    // Other kinds need no length; all take part so that there are three replies to a key.
    kind === 'rooms' ? ['HLEN', key] : kind === 'histories' ? ['LLEN', key] : ['TYPE', key],
  ]);
  const replies = commands.length === 0 ? [] : await connection.attempt(commands, options);
  known.forEach(({ kind, name }, at) => {
    const [bytes, ttl, length] = replies.slice(3 * at, 3 * at + 3);
    if (bytes instanceof Error) throw bytes;
    // The key has expired since.
    if (bytes === null || Number(ttl) === -2) return;
    count(sampled, kind, Number(bytes), Number(ttl));
    if (length instanceof Error) return;
    if (kind === 'rooms') sampled.rooms.push({ name, bytes: Number(bytes), length: Number(length) });
    if (kind === 'histories') sampled.histories.push({ name, bytes: Number(bytes), length: Number(length) });
  });
}

/** `ttl`: as PTTL replies. */
function count({ kinds }: Sampled, kind: string, bytes: number, ttl: number | undefined): void {
  let report = kinds.get(kind);
  if (report === undefined) {
    report = { kind, keys: 0, bytes: 0, persistent: 0, shortestTtl: undefined, longestTtl: undefined };
    kinds.set(kind, report);
  }
  report.keys++;
  report.bytes += bytes;
  if (ttl === undefined) return;
  if (ttl < 0) report.persistent++;
  else {
    report.shortestTtl = Math.min(report.shortestTtl ?? ttl, ttl);
    report.longestTtl = Math.max(report.longestTtl ?? ttl, ttl);
  }
}

const PRESENCE_KINDS: readonly (readonly [RegExp, string])[] = [
  [/^user:/, 'records'],
  [/^sockets:/, 'socket entries'],
  [/^room:/, 'rooms'],
  [/^node:/, 'owner sets'],
  [/^inbox/, 'inboxes'],
  [/^(nodes|online|due|changes|layout)$/, 'indexes'],
];

/** Undefined for keys that are not rollcall's, or have another prefix. */
function kindOf(key: string, prefix: string): { kind: string; name: string } | undefined {
  if (key.startsWith(`{${prefix}:`)) {
    const rest = key.slice(key.indexOf('}:') + 2);
    const kind = PRESENCE_KINDS.find(([pattern]) => pattern.test(rest))?.[1];
    if (kind === undefined) return undefined;
    return { kind, name: kind === 'rooms' ? unescapeId(rest.slice('room:'.length)) : rest };
  }
  if (key.startsWith('rollcall:log')) return { kind: 'histories', name: channelIn(key) };
  if (key.startsWith('rollcall:last')) return { kind: 'last positions', name: key };
  if (key.startsWith('rollcall:once')) return { kind: 'idempotency keys', name: key };
  if (key.startsWith('rollcall:read')) return { kind: 'read markers', name: key };
  if (key.startsWith('rollcall:')) return { kind: 'other of rollcall', name: key };
  return undefined;
}

/** See history/keys.ts. */
function channelIn(key: string): string {
  const match = /^rollcall:log(?:#\d+:(.*)|[:!]\{(.*)\})$/s.exec(key);
  return match?.[1] ?? match?.[2] ?? key;
}

function describeTtl({ kind, persistent, shortestTtl, longestTtl }: KindReport): string {
  if (kind === 'not rollcall') return '';
  if (shortestTtl === undefined || longestTtl === undefined) return 'none';
  const [from, to] = [formatDuration(shortestTtl), formatDuration(longestTtl)];
  const range = from === to ? from : `${from} to ${to}`;
  return persistent === 0 ? range : `${range}, ${persistent} without`;
}

function largest(title: string, lengthName: string, keys: readonly LargeKey[]): string[] {
  if (keys.length === 0) return [];
  const rows = keys.map(({ name, bytes, length }) => [
    printable(name),
    formatCount(length),
    formatBytes(bytes),
  ]);
  return ['', ...table([title, lengthName, 'MEMORY'], rows)];
}
