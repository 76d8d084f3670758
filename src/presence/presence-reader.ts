import type { ErrorReporter } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PlainCommand, Reply } from '../redis/driver.js';
import { escapeId, unescapeId } from './ids.js';
import { type PartitionKeys, partitionOf } from './keys.js';
import { decodeRecord } from './record.js';
import type { PresenceData } from './types.js';

/** Keys per MGET. More would share the cost of a command further, but block Redis for longer (1,000: under 1 ms). */
const KEYS_PER_MGET = 1_000;

/** What a lookup found. */
export interface LookupResult {
  /** In the order of the lookup, without unknown users. */
  readonly records: Map<string, PresenceData>;
  /** Users whose record is there and cannot be read: they are neither known nor gone. */
  readonly unreadable: ReadonlySet<string>;
}

/** Reads records and the online index. Socket entries are only read to find a socket's owners. */
export class PresenceReader {
  readonly #client: ClientHandle;
  readonly #keys: readonly PartitionKeys[];

  readonly #reporter: ErrorReporter;

  constructor(client: ClientHandle, keys: readonly PartitionKeys[], reporter: ErrorReporter) {
    this.#client = client;
    this.#keys = keys;
    this.#reporter = reporter;
  }

  /** Reads the records of `userIds`. Reports unreadable ones together, as one error. */
  async lookup(userIds: ReadonlySet<string>, reveal = false): Promise<LookupResult> {
    const ids = [...userIds];
    const texts = new Map<string, string>();
    const byPartition = this.#keys.map((): string[] => []);
    for (const id of ids) (byPartition[partitionOf(id, this.#keys.length)] as string[]).push(id);
    await Promise.all(byPartition.map((part, partition) => this.#readRecords(partition, part, texts)));

    const records = new Map<string, PresenceData>();
    const unreadable = new Set<string>();
    let firstError: unknown;
    for (const id of ids) {
      const text = texts.get(id);
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

  /** The presence that a record describes, hidden sockets included; `null` if the record cannot be read, which is reported. */
  decode(userId: string, text: string): PresenceData | null {
    try {
      return decodeRecord(userId, text, true);
    } catch (error) {
      this.#reportUnreadable(error as DecodeError, 1);
      return null;
    }
  }

  /** The number of online users. */
  async count(): Promise<number> {
    const counts = await Promise.all(
      this.#keys.map((keys) =>
        this.#client.execute('getOnlineCount', [['ZCARD', keys.online]], { key: keys.online }),
      ),
    );
    return counts.reduce((sum, [count]) => sum + Number(count), 0);
  }

  /**
   * The online users, page by page, in lexical order within a partition. So a user who stays online throughout is
   * listed exactly once, however many others come and go in the meantime.
   */
  async *online(pageSize: number, signal: AbortSignal | undefined): AsyncGenerator<string, void, undefined> {
    for (const keys of this.#keys) {
      let after = '-';
      for (;;) {
        signal?.throwIfAborted();
        const command: PlainCommand = [
          'ZRANGEBYLEX',
          keys.online,
          after,
          '+',
          'LIMIT',
          '0',
          String(pageSize),
        ];
        const [page] = (await this.#client.execute('listOnlineUsers', [command], { key: keys.online })) as [
          readonly string[],
        ];
        for (const user of page) {
          signal?.throwIfAborted();
          yield unescapeId(user);
        }
        if (page.length < pageSize) break;
        // `\0` makes the smallest string greater than the last user of this page.
        after = `[${page.at(-1)}\0`;
      }
    }
  }

  /** The nodes that registered this socket. All ids are escaped. */
  async owners(partition: number, user: string, socket: string): Promise<string[]> {
    const keys = this.#keys[partition] as PartitionKeys;
    const [fields] = (await this.#client.execute('removeSocket', [['HKEYS', keys.sockets(user)]], {
      key: keys.nodes,
    })) as [readonly string[]];
    return fields.flatMap((field) => {
      const at = field.indexOf('"');
      // Fields without a node are the user's own: their status and their grace.
      return at > 0 && field.slice(at + 1) === socket ? [field.slice(0, at)] : [];
    });
  }

  /** The text of a user's record. `user` is escaped. */
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

  async #readRecords(partition: number, ids: readonly string[], texts: Map<string, string>): Promise<void> {
    if (ids.length === 0) return;
    const keys = this.#keys[partition] as PartitionKeys;
    const commands: PlainCommand[] = [];
    for (let at = 0; at < ids.length; at += KEYS_PER_MGET) {
      const page = ids.slice(at, at + KEYS_PER_MGET);
      commands.push(['MGET', ...page.map((id) => keys.user(escapeId(id)))]);
    }
    const replies = await this.#client.execute('getMultiplePresence', commands, { key: keys.nodes });
    let at = 0;
    for (const reply of replies) {
      for (const text of reply as readonly Reply[]) {
        if (typeof text === 'string') texts.set(ids[at] as string, text);
        at++;
      }
    }
  }
}
