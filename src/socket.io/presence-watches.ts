import { ClosedError } from '../internal/errors.js';
import { SharedWatch } from '../presence/shared-watch.js';
import type { WatchedPresence } from '../presence/types.js';
import type { PresencePayload } from './options.js';
import { Retry } from './retry.js';
import type { TrackerSettings } from './settings.js';
import type { NamespaceBase, SocketLike } from './socket-io-types.js';
import type { TrackedSocket } from './tracked-socket.js';

const CHANGED_EVENT = 'presence:changed';

/** Watches of up to `maxWatched` users per socket. All sockets share one watch per user. */
export class SocketWatches<S extends SocketLike> {
  readonly #settings: TrackerSettings<S>;
  readonly #watch: SharedWatch<TrackedSocket<S>>;

  constructor(settings: TrackerSettings<S>) {
    this.#settings = settings;
    this.#watch = new SharedWatch(settings.presence, emitChange);
  }

  get size(): number {
    return this.#watch.size;
  }

  /** Resolves with their current presence. */
  async add(tracked: TrackedSocket<S>, userIds: ReadonlySet<string>): Promise<PresencePayload[]> {
    // Watches of a socket that disconnected while queued would never be removed.
    if (!tracked.connected) throw new ClosedError('the socket is disconnected');
    const added = tracked.reserve(userIds, this.#settings.maxWatched);
    try {
      await this.#watch.add(tracked, added);
    } catch (error) {
      this.remove(tracked, added);
      throw error;
    }
    if (!tracked.connected) throw new ClosedError('the socket is disconnected');
    return [...userIds].map((userId) => toPayload(userId, this.#watch.get(userId)));
  }

  remove(tracked: TrackedSocket<S>, userIds: Iterable<string>): void {
    const dropped = [...userIds];
    for (const userId of dropped) tracked.watching.delete(userId);
    this.#watch.remove(tracked, dropped);
  }

  /**
   * For a recovered socket: sends all states, because changes may be missed. The client keeps the greatest
   * `version`.
   */
  restore(tracked: TrackedSocket<S>, userIds: readonly string[]): void {
    const restoring = new Set(userIds.slice(0, this.#settings.maxWatched));
    tracked.restoring = restoring;
    const { removeListeners } = tracked;
    // A recovered client does not repeat `presence:watch`.
    const retry = new Retry(this.#settings, async () => {
      const users = await tracked.runExclusive(() => this.add(tracked, restoring));
      tracked.restoring = undefined;
      const target = tracked.socket.nsp.local.to(tracked.id);
      for (const user of users) if (user.version > 0) target.emit(CHANGED_EVENT, user);
    });
    tracked.removeListeners = () => {
      retry.stop();
      removeListeners();
    };
    retry.start();
  }

  close(): Promise<void> {
    return this.#watch.close();
  }
}

/** Encoded once per namespace. */
function emitChange<S extends SocketLike>(
  watchers: readonly TrackedSocket<S>[],
  presence: WatchedPresence,
): void {
  const payload = toPayload(presence.userId, presence);
  const byNamespace = new Map<NamespaceBase, string[]>();
  for (const { socket, connected } of watchers) {
    if (!connected) continue;
    const ids = byNamespace.get(socket.nsp);
    if (ids === undefined) byNamespace.set(socket.nsp, [socket.id]);
    else ids.push(socket.id);
  }
  // Every process has its own watch.
  for (const [namespace, ids] of byNamespace) namespace.local.to(ids).emit(CHANGED_EVENT, payload);
}

function toPayload(userId: string, presence: WatchedPresence | undefined): PresencePayload {
  if (presence === undefined) return { userId, status: 'offline', lastSeen: 0, version: 0 };
  const { status, lastSeen, version } = presence;
  return { userId, status, lastSeen: lastSeen.getTime(), version };
}
