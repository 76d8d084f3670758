import type { Clock } from '../internal/clock.js';
import type { ClientHandle } from '../redis/client-handle.js';
import { defineScript } from '../redis/script.js';
import { unescapeId } from './ids.js';
import { type PartitionKeys, partitionOf } from './keys.js';
import type { PresenceReader } from './presence-reader.js';
import readChangesSource from './read-changes.lua';
import type { PresenceData } from './types.js';

const readChangesScript = defineScript('read-changes', readChangesSource);

/** TTL of the list of changes without a reader, in ms. */
const CHANGES_TTL = 600_000;
/** Interval in ms at which lookups renew it. */
const RENEW_INTERVAL = 60_000;
/** For fewer users of a partition an MGET costs no more than reading the changes. */
const MIN_USERS = 8;

/** Limits of a cache, with defaults filled in. */
export interface LookupCacheSettings {
  readonly maxUsers: number;
  /** In ms. */
  readonly maxAge: number;
}

interface Entry {
  /** Undefined while the record is being read; null: unknown user. */
  readonly presence: PresenceData | null | undefined;
  readonly readAt: number;
}

interface CachedPartition {
  /** The last change that was applied; undefined: none, so nothing may be cached. */
  lastChange: string | undefined;
  /** When the TTL of the list was last renewed. */
  renewedAt: number;
  readonly entries: Map<string, Entry>;
}

export interface LookupCacheParts {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly reader: Pick<PresenceReader, 'lookup'>;
  readonly clock: Clock;
}

/**
 * Records that lookups have read. Each lookup first asks Redis which records were written since the one before, so a
 * result is never older than the call. Whatever the list of changes does not show (a lost connection, a failover,
 * FLUSHALL) empties the cache. Only a record that expired or was evicted is not in the list: it is found for up to
 * `maxAge` more.
 */
export class LookupCache {
  readonly #parts: LookupCacheParts;
  readonly #settings: LookupCacheSettings;
  readonly #partitions: readonly CachedPartition[];

  constructor(parts: LookupCacheParts, settings: LookupCacheSettings) {
    this.#parts = parts;
    this.#settings = settings;
    this.#partitions = parts.keys.map(() => ({
      lastChange: undefined,
      renewedAt: Number.NEGATIVE_INFINITY,
      entries: new Map(),
    }));
    // The next server may have lost writes.
    parts.client.listen({ connection: () => this.#clear() });
  }

  /** In the order of `userIds`, without unknown users. The presence objects are shared, and frozen. */
  async lookup(userIds: ReadonlySet<string>): Promise<Map<string, PresenceData>> {
    const found = new Map<string, PresenceData | null>();
    const count = this.#partitions.length;
    let unknown = 0;
    const byPartition = this.#partitions.map((): string[] => []);
    for (const id of userIds) (byPartition[partitionOf(id, count)] as string[]).push(id);
    const missing = new Set<string>();
    const pending = new Map<string, Entry>();
    const oldest = this.#parts.clock.now() - this.#settings.maxAge;
    await Promise.all(
      byPartition.map(async (ids, at) => {
        const partition = this.#partitions[at] as CachedPartition;
        const cacheable = ids.length >= MIN_USERS && (await this.#applyChanges(partition, at));
        const absent: string[] = [];
        for (const id of ids) {
          const entry = cacheable ? partition.entries.get(id) : undefined;
          if (entry?.presence !== undefined && entry.readAt >= oldest) {
            found.set(id, entry.presence);
            if (entry.presence === null) unknown++;
          } else absent.push(id);
        }
        // Only now, because a full cache removes entries for them.
        for (const id of absent) {
          missing.add(id);
          if (cacheable) pending.set(id, this.#reserve(partition, id));
        }
      }),
    );
    // Everything is cached, and already in order.
    if (count === 1 && missing.size + unknown === 0) return found as Map<string, PresenceData>;
    if (missing.size > 0) await this.#read(missing, pending, found);
    const results = new Map<string, PresenceData>();
    for (const id of userIds) {
      const presence = found.get(id);
      if (presence != null) results.set(id, presence);
    }
    return results;
  }

  /** Resolves with false if Redis refused to keep a list of changes. */
  async #applyChanges(partition: CachedPartition, at: number): Promise<boolean> {
    const { client, keys, clock } = this.#parts;
    const key = (keys[at] as PartitionKeys).changes;
    const known = partition.lastChange ?? '';
    const first = `${clock.random()}`;
    const renews = clock.now() - partition.renewedAt >= RENEW_INTERVAL;
    const args = [known, first, String(CHANGES_TTL), renews ? '1' : '0'];
    const call = { script: readChangesScript, keys: [key], args };
    const [reply] = await client.execute('getMultiplePresence', [call], { key });
    if (renews) partition.renewedAt = clock.now();
    const [complete, ...changes] = reply as unknown as [number, ...string[]];
    if (Number(complete) !== 1) partition.entries.clear();
    else for (const change of changes) this.#applyChange(partition, change);
    // Another call may have gone further in the meantime; then this one's changes come again.
    if (changes.length > 0) partition.lastChange = changes.at(-1);
    else if (Number(complete) !== 1) partition.lastChange = undefined;
    return partition.lastChange !== undefined;
  }

  /** See update-users.lua: a line that makes the change unique, then one user a line. */
  #applyChange({ entries }: CachedPartition, change: string): void {
    const users = change.split('\n');
    for (let at = 1; at < users.length; at++) entries.delete(unescapeId(users[at] as string));
  }

  /** A change that is applied while the record is being read removes the entry, and with it the right to fill it. */
  #reserve({ entries }: CachedPartition, id: string): Entry {
    const entry: Entry = { presence: undefined, readAt: this.#parts.clock.now() };
    entries.delete(id);
    entries.set(id, entry);
    const limit = Math.ceil(this.#settings.maxUsers / this.#partitions.length);
    if (entries.size > limit) entries.delete(entries.keys().next().value as string);
    return entry;
  }

  async #read(
    missing: ReadonlySet<string>,
    pending: ReadonlyMap<string, Entry>,
    found: Map<string, PresenceData | null>,
  ): Promise<void> {
    const count = this.#partitions.length;
    try {
      const { records, unreadable } = await this.#parts.reader.lookup(missing);
      for (const id of missing) {
        const presence = records.get(id) ?? null;
        found.set(id, presence);
        const reserved = pending.get(id);
        if (reserved === undefined || unreadable.has(id)) continue;
        const { entries } = this.#partitions[partitionOf(id, count)] as CachedPartition;
        if (entries.get(id) !== reserved) continue;
        entries.set(id, { presence: freeze(presence), readAt: reserved.readAt });
      }
    } finally {
      // Entries that are still reserved were not read.
      for (const [id, reserved] of pending) {
        const { entries } = this.#partitions[partitionOf(id, count)] as CachedPartition;
        if (entries.get(id) === reserved) entries.delete(id);
      }
    }
  }

  #clear(): void {
    for (const partition of this.#partitions) {
      partition.lastChange = undefined;
      partition.entries.clear();
    }
  }
}

/** Shared by all later lookups. */
function freeze(presence: PresenceData | null): PresenceData | null {
  if (presence === null) return null;
  for (const socket of presence.sockets) Object.freeze(socket);
  Object.freeze(presence.sockets);
  Object.freeze(presence.socketIds);
  for (let own = presence.ownStatus; own !== undefined; own = own.next) Object.freeze(own);
  return Object.freeze(presence);
}
