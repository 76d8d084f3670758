import type { Clock } from '../internal/clock.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { RoomWatch } from '../presence/room-presence.js';
import type { RoomMember } from '../presence/types.js';
import type { MemberInfo } from '../protocol/frames.js';
import { EncodedFrame } from './encoded-frame.js';
import type { PeerWriter } from './peer-writer.js';

/** For how long changes of a room's members are collected, in ms: people come in crowds. */
const BATCH_WINDOW = 50;

/** Who is in one room, for the local peers that want to know. */
class MemberFeed {
  readonly outlets = new Set<PeerWriter>();
  readonly changed = new Map<string, MemberInfo>();
  watch: Promise<RoomWatch> | undefined;
  /** Everybody, as a frame; until the next change. */
  snapshot: EncodedFrame | undefined;
}

/** One watch per room for all local peers that want to know who is there. */
export class MemberFeeds {
  readonly #presence: PresenceService;
  readonly #clock: Clock;
  readonly #rosters = new Map<string, MemberFeed>();

  constructor(presence: PresenceService, clock: Clock) {
    this.#presence = presence;
    this.#clock = clock;
  }

  /** Tells `outlet` who is in `room`, and what changes there, until `leave`. */
  async subscribe(room: string, outlet: PeerWriter): Promise<void> {
    let roster = this.#rosters.get(room);
    if (roster === undefined) {
      roster = new MemberFeed();
      this.#rosters.set(room, roster);
      const own = roster;
      own.watch = this.#presence.watchRoom(room, ({ type, ...member }) => {
        this.#changed(room, own, type === 'leave' ? { ...member, sockets: 0 } : member);
      });
    }
    roster.outlets.add(outlet);
    try {
      const watch = (await roster.watch) as RoomWatch;
      if (!roster.outlets.has(outlet)) return;
      roster.snapshot ??= EncodedFrame.notice({
        type: 'members',
        room,
        reset: true,
        members: Array.from(watch.current().values(), toMemberInfo),
      });
      outlet.sendNotice(roster.snapshot);
    } catch (error) {
      roster.outlets.delete(outlet);
      if (this.#rosters.get(room) === roster) this.#rosters.delete(room);
      throw error;
    }
  }

  /** Tells `outlet` no more of `room`. */
  async unsubscribe(room: string, outlet: PeerWriter): Promise<void> {
    const roster = this.#rosters.get(room);
    if (roster === undefined || !roster.outlets.delete(outlet) || roster.outlets.size > 0) return;
    this.#rosters.delete(room);
    await (await roster.watch)?.close();
  }

  #changed(room: string, roster: MemberFeed, member: RoomMember): void {
    const { changed } = roster;
    roster.snapshot = undefined;
    if (changed.size === 0)
      this.#clock.after(BATCH_WINDOW, () => this.#tell(room, roster), { keepAlive: false });
    changed.set(member.userId, toMemberInfo(member));
  }

  #tell(room: string, { outlets, changed }: MemberFeed): void {
    const notice = EncodedFrame.notice({ type: 'members', room, members: [...changed.values()] });
    changed.clear();
    for (const outlet of [...outlets]) outlet.sendNotice(notice);
  }
}

function toMemberInfo({ userId, info, sockets }: RoomMember): MemberInfo {
  return { user: userId, info, sockets };
}
