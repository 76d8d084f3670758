import type { Clock } from '../internal/clock.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { RoomWatch } from '../presence/room-presence.js';
import type { RoomMember } from '../presence/types.js';
import type { MemberInfo } from '../protocol/frames.js';
import type { PeerWriter } from './peer-writer.js';
import { EncodedFrame } from './room-message.js';

/** Changes of a room's members within this time, in ms, share one frame, because many users join at once. */
const BATCH_WINDOW = 50;

class MemberFeed {
  readonly writers = new Set<PeerWriter>();
  readonly changed = new Map<string, MemberInfo>();
  watch: Promise<RoomWatch> | undefined;
  /** The frame with all members; `undefined` after a change. */
  snapshot: EncodedFrame | undefined;
}

/** One watch per room, shared by all local peers that receive its members. */
export class MemberFeeds {
  readonly #presence: PresenceService;
  readonly #clock: Clock;
  readonly #feeds = new Map<string, MemberFeed>();

  constructor(presence: PresenceService, clock: Clock) {
    this.#presence = presence;
    this.#clock = clock;
  }

  /** Sends all members of `room`, then their changes. */
  async subscribe(room: string, writer: PeerWriter): Promise<void> {
    let feed = this.#feeds.get(room);
    if (feed === undefined) {
      feed = new MemberFeed();
      this.#feeds.set(room, feed);
      const created = feed;
      created.watch = this.#presence.watchRoom(room, ({ type, ...member }) => {
        this.#onChange(room, created, type === 'leave' ? { ...member, sockets: 0 } : member);
      });
    }
    feed.writers.add(writer);
    try {
      const watch = (await feed.watch) as RoomWatch;
      if (!feed.writers.has(writer)) return;
      feed.snapshot ??= EncodedFrame.notice({
        type: 'members',
        room,
        reset: true,
        members: Array.from(watch.current().values(), toMemberInfo),
      });
      writer.sendNotice(feed.snapshot);
    } catch (error) {
      feed.writers.delete(writer);
      if (this.#feeds.get(room) === feed) this.#feeds.delete(room);
      throw error;
    }
  }

  /** The last peer ends the watch. */
  async unsubscribe(room: string, writer: PeerWriter): Promise<void> {
    const feed = this.#feeds.get(room);
    if (feed === undefined || !feed.writers.delete(writer) || feed.writers.size > 0) return;
    this.#feeds.delete(room);
    await (await feed.watch)?.close();
  }

  #onChange(room: string, feed: MemberFeed, member: RoomMember): void {
    const { changed } = feed;
    feed.snapshot = undefined;
    if (changed.size === 0)
      this.#clock.after(BATCH_WINDOW, () => this.#sendChanges(room, feed), { keepAlive: false });
    changed.set(member.userId, toMemberInfo(member));
  }

  #sendChanges(room: string, { writers, changed }: MemberFeed): void {
    const frame = EncodedFrame.notice({ type: 'members', room, members: [...changed.values()] });
    changed.clear();
    for (const writer of [...writers]) writer.sendNotice(frame);
  }
}

function toMemberInfo({ userId, info, sockets }: RoomMember): MemberInfo {
  return { user: userId, info, sockets };
}
