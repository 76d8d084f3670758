import { runWithoutAsyncContext } from '../internal/async-context.js';
import type { Clock } from '../internal/clock.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { RoomWatch } from '../presence/room-presence.js';
import type { RoomMember } from '../presence/types.js';
import type { MemberInfo } from '../protocol/frames.js';
import { MemberPages, toMemberInfo } from './member-pages.js';
import { MemberSubscriber } from './member-subscriber.js';
import type { PeerWriter } from './peer-writer.js';
import { EncodedFrame } from './room-message.js';

/** Time in ms in which changes of members are collected into one frame: many join at once. */
const BATCH_WINDOW = 50;
/** A large room's list is renewed when a larger share of its members has changed. */
const MAX_CHANGED_SHARE = 0.05;

/** All members, and the changes since. */
interface MemberList {
  readonly pages: MemberPages;
  readonly size: number;
  readonly changed: Map<string, MemberInfo>;
}

/** The members of one room, for its local peers. */
class MemberFeed {
  readonly subscribers = new Map<PeerWriter, MemberSubscriber>();
  /** Receive only the number of members. */
  readonly counters = new Set<PeerWriter>();
  /** Changes of the current batch. */
  readonly changed = new Map<string, MemberInfo>();
  watch: Promise<RoomWatch> | undefined;
  /** Set when `watch` has resolved. */
  current: RoomWatch | undefined;
  list: MemberList | undefined;
  /** Last sent to `counters`. */
  count = -1;

  get size(): number {
    return this.subscribers.size + this.counters.size;
  }
}

/** One watch per room for all local peers. */
export class MemberFeeds {
  readonly #presence: PresenceService;
  readonly #clock: Clock;
  readonly #feeds = new Map<string, MemberFeed>();

  constructor(presence: PresenceService, clock: Clock) {
    this.#presence = presence;
    this.#clock = clock;
  }

  /**
   * Sends the members of `room`, in pages as fast as the peer takes them, then changes. `count`: only their
   * number. Resolves when the members are known; the first frame follows.
   */
  async subscribe(room: string, writer: PeerWriter, count = false): Promise<void> {
    const feed = this.#feeds.get(room) ?? this.#open(room);
    const subscriber = new MemberSubscriber(room, writer, this.#clock);
    feed.subscribers.get(writer)?.stop();
    feed.subscribers.delete(writer);
    feed.counters.delete(writer);
    if (count) feed.counters.add(writer);
    else feed.subscribers.set(writer, subscriber);
    try {
      feed.current = (await feed.watch) as RoomWatch;
    } catch (error) {
      feed.subscribers.delete(writer);
      feed.counters.delete(writer);
      if (this.#feeds.get(room) === feed) this.#feeds.delete(room);
      throw error;
    }
    if (feed.counters.has(writer)) {
      this.#clock.after(0, () => this.#sendCount(room, feed, writer), { keepAlive: false });
    } else if (feed.subscribers.get(writer) === subscriber) {
      const { pages, changed } = this.#listOf(room, feed, feed.current);
      subscriber.start(pages, changed);
    }
  }

  /** The last peer ends the watch. */
  async unsubscribe(room: string, writer: PeerWriter): Promise<void> {
    const feed = this.#feeds.get(room);
    if (feed === undefined) return;
    feed.subscribers.get(writer)?.stop();
    const subscribed = feed.subscribers.delete(writer);
    const counted = feed.counters.delete(writer);
    if ((!subscribed && !counted) || feed.size > 0) return;
    this.#feeds.delete(room);
    await (await feed.watch)?.close();
  }

  #open(room: string): MemberFeed {
    const feed = new MemberFeed();
    this.#feeds.set(room, feed);
    feed.watch = runWithoutAsyncContext(() =>
      this.#presence.watchRoom(room, ({ type, ...member }) => {
        this.#onChange(room, feed, type === 'leave' ? { ...member, sockets: 0 } : member);
      }),
    );
    return feed;
  }

  /**
   * New subscribers share one list, each with the changes since: while many join a large room one by one, a
   * list for each would cost the whole room each time.
   */
  #listOf(room: string, feed: MemberFeed, watch: RoomWatch): MemberList {
    const { list } = feed;
    if (list !== undefined) {
      const { changed, size, pages } = list;
      if (changed.size === 0 || (!pages.single && changed.size <= size * MAX_CHANGED_SHARE)) return list;
    }
    const members = Array.from(watch.current().values(), toMemberInfo);
    feed.list = { pages: new MemberPages(room, members, true), size: members.length, changed: new Map() };
    return feed.list;
  }

  #onChange(room: string, feed: MemberFeed, member: RoomMember): void {
    const { changed, list } = feed;
    const info = toMemberInfo(member);
    list?.changed.set(member.userId, info);
    if (changed.size === 0)
      this.#clock.after(BATCH_WINDOW, () => this.#sendChanges(room, feed), { keepAlive: false });
    changed.set(member.userId, info);
  }

  #sendChanges(room: string, feed: MemberFeed): void {
    const changed = new Map(feed.changed);
    feed.changed.clear();
    const pages = new MemberPages(room, [...changed.values()], false);
    for (const subscriber of [...feed.subscribers.values()]) subscriber.send(pages, changed);
    const { current, counters } = feed;
    if (current === undefined || counters.size === 0 || current.size === feed.count) return;
    feed.count = current.size;
    const frame = toCountFrame(room, feed.count);
    for (const writer of [...counters]) writer.sendNotice(frame);
  }

  #sendCount(room: string, { counters, current }: MemberFeed, writer: PeerWriter): void {
    if (current !== undefined && counters.has(writer)) writer.sendNotice(toCountFrame(room, current.size));
  }
}

function toCountFrame(room: string, count: number): EncodedFrame {
  return EncodedFrame.notice({ type: 'members', room, count, members: [] });
}
