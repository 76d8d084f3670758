import type { Timer } from '../internal/clock.js';
import { ClosedError } from '../internal/errors.js';
import { SharedWatch } from '../presence/shared-watch.js';
import type { WatchedPresence } from '../presence/types.js';
import type { PresencePayload } from './options.js';
import type { RecoverableState } from './recovery.js';
import { Retry } from './retry.js';
import type { TrackerSettings } from './settings.js';
import type { NamespaceBase, SocketLike } from './socket-io-types.js';
import type { TrackedSocket } from './tracked-socket.js';

const CHANGED_EVENT = 'presence:changed';
/** For sockets that have asked for lists. */
const CHANGES_EVENT = 'presence:changes';

/** Time in ms in which changes are collected: many users leave with a process. */
const BATCH_WINDOW = 50;
/** Users per event. */
const PAGE_SIZE = 250;

/** Watches of up to `maxWatched` users per socket. All sockets share one watch per user. */
export class SocketWatches<S extends SocketLike> {
  readonly #settings: TrackerSettings<S>;
  readonly #open: () => Promise<void>;
  readonly #watch: SharedWatch<TrackedSocket<S>>;
  /** Changed users by socket, in the current batch. */
  readonly #changed = new Map<TrackedSocket<S>, Set<string>>();
  #timer: Timer | undefined;

  /** `open` runs before a user is watched. */
  constructor(settings: TrackerSettings<S>, open: () => Promise<void>) {
    this.#settings = settings;
    this.#open = open;
    this.#watch = new SharedWatch(settings.presence, (watchers, presence) =>
      this.#onChange(watchers, presence),
    );
  }

  get size(): number {
    return this.#watch.size;
  }

  /** Resolves with their current presence. `requested`: by the client. */
  async add(
    tracked: TrackedSocket<S>,
    userIds: ReadonlySet<string>,
    requested = false,
  ): Promise<PresencePayload[]> {
    // Watches of a socket that disconnected while queued would never be removed.
    if (!tracked.connected) throw new ClosedError('the socket is disconnected');
    const added = tracked.reserve(userIds, this.#settings.maxWatched);
    if (requested) for (const userId of added) tracked.requested.add(userId);
    try {
      await this.#open();
      await this.#watch.add(tracked, added);
    } catch (error) {
      this.remove(tracked, added);
      throw error;
    }
    if (!tracked.connected) throw new ClosedError('the socket is disconnected');
    return [...userIds].map((userId) =>
      // It may be revoked in the meantime.
      tracked.watching.has(userId) && this.#conceals(tracked, userId) === undefined
        ? toPayload(userId, this.#watch.get(userId))
        : toPayload(userId, undefined),
    );
  }

  remove(tracked: TrackedSocket<S>, userIds: Iterable<string>): void {
    const dropped = [...userIds];
    for (const userId of dropped) {
      tracked.watching.delete(userId);
      tracked.requested.delete(userId);
    }
    this.#watch.remove(tracked, dropped);
    const changed = this.#changed.get(tracked);
    for (const userId of dropped) {
      changed?.delete(userId);
      tracked.concealed.delete(userId);
    }
  }

  /** Ends watches that the socket may no longer have, and tells its client. Others are not affected. */
  revoke(tracked: TrackedSocket<S>, userIds: readonly string[]): void {
    tracked.revocations++;
    const { watching, restoring } = tracked;
    const ended = userIds.filter((userId) => watching.has(userId) || restoring?.has(userId) === true);
    const users = ended.map(
      (userId) => ({ ...concealedPayload(userId, this.#watch.get(userId)), code: 'FORBIDDEN' }) as const,
    );
    this.remove(tracked, ended);
    for (const userId of ended) restoring?.delete(userId);
    this.#emitTo(tracked, users);
  }

  #emitTo(tracked: TrackedSocket<S>, users: readonly PresencePayload[]): void {
    if (tracked.batch) for (const page of toPages(users)) emit([tracked], CHANGES_EVENT, page);
    else for (const user of users) emit([tracked], CHANGED_EVENT, user);
  }

  /**
   * For a recovered socket: sends all states, because changes may be missed. The client keeps the greatest
   * `version`. `refused` resolves with those that the client has requested and may no longer watch.
   */
  restore(
    tracked: TrackedSocket<S>,
    { watching, requested }: Pick<RecoverableState, 'watching' | 'requested'>,
    refused: () => Promise<string[]>,
  ): void {
    const restoring = new Set(watching.slice(0, this.#settings.maxWatched));
    tracked.restoring = restoring;
    for (const userId of requested) if (restoring.has(userId)) tracked.requested.add(userId);
    const { removeListeners } = tracked;
    // A recovered client does not repeat `presence:watch`.
    const retry = new Retry(this.#settings, async () => {
      const users = await tracked.runExclusive(async () => {
        this.revoke(tracked, await refused());
        return this.add(tracked, restoring);
      });
      tracked.restoring = undefined;
      this.#emitTo(
        tracked,
        users.filter(({ version }) => version > 0),
      );
    });
    tracked.removeListeners = () => {
      retry.stop();
      removeListeners();
    };
    retry.start();
  }

  close(): Promise<void> {
    this.#timer?.cancel();
    this.#changed.clear();
    return this.#watch.close();
  }

  #onChange(watchers: readonly TrackedSocket<S>[], presence: WatchedPresence): void {
    const single: TrackedSocket<S>[] = [];
    const concealing: TrackedSocket<S>[] = [];
    for (const tracked of watchers) {
      if (!tracked.batch) {
        const concealed = this.#conceals(tracked, presence.userId);
        if (concealed === undefined) single.push(tracked);
        else if (concealed === 'now') concealing.push(tracked);
        continue;
      }
      const changed = this.#changed.get(tracked);
      if (changed === undefined) this.#changed.set(tracked, new Set([presence.userId]));
      else changed.add(presence.userId);
    }
    if (single.length > 0) emit(single, CHANGED_EVENT, toPayload(presence.userId, presence));
    if (concealing.length > 0) emit(concealing, CHANGED_EVENT, concealedPayload(presence.userId, presence));
    if (this.#changed.size > 0) {
      this.#timer ??= this.#settings.clock.after(BATCH_WINDOW, () => this.#emitBatch(), {
        keepAlive: false,
      });
    }
  }

  /** The state at the time of sending. Sockets with the same changes share the events. */
  #emitBatch(): void {
    this.#timer = undefined;
    const groups = new Map<string, { userIds: ReadonlySet<string>; watchers: TrackedSocket<S>[] }>();
    for (const [tracked, userIds] of this.#changed) {
      if (tracked.filter !== undefined && this.#emitFiltered(tracked, userIds)) continue;
      const key = JSON.stringify([...userIds]);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { userIds, watchers: [tracked] });
      else group.watchers.push(tracked);
    }
    this.#changed.clear();
    for (const { userIds, watchers } of groups.values()) {
      const users = [...userIds].map((userId) => toPayload(userId, this.#watch.get(userId)));
      for (const page of toPages(users)) emit(watchers, CHANGES_EVENT, page);
    }
  }

  /** False if the socket may see all of them. One who has become hidden is shown as never seen, once. */
  #emitFiltered(tracked: TrackedSocket<S>, userIds: ReadonlySet<string>): boolean {
    const users: PresencePayload[] = [];
    let hides = false;
    for (const userId of userIds) {
      const concealed = this.#conceals(tracked, userId);
      if (concealed !== undefined) hides = true;
      if (concealed === 'already') continue;
      const presence = this.#watch.get(userId);
      users.push(concealed === 'now' ? concealedPayload(userId, presence) : toPayload(userId, presence));
    }
    if (hides) for (const page of toPages(users)) emit([tracked], CHANGES_EVENT, page);
    return hides;
  }

  /** `undefined`: the socket may see the user. `already`: their last payload has shown nothing. */
  #conceals({ filter, concealed }: TrackedSocket<S>, userId: string): 'now' | 'already' | undefined {
    if (filter === undefined) return undefined;
    if (filter.sees(userId)) {
      concealed.delete(userId);
      return undefined;
    }
    if (concealed.has(userId)) return 'already';
    concealed.add(userId);
    return 'now';
  }
}

