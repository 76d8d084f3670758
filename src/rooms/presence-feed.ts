import type { PresenceService } from '../presence/presence-service.js';
import { SharedWatch } from '../presence/shared-watch.js';
import type { WatchedPresence } from '../presence/types.js';
import type { UserPresence } from '../protocol/frames.js';
import { EncodedFrame } from './encoded-frame.js';
import type { PeerWriter } from './peer-writer.js';

/** One watch for all users that local peers want to know of. */
export class PresenceFeed {
  readonly #watch: SharedWatch<PeerWriter>;

  constructor(presence: Pick<PresenceService, 'watch'>) {
    this.#watch = new SharedWatch(presence, (outlets, news) => {
      const notice = EncodedFrame.notice({ type: 'presence', users: [toUserPresence(news.userId, news)] });
      for (const outlet of outlets) outlet.sendNotice(notice);
    });
  }

  /** Tells `outlet` how `userIds` are, and what changes, until `remove`; also when it rejects. */
  async add(outlet: PeerWriter, userIds: readonly string[]): Promise<void> {
    await this.#watch.add(outlet, userIds);
    const users = userIds
      .filter((userId) => this.#watch.has(outlet, userId))
      .map((userId) => toUserPresence(userId, this.#watch.get(userId)));
    if (users.length > 0) outlet.sendNotice(EncodedFrame.notice({ type: 'presence', users }));
  }

  /** Tells `outlet` no more of `userIds`. */
  remove(outlet: PeerWriter, userIds: Iterable<string>): void {
    this.#watch.remove(outlet, userIds);
  }

  /** Ends the watch. */
  close(): Promise<void> {
    return this.#watch.close();
  }
}

function toUserPresence(user: string, presence: WatchedPresence | undefined): UserPresence {
  if (presence === undefined) return { user, status: 'offline', lastSeen: 0 };
  return { user, status: presence.status, lastSeen: presence.lastSeen.getTime() };
}
