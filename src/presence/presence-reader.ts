import type { ClientHandle } from '../redis/client-handle.js';
import type { PlainCommand, Reply } from '../redis/driver.js';
import { escapeId, unescapeId } from './ids.js';
import { type PartitionKeys, partitionOf } from './keys.js';
import { decodeRecord } from './record.js';
import type { PresenceData } from './types.js';

/** Keys per MGET. More would share the cost of a command further, but block Redis for longer (1,000: under 1 ms). */
const KEYS_PER_MGET = 1_000;

/** Reads records and the online index. Socket entries are only read to find a socket's owners. */
export class PresenceReader {
  readonly #client: ClientHandle;
  readonly #keys: readonly PartitionKeys[];

  constructor(client: ClientHandle, keys: readonly PartitionKeys[]) {
    this.#client = client;
    this.#keys = keys;
  }

  /** The records of `userIds` in the order of `userIds`. Unknown users are left out. */
  async lookup(userIds: ReadonlySet<string>, reveal = false): Promise<Map<string, PresenceData>> {
    const ids = [...userIds];
    const texts = new Map<string, string>();
    const byPartition = this.#keys.map((): string[] => []);
    for (const id of ids) (byPartition[partitionOf(id, this.#keys.length)] as string[]).push(id);
    await Promise.all(byPartition.map((part, partition) => this.#readRecords(partition, part, texts)));

    const records = new Map<string, PresenceData>();
    for (const id of ids) {
      const text = texts.get(id);
      if (text !== undefined) records.set(id, decodeRecord(id, text, reveal));
    }
    return records;
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
