import type { ClientHandle } from '../redis/client-handle.js';
import type { PlainCommand, Reply } from '../redis/driver.js';
import { escapeId, unescapeId } from './ids.js';
import { type PartitionKeys, partitionOf } from './keys.js';
import { decodeRecord } from './record.js';
import type { PresenceData } from './types.js';

/** Keys per MGET: enough to share its costs, few enough to block Redis for well under a millisecond. */
const KEYS_PER_READ = 1_000;

/** Reads records and indexes. Records are all that readers ever look at. */
export class PresenceReader {
  readonly #client: ClientHandle;
  readonly #keys: readonly PartitionKeys[];

  constructor(client: ClientHandle, keys: readonly PartitionKeys[]) {
    this.#client = client;
    this.#keys = keys;
  }

  /** The records of `userIds`, in their order, without those nobody knows; see {@link decodeRecord}. */
  async lookup(userIds: ReadonlySet<string>, reveal = false): Promise<Map<string, PresenceData>> {
    const ids = [...userIds];
    const texts = new Map<string, string>();
    const byPartition = this.#keys.map((): string[] => []);
    for (const id of ids) (byPartition[partitionOf(id, this.#keys.length)] as string[]).push(id);
    await Promise.all(byPartition.map((some, partition) => this.#read(partition, some, texts)));

    const found = new Map<string, PresenceData>();
    for (const id of ids) {
      const text = texts.get(id);
      if (text !== undefined) found.set(id, decodeRecord(id, text, reveal));
    }
    return found;
  }

  /** How many users are online. */
  async count(): Promise<number> {
    const counts = await Promise.all(
      this.#keys.map((keys) =>
        this.#client.execute('getOnlineCount', [['ZCARD', keys.online]], { key: keys.online }),
      ),
    );
    return counts.reduce((sum, [count]) => sum + Number(count), 0);
  }

  /**
   * The users online, page by page in lexical order within a partition: whoever stays online
   * throughout is listed exactly once, however many come and go meanwhile.
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
        // The next possible member after the last one of this page.
        after = `[${page.at(-1)}\0`;
      }
    }
  }

  /** The nodes that registered this socket of this user. Ids are escaped. */
  async owners(partition: number, user: string, socket: string): Promise<string[]> {
    const keys = this.#keys[partition] as PartitionKeys;
    const [fields] = (await this.#client.execute('removeSocket', [['HKEYS', keys.sockets(user)]], {
      key: keys.nodes,
    })) as [readonly string[]];
    return fields.flatMap((field) => {
      const at = field.indexOf('"');
      // Fields without an owner are the person's own.
      return at > 0 && field.slice(at + 1) === socket ? [field.slice(0, at)] : [];
    });
  }

  /** The record of a user (escaped), as text. */
  async record(partition: number, user: string): Promise<string | null> {
    const keys = this.#keys[partition] as PartitionKeys;
    const [text] = await this.#client.execute('getPresence', [['GET', keys.user(user)]], { key: keys.nodes });
    return text as string | null;
  }

  async #read(partition: number, ids: readonly string[], texts: Map<string, string>): Promise<void> {
    if (ids.length === 0) return;
    const keys = this.#keys[partition] as PartitionKeys;
    const commands: PlainCommand[] = [];
    for (let at = 0; at < ids.length; at += KEYS_PER_READ) {
      const some = ids.slice(at, at + KEYS_PER_READ);
      commands.push(['MGET', ...some.map((id) => keys.user(escapeId(id)))]);
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
