import type { PresenceService } from '../presence/presence-service.js';
import { SharedWatch } from '../presence/shared-watch.js';
import type { WatchedPresence } from '../presence/types.js';
import type { UserPresence } from '../protocol/frames.js';
import type { PeerWriter } from './peer-writer.js';
import { EncodedFrame } from './room-message.js';

/** One presence watch for all users that local peers watch. */
export class PresenceFeed {
  readonly #watch: SharedWatch<PeerWriter>;

  constructor(presence: Pick<PresenceService, 'watch'>) {
    this.#watch = new SharedWatch(presence, (writers, change) => {
      const frame = EncodedFrame.notice({
        type: 'presence',
        users: [toUserPresence(change.userId, change)],
      });
      for (const writer of writers) writer.sendNotice(frame);
    });
  }

  /** Sends the presence of `userIds`, then their changes. Call `remove` also when it rejects. */
  async add(writer: PeerWriter, userIds: readonly string[]): Promise<void> {
    await this.#watch.add(writer, userIds);
    const users = userIds
      .filter((userId) => this.#watch.has(writer, userId))
      .map((userId) => toUserPresence(userId, this.#watch.get(userId)));
    if (users.length > 0) writer.sendNotice(EncodedFrame.notice({ type: 'presence', users }));
  }

  remove(writer: PeerWriter, userIds: Iterable<string>): void {
    this.#watch.remove(writer, userIds);
  }

  close(): Promise<void> {
    return this.#watch.close();
  }
}

function toUserPresence(user: string, presence: WatchedPresence | undefined): UserPresence {
  if (presence === undefined) return { user, status: 'offline', lastSeen: 0 };
  return { user, status: presence.status, lastSeen: presence.lastSeen.getTime() };
}
