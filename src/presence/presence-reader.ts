import type { ErrorReporter } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PlainCommand, Reply } from '../redis/driver.js';
import { escapeId, unescapeId } from './ids.js';
import { type PartitionKeys, partitionOf } from './keys.js';
import { decodeRecord } from './record.js';
import type { PresenceData } from './types.js';

/** Blocks Redis for under 1 ms. */
const KEYS_PER_MGET = 1_000;

export interface LookupResult {
  /** In the order of the lookup, without unknown users. */
  readonly records: Map<string, PresenceData>;
  /** Their record cannot be read: they are neither known nor gone. */
  readonly unreadable: ReadonlySet<string>;
}

/** Reads records and the online index. */
export class PresenceReader {
  readonly #client: ClientHandle;
  readonly #keys: readonly PartitionKeys[];

  readonly #reporter: ErrorReporter;

  constructor(client: ClientHandle, keys: readonly PartitionKeys[], reporter: ErrorReporter) {
    this.#client = client;
    this.#keys = keys;
    this.#reporter = reporter;
  }

  /** Reports unreadable records together, as one error. */
  async lookup(userIds: ReadonlySet<string>, reveal = false): Promise<LookupResult> {
    const ids = [...userIds];
    // By the place in `ids`.
    const texts: (string | undefined)[] = new Array(ids.length);
    const byPartition = this.#keys.map((): number[] => []);
    for (const [at, id] of ids.entries())
      (byPartition[partitionOf(id, this.#keys.length)] as number[]).push(at);
    await Promise.all(
      byPartition.map((places, partition) => this.#readRecords(partition, ids, places, texts)),
    );

    const records = new Map<string, PresenceData>();
    const unreadable = new Set<string>();
    let firstError: unknown;
    for (const [at, id] of ids.entries()) {
      const text = texts[at];
      if (text === undefined) continue;
      try {
        records.set(id, decodeRecord(id, text, reveal));
      } catch (error) {
        unreadable.add(id);
        firstError ??= error;
      }
    }
    if (unreadable.size > 0) this.#reportUnreadable(firstError as DecodeError, unreadable.size);
    return { records, unreadable };
  }

  /** Hidden sockets included; `null`: unreadable, which is reported. */
  decode(userId: string, text: string): PresenceData | null {
    try {
      return decodeRecord(userId, text, true);
    } catch (error) {
      this.#reportUnreadable(error as DecodeError, 1);
      return null;
    }
  }

  async count(): Promise<number> {
    const counts = await Promise.all(
      this.#keys.map((keys) =>
        this.#client.execute('getOnlineCount', [['SCARD', keys.online]], { key: keys.online }),
      ),
    );
    return counts.reduce((sum, [count]) => sum + Number(count), 0);
  }

  /** In no order, each user once. */
  async *online(pageSize: number, signal: AbortSignal | undefined): AsyncGenerator<string, void, undefined> {
    for (const keys of this.#keys) {
      // SSCAN may repeat a member.
      const seen = new Set<string>();
      let cursor = '0';
      do {
        signal?.throwIfAborted();
        const command: PlainCommand = ['SSCAN', keys.online, cursor, 'COUNT', String(pageSize)];
        const [reply] = await this.#client.execute('listOnlineUsers', [command], { key: keys.online });
        const [next, page] = reply as unknown as [string, readonly string[]];
        cursor = next;
        for (const user of page) {
          signal?.throwIfAborted();
          if (seen.has(user)) continue;
          seen.add(user);
          yield unescapeId(user);
        }
      } while (cursor !== '0');
    }
  }

  /** `user` is escaped. */
  async record(partition: number, user: string): Promise<string | null> {
    const keys = this.#keys[partition] as PartitionKeys;
    const [text] = await this.#client.execute('getPresence', [['GET', keys.user(user)]], { key: keys.nodes });
    return text as string | null;
  }

  #reportUnreadable(error: DecodeError, count: number): void {
    const message =
      count === 1 ? error.message : `${count} presence records cannot be read; first: ${error.message}`;
    this.#reporter.report(new DecodeError(message, { cause: error.cause ?? error }), { stage: 'decode' });
  }

  async #readRecords(
    partition: number,
    ids: readonly string[],
    places: readonly number[],
    texts: (string | undefined)[],
  ): Promise<void> {
    if (places.length === 0) return;
    const keys = this.#keys[partition] as PartitionKeys;
    const commands: PlainCommand[] = [];
    for (let from = 0; from < places.length; from += KEYS_PER_MGET) {
      const command = ['MGET'];
      for (const at of places.slice(from, from + KEYS_PER_MGET)) {
        command.push(keys.user(escapeId(ids[at] as string)));
      }
      commands.push(command as unknown as PlainCommand);
    }
    const replies = await this.#client.execute('getMultiplePresence', commands, { key: keys.nodes });
    let next = 0;
    for (const reply of replies) {
      for (const text of reply as readonly Reply[]) {
        if (typeof text === 'string') texts[places[next] as number] = text;
        next++;
      }
    }
  }
}
