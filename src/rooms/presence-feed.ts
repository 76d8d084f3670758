import type { Clock } from '../internal/clock.js';
import type { PresenceService } from '../presence/presence-service.js';
import { SharedWatch } from '../presence/shared-watch.js';
import type { WatchedPresence } from '../presence/types.js';
import type { UserPresence } from '../protocol/frames.js';
import type { PeerWriter } from './peer-writer.js';
import { EncodedFrame } from './room-message.js';

/** Time in ms in which changes are collected into one frame per peer: many users leave with a process. */
const BATCH_WINDOW = 50;
/** Users per frame. */
const PAGE_SIZE = 250;

/** The presence of all users that local peers watch. */
export class PresenceFeed {
  readonly #watch: SharedWatch<PeerWriter>;
  readonly #clock: Clock;
  /** Changed users by peer, in the current batch. */
  readonly #changed = new Map<PeerWriter, Set<string>>();

  constructor(presence: Pick<PresenceService, 'watch'>, clock: Clock) {
    this.#clock = clock;
    this.#watch = new SharedWatch(presence, (writers, { userId }) => this.#onChange(writers, userId));
  }

  /** Sends the presence of `userIds`, then changes. Call `remove` also after a rejection. */
  async add(writer: PeerWriter, userIds: readonly string[]): Promise<void> {
    await this.#watch.add(writer, userIds);
    const users = userIds
      .filter((userId) => this.#watch.has(writer, userId))
      .map((userId) => toUserPresence(userId, this.#watch.get(userId)));
    if (users.length > 0) writer.sendNotice(EncodedFrame.notice({ type: 'presence', users }));
  }

  remove(writer: PeerWriter, userIds: Iterable<string>): void {
    const removed = [...userIds];
    this.#watch.remove(writer, removed);
    const changed = this.#changed.get(writer);
    for (const userId of removed) changed?.delete(userId);
  }

  close(): Promise<void> {
    this.#changed.clear();
    return this.#watch.close();
  }

  #onChange(writers: readonly PeerWriter[], userId: string): void {
    if (this.#changed.size === 0) {
      this.#clock.after(BATCH_WINDOW, () => this.#sendChanges(), { keepAlive: false });
    }
    for (const writer of writers) {
      const changed = this.#changed.get(writer);
      if (changed === undefined) this.#changed.set(writer, new Set([userId]));
      else changed.add(userId);
    }
  }

  /** The state at the time of sending. Peers with the same changes share frames. */
  #sendChanges(): void {
    const batch = [...this.#changed];
    this.#changed.clear();
    const frames = new Map<string, EncodedFrame[]>();
    for (const [writer, userIds] of batch) {
      const key = JSON.stringify([...userIds]);
      let pages = frames.get(key);
      if (pages === undefined) {
        pages = this.#pagesOf([...userIds]);
        frames.set(key, pages);
      }
      for (const page of pages) writer.sendNotice(page);
    }
  }

  #pagesOf(userIds: readonly string[]): EncodedFrame[] {
    const pages: EncodedFrame[] = [];
    for (let at = 0; at < userIds.length; at += PAGE_SIZE) {
      const users = userIds
        .slice(at, at + PAGE_SIZE)
        .map((userId) => toUserPresence(userId, this.#watch.get(userId)));
      pages.push(EncodedFrame.notice({ type: 'presence', users }));
    }
    return pages;
  }
}

function toUserPresence(user: string, presence: WatchedPresence | undefined): UserPresence {
  if (presence === undefined) return { user, status: 'offline', lastSeen: 0 };
  return { user, status: presence.status, lastSeen: presence.lastSeen.getTime() };
}
