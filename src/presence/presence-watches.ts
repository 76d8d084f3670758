import { jsonCodec } from '../internal/codec.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { HandlerSubscription } from '../pubsub/handler-subscription.js';
import type { ServiceContext } from '../pubsub/service-context.js';
import { DisposableStore, type Subscription, subscribe } from '../pubsub/subscribe.js';
import type { SubscriptionManager } from '../pubsub/subscription-manager.js';
import type { ClientHandle } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import type { PartitionLayout } from './partition-layout.js';
import type { PresenceReader } from './presence-reader.js';
import { decodeChange } from './record.js';
import type { PresenceChange, PresenceData, WatchedPresence } from './types.js';

/** Some users, watched. */
export interface PresenceWatch {
  /** What is known now of the watched users, without those nobody has ever seen. A copy. */
  current(): Map<string, WatchedPresence>;
  /** The same for one of them. */
  get(userId: string): WatchedPresence | undefined;
  /** Watches more users; resolves when they are in `current()`. */
  add(userIds: Iterable<string>): Promise<void>;
  /** Watches some users no more. */
  remove(userIds: Iterable<string>): void;
  /** Ends the watch: the handler is not called again. Idempotent, works detached. */
  close(): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Gets a change of a watched user; `previous` is what the watch knew before. */
export type PresenceChangeHandler = (change: PresenceChange) => unknown;

/** What {@link WatchRegistry} needs. */
export interface WatchRegistryOptions {
  readonly link: ClientHandle;
  readonly hub: SubscriptionManager;
  readonly channels: readonly string[];
  readonly layout: PartitionLayout;
  readonly leaving: DisposableStore;
  readonly audience: ServiceContext;
  readonly reporter: ErrorReporter;
  readonly reader: PresenceReader;
  /** After how many ms a record that vanished is taken for a departure. */
  readonly lease: number;
}

/** One watch: what it knows, merged from snapshots and events by version. */
class WatchState {
  readonly known = new Map<string, WatchedPresence | null>();
  /** Users whose snapshot is still being read; what is heard of them belongs into it. */
  readonly pending = new Set<string>();
  closed = false;

  constructor(
    readonly handler: PresenceChangeHandler,
    readonly reporter: ErrorReporter,
  ) {}

  /**
   * Takes in what was heard or read of a user; tells the handler if it is news. What is older than what
   * is known is none, unless that is no newer than the version `doubted`.
   */
  merge(news: WatchedPresence, doubted = 0): void {
    const before = this.known.get(news.userId);
    if (before === undefined) return;
    if (before !== null && before.version >= news.version && before.version > doubted) return;
    this.known.set(news.userId, news);
    const previous = before?.status ?? 'offline';
    if (previous === news.status || this.pending.has(news.userId)) return;
    this.reporter.runHandler(() => this.handler({ ...news, previous }), {});
  }
}

/**
 * All watches of a service: one subscription per partition, and one look into a map per event,
 * however many watches and users there are.
 *
 * A watch subscribes first and takes its snapshot second, so nothing falls between the two; what
 * comes twice is recognised by its version. After any gap it takes another one.
 */
export class WatchRegistry {
  readonly #options: WatchRegistryOptions;
  readonly #watchers = new Map<string, Set<WatchState>>();
  readonly #all = new Set<WatchState>();
  #subscription: Promise<Subscription> | undefined;

  constructor(options: WatchRegistryOptions) {
    this.#options = options;
  }

  /** How many users are watched. */
  get size(): number {
    return this.#watchers.size;
  }

