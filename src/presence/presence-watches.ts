import type { ErrorReporter } from '../internal/diagnostics.js';
import { MultiMap } from '../internal/multi-map.js';
import { DisposableStore, type Subscription } from '../pubsub/subscribe.js';
import { toRollcallError } from '../redis/replies.js';
import type { PresenceReader } from './presence-reader.js';
import { decodeChange } from './record.js';
import { type ChangeSource, subscribeToChanges } from './subscribe-to-changes.js';
import type { PresenceData, WatchedPresence } from './types.js';
import { type PresenceChangeHandler, UserWatchState } from './user-watch-state.js';

/** A watch of some users. */
export interface PresenceWatch {
  /** A copy of what is known now. Users who were never seen are missing. */
  current(): Map<string, WatchedPresence>;
  /** Known presence of one watched user. */
  get(userId: string): WatchedPresence | undefined;
  /** Watches more users; resolves when they are in `current()`. */
  add(userIds: Iterable<string>): Promise<void>;
  /** Stops watching some users. */
  remove(userIds: Iterable<string>): void;
  /** Ends the watch: the handler is not called again. Idempotent; works detached. */
  close(): Promise<void>;
  /** Calls `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface WatchRegistryOptions extends ChangeSource {
  readonly channels: readonly string[];
  readonly disposables: DisposableStore;
  readonly reporter: ErrorReporter;
  readonly reader: PresenceReader;
  /** In ms: a record missing for this long means that the user is offline. */
  readonly lease: number;
}

/** In ms, after a failed read. */
const RETRY_INTERVAL = 1_000;

/** For how long, in ms, gaps are collected into one read: a master of a Cluster that is lost ends many channels. */
const GAP_WINDOW = 50;

/**
 * All watches of a service share one subscription per partition; a change costs one map lookup. A watch subscribes
 * before it reads its snapshot, so no change is missed.
 */
export class WatchRegistry {
  readonly #options: WatchRegistryOptions;
  readonly #watches = new Set<UserWatchState>();
  readonly #watchesByUser = new MultiMap<string, UserWatchState>();
  #subscription: Promise<Subscription> | undefined;
  /** A gap has occurred, and is read after {@link GAP_WINDOW}. */
  #gap = false;

  constructor(options: WatchRegistryOptions) {
    this.#options = options;
  }

  /** Resolves when the snapshot is read. */
  async watch(userIds: Iterable<string>, handler: PresenceChangeHandler): Promise<PresenceWatch> {
    const { reporter, disposables } = this.#options;
    const watch = new UserWatchState(handler, reporter);
    this.#watches.add(watch);
    const close = async (): Promise<void> => {
      if (watch.closed) return;
      watch.closed = true;
      disposables.delete(close);
      this.#watches.delete(watch);
      this.#remove(watch, [...watch.userIds]);
      if (this.#watches.size === 0) await this.#unsubscribe();
    };
    disposables.add(close);
    try {
      await this.#subscribe();
      await this.#add(watch, userIds);
    } catch (error) {
      close().catch(() => {});
      throw error;
    }
    return {
      current: () => watch.current(),
      get: (userId) => watch.get(userId),
      add: (added) => this.#add(watch, added),
      remove: (removed) => this.#remove(watch, removed),
      close,
      [Symbol.asyncDispose]: close,
    };
  }

  /** A lease after a wipe, a missing record means offline. */
  onWipe(): void {
    this.#rereadAll(true);
  }

  /** A replaced master may have published changes that no other server has, with newer versions. */
  onNodeReturned(): void {
    this.#rereadAll(false);
  }

  async #add(watch: UserWatchState, userIds: Iterable<string>): Promise<void> {
    const added = new Set<string>();
    for (const userId of userIds) {
      if (!watch.startLoading(userId)) continue;
      added.add(userId);
      this.#watchesByUser.add(userId, watch);
    }
    if (added.size === 0) return;
    try {
      const { records } = await this.#options.reader.lookup(added);
      for (const data of records.values()) watch.applyRecord(data);
    } catch (error) {
      this.#remove(watch, added);
      throw error;
    } finally {
      for (const userId of added) watch.finishLoading(userId);
    }
  }

