import { ClosedError } from '../internal/errors.js';
import type { PresenceService } from './presence-service.js';
import type { PresenceWatch } from './presence-watches.js';
import type { WatchedPresence } from './types.js';

/** A user watched by at least one of those who share the watch, or about to be. */
interface SharedUser<W> {
  readonly watchers: Set<W>;
  /** Until the first snapshot is there. */
  ready: Promise<void> | undefined;
}

/** Users whose snapshots are read together. */
interface SnapshotBatch {
  readonly userIds: Set<string>;
  readonly done: Promise<void>;
}

/**
 * One watch for many who watch some users each: connections, say. The presence service knows each user
 * once. Users who are new to it are read together, those who come meanwhile in the next batch.
 */
export class SharedWatch<W> {
  readonly #presence: Pick<PresenceService, 'watch'>;
  readonly #notify: (watchers: readonly W[], news: WatchedPresence) => void;
  readonly #watched = new Map<string, SharedUser<W>>();
  #opening: Promise<PresenceWatch> | undefined;
  #watch: PresenceWatch | undefined;
  #next: SnapshotBatch | undefined;
  #running: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(
    presence: Pick<PresenceService, 'watch'>,
    tell: (watchers: readonly W[], news: WatchedPresence) => void,
  ) {
    this.#presence = presence;
    this.#notify = tell;
  }

  /** How many users are watched. */
  get size(): number {
    return this.#watched.size;
  }

  /** Resolves when all of `userIds` are known. When it rejects, `remove` is still to be called. */
  async add(watcher: W, userIds: Iterable<string>): Promise<void> {
    const waits = new Set<Promise<void>>();
    for (const userId of userIds) {
      let watched = this.#watched.get(userId);
      if (watched === undefined) {
        watched = { watchers: new Set(), ready: this.#load(userId) };
        this.#watched.set(userId, watched);
      }
      watched.watchers.add(watcher);
      if (watched.ready !== undefined) waits.add(watched.ready);
    }
    await Promise.all(waits);
  }

  /** No more of `userIds` for this one. */
  remove(watcher: W, userIds: Iterable<string>): void {
    const deserted: string[] = [];
    for (const userId of userIds) {
      const watched = this.#watched.get(userId);
      if (watched === undefined || !watched.watchers.delete(watcher)) continue;
      // One whose snapshot is being read is let go when that is there.
      if (watched.watchers.size > 0 || watched.ready !== undefined) continue;
      this.#watched.delete(userId);
      deserted.push(userId);
    }
    if (deserted.length > 0) this.#watch?.remove(deserted);
  }

  /** True while `watcher` watches `userId`. */
  has(watcher: W, userId: string): boolean {
    return this.#watched.get(userId)?.watchers.has(watcher) === true;
  }

  /** How a watched user is; `undefined` for somebody nobody has ever seen. */
  get(userId: string): WatchedPresence | undefined {
    return this.#watch?.get(userId);
  }

  /** Ends the watch; nobody is told anything any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#watched.clear();
    await (await this.#opening?.catch(() => undefined))?.close();
  }

  #load(userId: string): Promise<void> {
    this.#next ??= this.#batch();
    this.#next.userIds.add(userId);
    return this.#next.done;
  }

  #batch(): SnapshotBatch {
    const userIds = new Set<string>();
    const done = this.#running.then(() => {
      this.#next = undefined;
      return this.#read(userIds);
    });
    this.#running = done.catch(() => {});
    return { userIds, done };
  }

  async #read(userIds: ReadonlySet<string>): Promise<void> {
    try {
      await (await this.#opened()).add(userIds);
    } catch (error) {
      for (const userId of userIds) this.#watched.delete(userId);
      this.#watch?.remove(userIds);
      throw error;
    }
    const deserted: string[] = [];
    for (const userId of userIds) {
      const watched = this.#watched.get(userId);
      if (watched === undefined) continue;
      watched.ready = undefined;
      if (watched.watchers.size > 0) continue;
      this.#watched.delete(userId);
      deserted.push(userId);
    }
    if (deserted.length > 0) this.#watch?.remove(deserted);
  }

  #opened(): Promise<PresenceWatch> {
    if (this.#closed) return Promise.reject(new ClosedError('the watch is closed'));
    this.#opening ??= this.#open();
    return this.#opening;
  }

  async #open(): Promise<PresenceWatch> {
    try {
      this.#watch = await this.#presence.watch([], ({ previous: _, ...news }) => this.#changed(news));
      return this.#watch;
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  #changed(news: WatchedPresence): void {
    const watched = this.#watched.get(news.userId);
    if (watched !== undefined && !this.#closed) this.#notify([...watched.watchers], news);
  }
}