  /** Watches `userIds`; resolves with the snapshot taken. */
  async watch(userIds: Iterable<string>, handler: PresenceChangeHandler): Promise<PresenceWatch> {
    const { reporter, leaving } = this.#options;
    const watch = new WatchState(handler, reporter);
    this.#all.add(watch);
    const close = async (): Promise<void> => {
      if (watch.closed) return;
      watch.closed = true;
      leaving.delete(close);
      this.#all.delete(watch);
      this.#drop(watch, [...watch.known.keys()]);
      if (this.#all.size === 0) await this.#unsubscribe();
    };
    leaving.add(close);
    try {
      await this.#subscribed();
      await this.#add(watch, userIds);
    } catch (error) {
      close().catch(() => {});
      throw error;
    }
    return {
      current: () => snapshotOf(watch),
      get: (userId) => {
        const known = watch.known.get(userId);
        return known === null || known === undefined ? undefined : { ...known };
      },
      add: (more) => this.#add(watch, more),
      remove: (some) => this.#drop(watch, some),
      close,
      [Symbol.asyncDispose]: close,
    };
  }

  /** Reads everything again: who is missing now has gone, and no event told so. */
  onWipe(): void {
    this.#rereadAll(true);
  }

  /** Reads everything again: what a node announced that had been replaced is not so, however new it looks. */
  onNodeReturned(): void {
    this.#rereadAll(false);
  }

  async #add(watch: WatchState, userIds: Iterable<string>): Promise<void> {
    const added = new Set<string>();
    for (const userId of userIds) {
      if (watch.closed || watch.known.has(userId)) continue;
      added.add(userId);
      watch.known.set(userId, null);
      watch.pending.add(userId);
      const watchers = this.#watchers.get(userId);
      if (watchers === undefined) this.#watchers.set(userId, new Set([watch]));
      else watchers.add(watch);
    }
    if (added.size === 0) return;
    try {
      for (const data of (await this.#options.reader.lookup(added)).values())
        watch.merge(toWatchedPresence(data));
    } catch (error) {
      this.#drop(watch, added);
      throw error;
    } finally {
      for (const userId of added) watch.pending.delete(userId);
    }
  }

  #drop(watch: WatchState, userIds: Iterable<string>): void {
    for (const userId of userIds) {
      watch.known.delete(userId);
      const watchers = this.#watchers.get(userId);
      watchers?.delete(watch);
      if (watchers?.size === 0) this.#watchers.delete(userId);
    }
  }

  #subscribed(): Promise<Subscription> {
    if (this.#subscription === undefined) {
      const { link, hub, channels, layout, audience } = this.#options;
      const member = new HandlerSubscription(
        audience,
        (batch) => this.#dispatch(batch as readonly unknown[]),
        {
          codec: jsonCodec,
          onDiscontinuity: () => this.#rereadAll(false),
        },
      );
      const subscription = subscribe({
        link,
        hub,
        leaving: new DisposableStore(),
        kind: layout.channels,
        names: channels,
        member,
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

  #dispatch(batch: readonly unknown[]): void {
    for (const packed of batch) {
      const watchers = this.#watchers.get((packed as readonly [string])[0]);
      if (watchers === undefined) continue;
      const change = decodeChange(packed);
      const { previous: _, ...news } = change;
      for (const watch of [...watchers]) if (!watch.closed) watch.merge(news);
    }
  }

  #rereadAll(missingHaveGone: boolean): void {
    if (this.#watchers.size > 0) void this.#reread([...this.#watchers.keys()], missingHaveGone);
  }

  /**
   * Reads some users again after a gap, and tells the differences. A record that is missing is no
   * departure yet: a wiped Redis is restored within a lease. What is missing then has gone. The same goes
   * for a record older than what is known: a failover lost the newer one, or only a replaced master ever had
   * it. `doubted` are the users of whom that was so a lease ago, and what was known of them.
   */
  async #reread(
    userIds: readonly string[],
    missingHaveGone: boolean,
    doubted: ReadonlyMap<string, number> = new Map(),
  ): Promise<void> {
    const { link, reader, reporter, lease } = this.#options;
    try {
      const found = await reader.lookup(new Set(userIds));
      const missing: string[] = [];
      const older = new Map<string, number>();
      for (const userId of userIds) {
        const data = found.get(userId);
        const watchers = [...(this.#watchers.get(userId) ?? [])];
        if (data !== undefined) {
          for (const watch of watchers) {
            watch.merge(toWatchedPresence(data), doubted.get(userId));
            const version = watch.known.get(userId)?.version ?? 0;
            if (version > data.version) older.set(userId, Math.max(version, older.get(userId) ?? 0));
          }
        } else if (missingHaveGone) for (const watch of watchers) this.#departed(watch, userId);
        else if (watchers.some((watch) => isOnline(watch, userId))) missing.push(userId);
      }
      if (missing.length + older.size > 0) {
        const again = [...missing, ...older.keys()];
        link.clock.after(lease, () => void this.#reread(again, true, older), { keepAlive: false });
      }
    } catch (error) {
      if (link.closed) return;
      reporter.report(toRollcallError(error), { stage: 'watch' });
      // Until it has succeeded the watch may be wrong, so it goes on trying.
      link.clock.after(1_000, () => void this.#reread(userIds, missingHaveGone, doubted), {
        keepAlive: false,
      });
    }
  }

  #departed(watch: WatchState, userId: string): void {
    const known = watch.known.get(userId);
    if (known === undefined || known === null || known.status === 'offline') return;
    watch.merge({ ...known, status: 'offline', sockets: 0, version: known.version + 1 });
  }
}

function isOnline(watch: WatchState, userId: string): boolean {
  const known = watch.known.get(userId);
  return known !== undefined && known !== null && known.status !== 'offline';
}

function toWatchedPresence({ userId, status, lastSeen, version, sockets }: PresenceData): WatchedPresence {
  return { userId, status, lastSeen, version, sockets: sockets.length };
}

function snapshotOf(watch: WatchState): Map<string, WatchedPresence> {
  const current = new Map<string, WatchedPresence>();
  for (const [userId, known] of watch.known) if (known !== null) current.set(userId, { ...known });
  return current;
}