  #remove(watch: UserWatchState, userIds: Iterable<string>): void {
    for (const userId of userIds) {
      watch.remove(userId);
      this.#watchesByUser.delete(userId, watch);
    }
  }

  #subscribe(): Promise<Subscription> {
    if (this.#subscription === undefined) {
      // Ends with the last watch, not with the service's disposables; `close` ends all watches.
      const subscription = subscribeToChanges(this.#options, new DisposableStore(), this.#options.channels, {
        onChange: (encoded) => this.#onChange(encoded),
        onGap: () => this.#onGap(),
      });
      this.#subscription = subscription;
      subscription.catch(() => {
        if (this.#subscription === subscription) this.#subscription = undefined;
      });
    }
    return this.#subscription;
  }

  async #unsubscribe(): Promise<void> {
    const subscription = this.#subscription;
    this.#subscription = undefined;
    await (await subscription)?.unsubscribe();
  }

  #onChange(encoded: unknown): void {
    // Most changes are of users without a watch here: those are not decoded.
    const userId = (encoded as readonly [userId: string] | null)?.[0] ?? '';
    if (!this.#watchesByUser.has(userId)) return;
    const change = decodeChange(encoded);
    let isDoubtful = false;
    for (const watch of this.#watchesByUser.get(userId)) isDoubtful = watch.applyChange(change) || isDoubtful;
    if (isDoubtful) void this.#reread([change.userId], false);
  }

  #onGap(): void {
    if (this.#gap) return;
    this.#gap = true;
    const read = () => {
      this.#gap = false;
      this.#rereadAll(false);
    };
    this.#options.client.clock.after(GAP_WINDOW, read, { keepAlive: false });
  }

  #rereadAll(missingIsOffline: boolean): void {
    if (this.#watchesByUser.size > 0) void this.#reread([...this.#watchesByUser.keys()], missingIsOffline);
  }

  /**
   * Reads users after a gap, and reports differences. Two results are checked again after a lease, because by
   * then every owner has restored its sockets: a missing record (a wipe), and a record older than the known one
   * (lost in a failover, or never on this server). `disputed`: known versions that were newer than the record a
   * lease ago.
   */
  async #reread(
    userIds: readonly string[],
    missingIsOffline: boolean,
    disputed: ReadonlyMap<string, number> = new Map(),
  ): Promise<void> {
    const { client, reader, reporter, lease } = this.#options;
    const schedule = (delay: number, task: () => Promise<void>): void => {
      client.clock.after(delay, () => void task(), { keepAlive: false });
    };
    try {
      const { records, unreadable } = await reader.lookup(new Set(userIds));
      const missing: string[] = [];
      const older = new Map<string, number>();
      for (const userId of userIds) {
        // Not missing: the known state stays.
        if (unreadable.has(userId)) continue;
        const watches = this.#watchesByUser.get(userId);
        const record = records.get(userId);
        if (record !== undefined) {
          const known = applyToAll(watches, record, disputed.get(userId));
          if (known > 0) older.set(userId, known);
        } else if (missingIsOffline) for (const watch of watches) watch.applyMissing(userId);
        else if (watches.some((watch) => watch.isOnline(userId))) missing.push(userId);
      }
      if (missing.length + older.size > 0) {
        schedule(lease, () => this.#reread([...missing, ...older.keys()], true, older));
      }
    } catch (error) {
      if (client.closed) return;
      reporter.report(toRollcallError(error), { stage: 'watch' });
      // The watches may be wrong until a read succeeds.
      schedule(RETRY_INTERVAL, () => this.#reread(userIds, missingIsOffline, disputed));
    }
  }
}

/** Returns the newest known version, if newer than the record; otherwise 0. */
function applyToAll(
  watches: readonly UserWatchState[],
  record: PresenceData,
  disputed: number | undefined,
): number {
  return watches.reduce((newest, watch) => Math.max(newest, watch.applyRecord(record, disputed)), 0);
}
