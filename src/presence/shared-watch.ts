import { runWithoutAsyncContext } from '../internal/async-context.js';
import { ClosedError } from '../internal/errors.js';
import type { PresenceService } from './presence-service.js';
import type { PresenceWatch } from './presence-watches.js';
import type { WatchedPresence } from './types.js';

/** A user with at least one watcher, or whose snapshot is being read. */
interface SharedUser<W> {
  readonly watchers: Set<W>;
  /** Resolves when the first snapshot is read; `undefined` afterwards. */
  ready: Promise<void> | undefined;
}

/** Users whose snapshots are read together. */
interface SnapshotBatch {
  readonly userIds: Set<string>;
  readonly done: Promise<void>;
}

/**
 * One watch shared by many watchers (connections, for example), each of which watches some users. Counts
 * references, so that the presence service watches each user once. New users are read in batches: those that are
 * added during a read form the next batch. What is known of a user is in the watch itself.
 */
export class SharedWatch<W> {
  readonly #presence: Pick<PresenceService, 'watch'>;
  readonly #onChange: (watchers: readonly W[], news: WatchedPresence) => void;
  readonly #users = new Map<string, SharedUser<W>>();
  #opening: Promise<PresenceWatch> | undefined;
  #watch: PresenceWatch | undefined;
  #nextBatch: SnapshotBatch | undefined;
  #currentRead: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(
    presence: Pick<PresenceService, 'watch'>,
    onChange: (watchers: readonly W[], news: WatchedPresence) => void,
  ) {
    this.#presence = presence;
    this.#onChange = onChange;
  }

  /** How many users are watched. */
  get size(): number {
    return this.#users.size;
  }

  /** Resolves when all of `userIds` are known. If it rejects, `remove` must still be called. */
  async add(watcher: W, userIds: Iterable<string>): Promise<void> {
    const pending = new Set<Promise<void>>();
    for (const userId of userIds) {
      let user = this.#users.get(userId);
      if (user === undefined) {
        user = { watchers: new Set(), ready: this.#load(userId) };
        this.#users.set(userId, user);
      }
      user.watchers.add(watcher);
      if (user.ready !== undefined) pending.add(user.ready);
    }
    await Promise.all(pending);
  }

  /** Stops watching `userIds` for this watcher. */
  remove(watcher: W, userIds: Iterable<string>): void {
    const unwatched: string[] = [];
    for (const userId of userIds) {
      const user = this.#users.get(userId);
      if (user === undefined || !user.watchers.delete(watcher)) continue;
      // While a snapshot is being read, keep the entry; the read removes it on completion.
      if (user.watchers.size > 0 || user.ready !== undefined) continue;
      this.#users.delete(userId);
      unwatched.push(userId);
    }
    if (unwatched.length > 0) this.#watch?.remove(unwatched);
  }

  /** True while `watcher` watches `userId`. */
  has(watcher: W, userId: string): boolean {
    return this.#users.get(userId)?.watchers.has(watcher) === true;
  }

  /** What is known of a watched user; `undefined` for a user who was never seen. */
  get(userId: string): WatchedPresence | undefined {
    return this.#watch?.get(userId);
  }

  /** Ends the watch: `onChange` is not called again. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#users.clear();
    await (await this.#opening?.catch(() => undefined))?.close();
  }

  #load(userId: string): Promise<void> {
    this.#nextBatch ??= this.#createBatch();
    this.#nextBatch.userIds.add(userId);
    return this.#nextBatch.done;
  }

  #createBatch(): SnapshotBatch {
    const userIds = new Set<string>();
    const done = this.#currentRead.then(() => {
      this.#nextBatch = undefined;
      return this.#read(userIds);
    });
    this.#currentRead = done.catch(() => {});
    return { userIds, done };
  }

  async #read(userIds: ReadonlySet<string>): Promise<void> {
    try {
      await (await this.#openWatch()).add(userIds);
    } catch (error) {
      for (const userId of userIds) this.#users.delete(userId);
      this.#watch?.remove(userIds);
      throw error;
    }
    const unwatched: string[] = [];
    for (const userId of userIds) {
      const user = this.#users.get(userId);
      if (user === undefined) continue;
      user.ready = undefined;
      if (user.watchers.size > 0) continue;
      this.#users.delete(userId);
      unwatched.push(userId);
    }
    if (unwatched.length > 0) this.#watch?.remove(unwatched);
  }

  #openWatch(): Promise<PresenceWatch> {
    if (this.#closed) return Promise.reject(new ClosedError('the watch is closed'));
    // Serves all watchers, so it must not stay in the async context of the first.
    this.#opening ??= runWithoutAsyncContext(() => this.#open());
    return this.#opening;
  }

  async #open(): Promise<PresenceWatch> {
    try {
      this.#watch = await this.#presence.watch([], ({ previous: _, ...news }) => this.#dispatch(news));
      return this.#watch;
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  #dispatch(news: WatchedPresence): void {
    const user = this.#users.get(news.userId);
    if (user !== undefined && !this.#closed) this.#onChange([...user.watchers], news);
  }
}