/** Has the version of the change, because clients keep the payload with the greatest one. */
function concealedPayload(userId: string, presence: WatchedPresence | undefined): PresencePayload {
  return { ...toPayload(userId, undefined), version: presence?.version ?? 0 };
}

/** Encoded once per namespace. */
function emit<S extends SocketLike>(
  watchers: readonly TrackedSocket<S>[],
  event: string,
  payload: PresencePayload | readonly PresencePayload[],
): void {
  const byNamespace = new Map<NamespaceBase, string[]>();
  for (const { socket, connected } of watchers) {
    if (!connected) continue;
    const ids = byNamespace.get(socket.nsp);
    if (ids === undefined) byNamespace.set(socket.nsp, [socket.id]);
    else ids.push(socket.id);
  }
  // Every process has its own watch.
  for (const [namespace, ids] of byNamespace) namespace.local.to(ids).emit(event, payload);
}

function toPages(users: readonly PresencePayload[]): PresencePayload[][] {
  const pages: PresencePayload[][] = [];
  for (let at = 0; at < users.length; at += PAGE_SIZE) pages.push(users.slice(at, at + PAGE_SIZE));
  return pages;
}

function toPayload(userId: string, presence: WatchedPresence | undefined): PresencePayload {
  if (presence === undefined) return { userId, status: 'offline', lastSeen: 0, version: 0 };
  const { status, lastSeen, version } = presence;
  return { userId, status, lastSeen: lastSeen.getTime(), version };
}
