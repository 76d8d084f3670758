import type { Clock } from '../internal/clock.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { RoomWatch } from '../presence/room-presence.js';
import type { RoomMember } from '../presence/types.js';
import type { Membership } from '../protocol/frames.js';
import type { Outlet } from './outlet.js';
import { Outgoing } from './peer.js';

/** For how long changes of a room's members are collected, in ms: people come in crowds. */
const COLLECT = 50;

/** Who is in one room, for the local peers that want to know. */
class Roster {
  readonly outlets = new Set<Outlet>();
  readonly changed = new Map<string, Membership>();
  watch: Promise<RoomWatch> | undefined;
  /** Everybody, as a frame; until the next change. */
  snapshot: Outgoing | undefined;
}

/** One watch per room for all local peers that want to know who is there. */
export class Rosters {
  readonly #presence: PresenceService;
  readonly #clock: Clock;
  readonly #rosters = new Map<string, Roster>();

  constructor(presence: PresenceService, clock: Clock) {
    this.#presence = presence;
    this.#clock = clock;
  }

  /** Tells `outlet` who is in `room`, and what changes there, until `leave`. */
  async join(room: string, outlet: Outlet): Promise<void> {
    let roster = this.#rosters.get(room);
    if (roster === undefined) {
      roster = new Roster();
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
      roster.snapshot ??= Outgoing.notice({
        type: 'members',
        room,
        reset: true,
        members: Array.from(watch.current().values(), shown),
      });
      outlet.notice(roster.snapshot);
    } catch (error) {
      roster.outlets.delete(outlet);
      if (this.#rosters.get(room) === roster) this.#rosters.delete(room);
      throw error;
    }
  }

  /** Tells `outlet` no more of `room`. */
  async leave(room: string, outlet: Outlet): Promise<void> {
    const roster = this.#rosters.get(room);
    if (roster === undefined || !roster.outlets.delete(outlet) || roster.outlets.size > 0) return;
    this.#rosters.delete(room);
    await (await roster.watch)?.close();
  }

  #changed(room: string, roster: Roster, member: RoomMember): void {
    const { changed } = roster;
    roster.snapshot = undefined;
    if (changed.size === 0) this.#clock.after(COLLECT, () => this.#tell(room, roster), { keepAlive: false });
    changed.set(member.userId, shown(member));
  }

  #tell(room: string, { outlets, changed }: Roster): void {
    const notice = Outgoing.notice({ type: 'members', room, members: [...changed.values()] });
    changed.clear();
    for (const outlet of [...outlets]) outlet.notice(notice);
  }
}

function shown({ userId, info, sockets }: RoomMember): Membership {
  return { user: userId, info, sockets };
}
