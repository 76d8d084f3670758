import { runWithoutAsyncContext } from '../internal/async-context.js';
import { ClosedError } from '../internal/errors.js';
import type { PresenceService } from './presence-service.js';
import type { PresenceWatch } from './presence-watches.js';
import type { WatchedPresence } from './types.js';

/** With at least one watcher, or a snapshot in progress. */
interface SharedUser<W> {
  readonly watchers: Set<W>;
  /** The first snapshot; `undefined` once read. */
  ready: Promise<void> | undefined;
}

/** Users whose snapshots are read together. */
interface SnapshotBatch {
  readonly userIds: Set<string>;
  readonly done: Promise<void>;
}

/**
 * One watch for many watchers (connections, for example), each with its own users. Each user is watched once. Users
 * added during a read form the next batch. The watch itself holds the known presence.
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

  get size(): number {
    return this.#users.size;
  }

  /** Resolves when all are known. After a rejection `remove` must still be called. */
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

  remove(watcher: W, userIds: Iterable<string>): void {
    const unwatched: string[] = [];
    for (const userId of userIds) {
      const user = this.#users.get(userId);
      if (user === undefined || !user.watchers.delete(watcher)) continue;
      // The read removes the entry on completion.
      if (user.watchers.size > 0 || user.ready !== undefined) continue;
      this.#users.delete(userId);
      unwatched.push(userId);
    }
    if (unwatched.length > 0) this.#watch?.remove(unwatched);
  }

  has(watcher: W, userId: string): boolean {
    return this.#users.get(userId)?.watchers.has(watcher) === true;
  }

  /** `undefined` for a user who was never seen. */
  get(userId: string): WatchedPresence | undefined {
    return this.#watch?.get(userId);
  }

  /** Then `onChange` is not called again. */
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
