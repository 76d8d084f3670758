import { runWithoutAsyncContext } from '../internal/async-context.js';
import type { Clock } from '../internal/clock.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { RoomWatch } from '../presence/room-presence.js';
import type { RoomMember } from '../presence/types.js';
import type { MemberInfo } from '../protocol/frames.js';
import { MemberPages, toMemberInfo } from './member-pages.js';
import { MemberSubscriber } from './member-subscriber.js';
import { type MemberChanges, MemberView } from './member-view.js';
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

/** A peer that receives only the number of members. */
interface MemberCounter {
  /** Without one, the number of all members. */
  readonly view: MemberView | undefined;
  /** Last sent to this peer; only with a view. */
  sent: number;
}

/** The members of one room, for its local peers. */
class MemberFeed {
  readonly subscribers = new Map<PeerWriter, MemberSubscriber>();
  readonly counters = new Map<PeerWriter, MemberCounter>();
  /** Changes of the current batch. */
  readonly changed = new Map<string, MemberInfo>();
  /** Users of `changed` who were no members before it; only kept with peers that hide users. */
  readonly newcomers = new Set<string>();
  /** Number of peers that hide users. */
  views = 0;
  watch: Promise<RoomWatch> | undefined;
  /** Set when `watch` has resolved. */
  current: RoomWatch | undefined;
  list: MemberList | undefined;
  /** Last sent to `counters` without a view. */
  count = -1;

  get size(): number {
    return this.subscribers.size + this.counters.size;
  }

  /** False if the peer was not there. */
  remove(writer: PeerWriter): boolean {
    const subscriber = this.subscribers.get(writer);
    const counter = this.counters.get(writer);
    subscriber?.stop();
    this.subscribers.delete(writer);
    this.counters.delete(writer);
    if ((subscriber ?? counter)?.view !== undefined) this.views--;
    return subscriber !== undefined || counter !== undefined;
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
    const view = writer.filter && new MemberView(writer.filter);
    const subscriber = new MemberSubscriber(room, writer, this.#clock, view);
    feed.remove(writer);
    if (view !== undefined) feed.views++;
    if (count) feed.counters.set(writer, { view, sent: -1 });
    else feed.subscribers.set(writer, subscriber);
    try {
      feed.current = (await feed.watch) as RoomWatch;
    } catch (error) {
      feed.remove(writer);
      if (this.#feeds.get(room) === feed) this.#feeds.delete(room);
      throw error;
    }
    if (feed.counters.has(writer)) {
      this.#clock.after(0, () => this.#beginCount(room, feed, writer), { keepAlive: false });
    } else if (feed.subscribers.get(writer) === subscriber) {
      const list = this.#listOf(room, feed, feed.current);
      view?.begin(membersOf(list), feed.changed);
      if (view === undefined || (view.hiddenCount === 0 && view.sees(list.changed.keys()))) {
        subscriber.start(list.pages, list.changed);
      } else {
        const members = [...membersOf(list)].filter(({ user }) => !view.isHidden(user));
        subscriber.start(new MemberPages(room, members, true), new Map());
      }
    }
  }

  /** The last peer ends the watch. */
  async unsubscribe(room: string, writer: PeerWriter): Promise<void> {
    const feed = this.#feeds.get(room);
    if (feed === undefined) return;
    if (!feed.remove(writer) || feed.size > 0) return;
    this.#feeds.delete(room);
    await (await feed.watch)?.close();
  }

  #open(room: string): MemberFeed {
    const feed = new MemberFeed();
    this.#feeds.set(room, feed);
    feed.watch = runWithoutAsyncContext(() =>
      this.#presence.watchRoom(room, ({ type, ...member }) => {
        if (feed.views > 0 && type === 'join' && !feed.changed.has(member.userId)) {
          feed.newcomers.add(member.userId);
        }
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
    const newcomers = new Set(feed.newcomers);
    feed.changed.clear();
    feed.newcomers.clear();
    const pages = new MemberPages(room, [...changed.values()], false);
    for (const subscriber of [...feed.subscribers.values()]) {
      const seen = subscriber.view?.apply({ changed, newcomers }) ?? changed;
      if (seen === changed) subscriber.send(pages, changed);
      else if (seen.size > 0) subscriber.send(new MemberPages(room, [...seen.values()], false), seen);
    }
    this.#sendCounts(room, feed, { changed, newcomers });
  }

  #sendCounts(room: string, feed: MemberFeed, changes: MemberChanges): void {
    const { current, counters } = feed;
    if (current === undefined || counters.size === 0) return;
    const frame = current.size === feed.count ? undefined : toCountFrame(room, current.size);
    feed.count = current.size;
    for (const [writer, counter] of [...counters]) {
      const { view } = counter;
      if (view === undefined) {
        if (frame !== undefined) writer.sendNotice(frame);
        continue;
      }
      view.apply(changes);
      // Otherwise `#beginCount` follows.
      if (counter.sent >= 0) this.#sendOwnCount(room, current, writer, counter, view);
    }
  }

  /** Of the members that the viewer may see. */
  #sendOwnCount(
    room: string,
    current: RoomWatch,
    writer: PeerWriter,
    counter: MemberCounter,
    view: MemberView,
  ): void {
    const count = current.size - view.hiddenCount;
    if (count === counter.sent) return;
    counter.sent = count;
    writer.sendNotice(toCountFrame(room, count));
  }

  #beginCount(room: string, feed: MemberFeed, writer: PeerWriter): void {
    const { counters, current } = feed;
    const counter = counters.get(writer);
    if (current === undefined || counter === undefined) return;
    const { view } = counter;
    if (view === undefined) return writer.sendNotice(toCountFrame(room, current.size));
    view.begin(membersOf(this.#listOf(room, feed, current)), feed.changed);
    this.#sendOwnCount(room, current, writer, counter, view);
  }
}

/** With the changes since the list was made. */
function* membersOf({ pages, changed }: MemberList): Generator<MemberInfo, void, undefined> {
  for (const member of pages.members) if (!changed.has(member.user)) yield member;
  for (const member of changed.values()) if (member.sockets > 0) yield member;
}

function toCountFrame(room: string, count: number): EncodedFrame {
  return EncodedFrame.notice({ type: 'members', room, count, members: [] });
}
