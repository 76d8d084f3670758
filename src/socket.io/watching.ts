import { ClosedError } from '../internal/errors.js';
import { SharedWatch } from '../presence/shared-watch.js';
import type { WatchedPresence } from '../presence/types.js';
import type { PresencePayload } from './options.js';
import { Retry } from './retry.js';
import type { TrackingSettings } from './settings.js';
import type { SocketLike, SpaceLike } from './shapes.js';
import type { TrackedSocket } from './tracked-socket.js';

/** The event that tells of a change of a watched user. */
const CHANGED = 'presence:changed';

/** What each socket watches, within its limit, and how it is told. */
export class Watching<S extends SocketLike> {
  readonly #settings: TrackingSettings<S>;
  readonly #watch: SharedWatch<TrackedSocket<S>>;

  constructor(settings: TrackingSettings<S>) {
    this.#settings = settings;
    this.#watch = new SharedWatch(settings.presence, tell);
  }

  /** How many users are watched. */
  get size(): number {
    return this.#watch.size;
  }

  /** Tells the socket of `userIds` too; resolves with how they are. */
  async add(tracked: TrackedSocket<S>, userIds: ReadonlySet<string>): Promise<PresencePayload[]> {
    // Gone while it waited for its turn: nobody would take it out again.
    if (!tracked.present) throw new ClosedError('the socket is disconnected');
    const added = tracked.reserve(userIds, this.#settings.maxWatched);
    try {
      await this.#watch.add(tracked, added);
    } catch (error) {
      this.drop(tracked, added);
      throw error;
    }
    if (!tracked.present) throw new ClosedError('the socket is disconnected');
    return [...userIds].map((userId) => payloadOf(userId, this.#watch.get(userId)));
  }

  /** Tells it no more of `userIds`. */
  drop(tracked: TrackedSocket<S>, userIds: Iterable<string>): void {
    const dropped = [...userIds];
    for (const userId of dropped) tracked.watching.delete(userId);
    this.#watch.remove(tracked, dropped);
  }

  /** What a recovered socket watched before; what it may have missed is sent whole, for the newest wins. */
  again(tracked: TrackedSocket<S>, userIds: readonly string[]): void {
    const wanted = new Set(userIds.slice(0, this.#settings.maxWatched));
    tracked.restoring = wanted;
    const { silence } = tracked;
    // The client does not ask again: it thinks that it watches them.
    const retry = new Retry(this.#settings, async () => {
      const users = await tracked.inTurn(() => this.add(tracked, wanted));
      tracked.restoring = undefined;
      const target = tracked.socket.nsp.local.to(tracked.id);
      for (const user of users) if (user.version > 0) target.emit(CHANGED, user);
    });
    tracked.silence = () => {
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
function tell<S extends SocketLike>(watchers: readonly TrackedSocket<S>[], news: WatchedPresence): void {
  const payload = payloadOf(news.userId, news);
  const bySpace = new Map<SpaceLike, string[]>();
  for (const { socket, present } of watchers) {
    if (!present) continue;
    const ids = bySpace.get(socket.nsp);
    if (ids === undefined) bySpace.set(socket.nsp, [socket.id]);
    else ids.push(socket.id);
  }
  // This process's sockets only: the others hear of it by their own watches.
  for (const [space, ids] of bySpace) space.local.to(ids).emit(CHANGED, payload);
}

function payloadOf(userId: string, presence: WatchedPresence | undefined): PresencePayload {
  if (presence === undefined) return { userId, status: 'offline', lastSeen: 0, version: 0 };
  const { status, lastSeen, version } = presence;
  return { userId, status, lastSeen: lastSeen.getTime(), version };
}
