import type { ErrorReporter } from '../internal/diagnostics.js';
import type { PresenceChange, PresenceData, WatchedPresence } from './types.js';

/** Receives a change of a watched user; `previous` is the status that the watch knew. */
export type PresenceChangeHandler = (change: PresenceChange) => unknown;

/**
 * Known users of one watch. The only place that merges snapshots and published changes, by version: the second
 * of two equal ones is not reported.
 */
export class UserWatchState {
  closed = false;
  /** `null`: never seen. */
  readonly #users = new Map<string, WatchedPresence | null>();
  /** Their first snapshot is being read; earlier changes become part of it. */
  readonly #loading = new Set<string>();
  readonly #handler: PresenceChangeHandler;
  readonly #reporter: ErrorReporter;

  constructor(handler: PresenceChangeHandler, reporter: ErrorReporter) {
    this.#handler = handler;
    this.#reporter = reporter;
  }

  get userIds(): IterableIterator<string> {
    return this.#users.keys();
  }

  /** `finishLoading` must follow. False: already watched. */
  startLoading(userId: string): boolean {
    if (this.closed || this.#users.has(userId)) return false;
    this.#users.set(userId, null);
    this.#loading.add(userId);
    return true;
  }

  finishLoading(userId: string): void {
    this.#loading.delete(userId);
  }

  remove(userId: string): void {
    this.#users.delete(userId);
  }

  get(userId: string): WatchedPresence | undefined {
    const known = this.#users.get(userId);
    return known === null || known === undefined ? undefined : { ...known };
  }

  /** Without users who were never seen. */
  current(): Map<string, WatchedPresence> {
    const current = new Map<string, WatchedPresence>();
    for (const [userId, known] of this.#users) if (known !== null) current.set(userId, { ...known });
    return current;
  }

  isOnline(userId: string): boolean {
    const known = this.#users.get(userId);
    return known !== undefined && known !== null && known.status !== 'offline';
  }

  /**
   * Returns true if a read must show which state is newer: the known one has a hidden `lastSeen`, so its version may be later
   * than those after a loss of data.
   */
  applyChange({ previous: _, ...news }: PresenceChange): boolean {
    if (this.closed) return false;
    const known = this.#users.get(news.userId);
    const isDoubtful = known != null && known.version > news.version && known.lastSeen.getTime() === 0;
    this.#merge(news, 0);
    return isDoubtful;
  }

  /**
   * An older record replaces the known state only if that is no newer than `disputed`: the version that the
   * record did not reach within a lease.
   *
   * @returns the known version if it is newer than the record, otherwise 0.
   */
  applyRecord({ userId, status, lastSeen, version, sockets }: PresenceData, disputed = 0): number {
    this.#merge({ userId, status, lastSeen, version, sockets: sockets.length }, disputed);
    const known = this.#users.get(userId)?.version ?? 0;
    return known > version ? known : 0;
  }

  /** The record is gone: the user went offline without a published change. */
  applyMissing(userId: string): void {
    const known = this.#users.get(userId);
    if (known === undefined || known === null || known.status === 'offline') return;
    this.#merge({ ...known, status: 'offline', sockets: 0, version: known.version + 1 }, 0);
  }

  #merge(news: WatchedPresence, disputed: number): void {
    const before = this.#users.get(news.userId);
    if (before === undefined) return;
    if (before !== null && before.version >= news.version && before.version > disputed) return;
    this.#users.set(news.userId, news);
    const previous = before?.status ?? 'offline';
    if (previous === news.status || this.#loading.has(news.userId)) return;
    this.#reporter.runHandler(() => this.#handler({ ...news, previous }), {});
  }
}
