import { ClosedError } from '../internal/errors.js';
import { SharedWatch } from '../presence/shared-watch.js';
import type { WatchedPresence } from '../presence/types.js';
import type { PresencePayload } from './options.js';
import { Retry } from './retry.js';
import type { TrackerSettings } from './settings.js';
import type { NamespaceBase, SocketLike } from './socket-io-types.js';
import type { TrackedSocket } from './tracked-socket.js';

/** The event that tells of a change of a watched user. */
const CHANGED_EVENT = 'presence:changed';

/** What each socket watches, within its limit, and how it is told. */
export class SocketWatches<S extends SocketLike> {
  readonly #settings: TrackerSettings<S>;
  readonly #watch: SharedWatch<TrackedSocket<S>>;

  constructor(settings: TrackerSettings<S>) {
    this.#settings = settings;
    this.#watch = new SharedWatch(settings.presence, emitChange);
  }

  /** How many users are watched. */
  get size(): number {
    return this.#watch.size;
  }

  /** Tells the socket of `userIds` too; resolves with how they are. */
  async add(tracked: TrackedSocket<S>, userIds: ReadonlySet<string>): Promise<PresencePayload[]> {
    // Gone while it waited for its turn: nobody would take it out again.
    if (!tracked.connected) throw new ClosedError('the socket is disconnected');
    const added = tracked.reserve(userIds, this.#settings.maxWatched);
    try {
      await this.#watch.add(tracked, added);
    } catch (error) {
      this.remove(tracked, added);
      throw error;
    }
    if (!tracked.connected) throw new ClosedError('the socket is disconnected');
    return [...userIds].map((userId) => payloadOf(userId, this.#watch.get(userId)));
  }

  /** Tells it no more of `userIds`. */
  remove(tracked: TrackedSocket<S>, userIds: Iterable<string>): void {
    const dropped = [...userIds];
    for (const userId of dropped) tracked.watching.delete(userId);
    this.#watch.remove(tracked, dropped);
  }

  /** What a recovered socket watched before; what it may have missed is sent whole, for the newest wins. */
  restore(tracked: TrackedSocket<S>, userIds: readonly string[]): void {
    const wanted = new Set(userIds.slice(0, this.#settings.maxWatched));
    tracked.restoring = wanted;
    const { removeListeners: silence } = tracked;
    // The client does not ask again: it thinks that it watches them.
    const retry = new Retry(this.#settings, async () => {
      const users = await tracked.runExclusive(() => this.add(tracked, wanted));
      tracked.restoring = undefined;
      const target = tracked.socket.nsp.local.to(tracked.id);
      for (const user of users) if (user.version > 0) target.emit(CHANGED_EVENT, user);
    });
    tracked.removeListeners = () => {
      retry.stop();
      silence();
    };
    retry.start();
  }

  /** Nobody is told anything any more. */
  close(): Promise<void> {
    return this.#watch.close();
  }
}

/** Sends news; encoded once for each namespace, and nearly always there is but one. */
function emitChange<S extends SocketLike>(
  watchers: readonly TrackedSocket<S>[],
  news: WatchedPresence,
): void {
  const payload = payloadOf(news.userId, news);
  const bySpace = new Map<NamespaceBase, string[]>();
  for (const { socket, connected: present } of watchers) {
    if (!present) continue;
    const ids = bySpace.get(socket.nsp);
    if (ids === undefined) bySpace.set(socket.nsp, [socket.id]);
    else ids.push(socket.id);
  }
  // This process's sockets only: the others hear of it by their own watches.
  for (const [space, ids] of bySpace) space.local.to(ids).emit(CHANGED_EVENT, payload);
}

function payloadOf(userId: string, presence: WatchedPresence | undefined): PresencePayload {
  if (presence === undefined) return { userId, status: 'offline', lastSeen: 0, version: 0 };
  const { status, lastSeen, version } = presence;
  return { userId, status, lastSeen: lastSeen.getTime(), version };
}
