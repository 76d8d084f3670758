import { decodeLayout } from '../presence/partition-layout.js';
import { FORMAT } from '../presence/record.js';
import type { PlainCommand } from '../redis/driver.js';
import type { CliConnection, MasterRef } from './cli-connection.js';
import { type Finding, finding } from './finding.js';
import { formatCount, printable } from './output.js';
import { scanKeys } from './scan-keys.js';

/** Layouts of presence, by prefix, and histories of an earlier format. */
export interface StoredData {
  /** Prefix → text of the first partition's layout key. */
  readonly layouts: ReadonlyMap<string, string>;
  /** Keys of histories that are streams. */
  readonly oldHistories: readonly string[];
  /** Keys looked at, and keys there are. */
  readonly scanned: number;
  readonly total: number;
}

const PAGE = 1_000;
const FIRST_LAYOUT = /^\{(.+):0\}:layout$/;
const HISTORY = /^rollcall:log[:!#]/;
/** Histories whose type is looked at. */
const MAX_HISTORIES = 1_000;

/** Looks at about `limit` keys. */
export async function readStoredData(
  connection: CliConnection,
  masters: readonly MasterRef[],
  limit: number,
): Promise<StoredData> {
  const layoutKeys = new Set<string>();
  const histories = new Set<string>();
  const counts = { scanned: 0, total: 0 };
  for await (const { keys } of scanKeys(connection, masters, limit, PAGE, counts)) {
    for (const found of keys) {
      if (FIRST_LAYOUT.test(found)) layoutKeys.add(found);
      else if (HISTORY.test(found) && histories.size < MAX_HISTORIES) histories.add(found);
    }
  }
  // The layout of the prefix in question is no matter of luck.
  layoutKeys.add(`{${connection.prefix}:0}:layout`);
  const layouts = new Map<string, string>();
  for (const key of layoutKeys) {
    const [text] = await connection.attempt([['GET', key]]);
    if (typeof text === 'string') layouts.set(FIRST_LAYOUT.exec(key)?.[1] ?? key, text);
  }
  const types = await connection.attempt([...histories].map((key): PlainCommand => ['TYPE', key]));
  const oldHistories = [...histories].filter((_, at) => types[at] === 'stream');
  return { layouts, oldHistories, ...counts };
}

export function checkStoredData(
  prefix: string,
  { layouts, oldHistories, scanned, total }: StoredData,
): Finding[] {
  const findings: Finding[] = [];
  const add = (...args: Parameters<typeof finding>) => findings.push(finding(...args));
  for (const [name, text] of layouts) {
    const layout = decodeLayout(text);
    const what = `presence data under prefix ${JSON.stringify(printable(name))}`;
    if (layout === undefined) {
      add('error', 'format', `${what} has an unknown layout`, 'use another prefix');
    } else if (layout.format !== FORMAT) {
      add(
        name === prefix ? 'error' : 'warning',
        'format',
        `${what} has format ${layout.format}, this release uses format ${FORMAT}`,
        `stop all processes of the other release and delete the keys {${printable(name)}:*, or use another prefix`,
      );
    } else {
      const sharded = layout.sharded ? ', changes on sharded channels' : '';
      const text = `${what}: format ${layout.format}, partitions: ${layout.partitions}${sharded}`;
      if (name === prefix) add('ok', 'format', text);
      else add('note', 'prefix', `also ${text}`, `rollcall … --prefix ${printable(name)}`);
    }
  }
  if (!layouts.has(prefix)) {
    add('note', 'format', `no presence data under prefix ${JSON.stringify(prefix)} yet`);
  }
  if (oldHistories.length > 0) {
    const [first = ''] = oldHistories;
    add(
      'warning',
      'format',
      `${oldHistories.length} histories have the format of an earlier release; the first: ${JSON.stringify(printable(first))}`,
      'stop the processes of that release, then delete these keys',
    );
  }
  if (scanned < total) {
    const text = `looked at ${formatCount(scanned)} of ${formatCount(total)} keys for other prefixes and formats`;
    add('note', 'prefix', text, 'look at more with --sample');
  }
  return findings;
}
