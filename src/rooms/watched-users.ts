import type { PresenceService } from '../presence/presence-service.js';
import type { WatchedPresence } from '../presence/types.js';
import type { PresenceWatch } from '../presence/watches.js';
import type { UserPresence } from '../protocol/frames.js';
import type { Outlet } from './outlet.js';
import { Outgoing } from './peer.js';

/** One watch for all users that local peers want to know of. */
export class WatchedUsers {
  readonly #presence: PresenceService;
  readonly #watchers = new Map<string, Set<Outlet>>();
  #watch: Promise<PresenceWatch> | undefined;
  /** Additions one after the other: who adds a user whose snapshot is being read waits for it, too. */
  #added: Promise<unknown> = Promise.resolve();

  constructor(presence: PresenceService) {
    this.#presence = presence;
  }

  /** Tells `outlet` how `userIds` are, and what changes, until `remove`. */
  async add(outlet: Outlet, userIds: readonly string[]): Promise<void> {
    for (const userId of userIds) {
      const watchers = this.#watchers.get(userId);
      if (watchers === undefined) this.#watchers.set(userId, new Set([outlet]));
      else watchers.add(outlet);
    }
    const watch = await this.#started();
    const adding = this.#added.then(() => watch.add(userIds));
    this.#added = adding.catch(() => {});
    await adding;
    const users = userIds
      .filter((userId) => this.#watchers.get(userId)?.has(outlet) === true)
      .map((userId) => shown(userId, watch.get(userId)));
    if (users.length > 0) outlet.notice(Outgoing.notice({ type: 'presence', users }));
  }

  /** Tells `outlet` no more of `userIds`. */
  remove(outlet: Outlet, userIds: Iterable<string>): void {
    const unwatched: string[] = [];
    for (const userId of userIds) {
      const watchers = this.#watchers.get(userId);
      if (watchers === undefined || !watchers.delete(outlet) || watchers.size > 0) continue;
      this.#watchers.delete(userId);
      unwatched.push(userId);
    }
    if (unwatched.length === 0 || this.#watch === undefined) return;
    const drop = (watch: PresenceWatch) =>
      // Somebody else may have come for them meanwhile.
      this.#added.then(() => watch.remove(unwatched.filter((userId) => !this.#watchers.has(userId))));
    this.#watch.then(drop).catch(() => {});
  }

  /** Ends the watch. */
  async close(): Promise<void> {
    this.#watchers.clear();
    await (await this.#watch?.catch(() => undefined))?.close();
  }

  #started(): Promise<PresenceWatch> {
    this.#watch ??= this.#presence
      .watch([], (change) => this.#tell(change.userId, change))
      .catch((error: unknown) => {
        this.#watch = undefined;
        throw error;
      });
    return this.#watch;
  }

  #tell(userId: string, presence: Pick<WatchedPresence, 'status' | 'lastSeen'>): void {
    const notice = Outgoing.notice({ type: 'presence', users: [shown(userId, presence)] });
    for (const outlet of [...(this.#watchers.get(userId) ?? [])]) outlet.notice(notice);
  }
}

function shown(
  user: string,
  presence: Pick<WatchedPresence, 'status' | 'lastSeen'> | undefined,
): UserPresence {
  if (presence === undefined) return { user, status: 'offline', lastSeen: 0 };
  return { user, status: presence.status, lastSeen: presence.lastSeen.getTime() };
}
