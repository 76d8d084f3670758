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
  /** Users who are shown as never seen to a peer that may not see them. */
  readonly #concealed = new Map<PeerWriter, Set<string>>();

  constructor(presence: Pick<PresenceService, 'watch'>, clock: Clock) {
    this.#clock = clock;
    this.#watch = new SharedWatch(presence, (writers, { userId }) => this.#onChange(writers, userId));
  }

  /** Sends the presence of `userIds`, then changes. Call `remove` also after a rejection. */
  async add(writer: PeerWriter, userIds: readonly string[]): Promise<void> {
    await this.#watch.add(writer, userIds);
    const users = userIds
      .filter((userId) => this.#watch.has(writer, userId))
      .map((userId) =>
        this.#conceals(writer, userId) === undefined
          ? this.#presenceOf(userId)
          : toUserPresence(userId, undefined),
      );
    if (users.length > 0) writer.sendNotice(EncodedFrame.notice({ type: 'presence', users }));
  }

  remove(writer: PeerWriter, userIds: Iterable<string>): void {
    const removed = [...userIds];
    this.#watch.remove(writer, removed);
    const changed = this.#changed.get(writer);
    const concealed = this.#concealed.get(writer);
    for (const userId of removed) {
      changed?.delete(userId);
      concealed?.delete(userId);
    }
    if (concealed?.size === 0) this.#concealed.delete(writer);
  }

  close(): Promise<void> {
    this.#changed.clear();
    this.#concealed.clear();
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
      if (writer.filter !== undefined && this.#sendFiltered(writer, userIds)) continue;
      const key = JSON.stringify([...userIds]);
      let pages = frames.get(key);
      if (pages === undefined) {
        pages = toPages([...userIds].map((userId) => this.#presenceOf(userId)));
        frames.set(key, pages);
      }
      for (const page of pages) writer.sendNotice(page);
    }
  }

  /** False if the peer may see all of them. One who has become hidden is shown as never seen, once. */
  #sendFiltered(writer: PeerWriter, userIds: ReadonlySet<string>): boolean {
    const users: UserPresence[] = [];
    let hides = false;
    for (const userId of userIds) {
      const concealed = this.#conceals(writer, userId);
      if (concealed === undefined) users.push(this.#presenceOf(userId));
      else {
        hides = true;
        if (concealed === 'now') users.push(toUserPresence(userId, undefined));
      }
    }
    if (hides) for (const page of toPages(users)) writer.sendNotice(page);
    return hides;
  }

  /** `undefined`: the peer may see the user. `already`: their last frame has shown nothing. */
  #conceals(writer: PeerWriter, userId: string): 'now' | 'already' | undefined {
    if (writer.filter === undefined) return undefined;
    const concealed = this.#concealed.get(writer);
    if (writer.filter.sees(userId)) {
      concealed?.delete(userId);
      return undefined;
    }
    if (concealed?.has(userId) === true) return 'already';
    if (concealed === undefined) this.#concealed.set(writer, new Set([userId]));
    else concealed.add(userId);
    return 'now';
  }

  #presenceOf(userId: string): UserPresence {
    return toUserPresence(userId, this.#watch.get(userId));
  }
}

function toPages(users: readonly UserPresence[]): EncodedFrame[] {
  const pages: EncodedFrame[] = [];
  for (let at = 0; at < users.length; at += PAGE_SIZE) {
    pages.push(EncodedFrame.notice({ type: 'presence', users: users.slice(at, at + PAGE_SIZE) }));
  }
  return pages;
}

function toUserPresence(user: string, presence: WatchedPresence | undefined): UserPresence {
  if (presence === undefined) return { user, status: 'offline', lastSeen: 0 };
  return { user, status: presence.status, lastSeen: presence.lastSeen.getTime() };
}
