import { isThenable, messageOf } from '../internal/diagnostics.js';
import { BannedError, HandlerError, isRollcallError } from '../internal/errors.js';
import { allOrFirstError } from '../internal/promises.js';
import type { ProtocolErrorCode } from '../protocol/frames.js';
import type { Bans } from './bans.js';
import type { IdentifyOptions, IdentifyRequest } from './options.js';
import type { RoomMembership } from './room-membership.js';

/** Why a user may not stay in a room. */
export interface Refusal {
  readonly code: ProtocolErrorCode;
  readonly message: string;
}

/** The memberships of a socket, by room. */
export type Memberships = ReadonlyMap<string, RoomMembership>;

/** The rooms, lists of members and watches of a socket that one user may keep. */
export class Permissions {
  readonly refusedRooms = new Map<string, Refusal>();
  /** Rooms that the user may be in, without seeing their members. */
  readonly refusedMembers = new Set<string>();
  readonly refusedUsers = new Set<string>();
  readonly #bans: Bans | undefined;
  readonly #authorize: IdentifyOptions['authorize'];
  /** Of a refused room. */
  readonly #message: string;
  /** Rooms that were asked about, with what was sent of their members, and such users. */
  readonly #askedRooms = new Map<string, boolean | 'count'>();
  readonly #askedUsers = new Set<string>();

  constructor(bans: Bans | undefined, authorize: IdentifyOptions['authorize'], message: string) {
    this.#bans = bans;
    this.#authorize = authorize;
    this.#message = message;
  }

  /** `authorize` was asked about all of them. */
  isComplete(memberships: Memberships, users: ReadonlySet<string>): boolean {
    return (
      this.#newRooms(memberships).length === 0 && [...users].every((userId) => this.#askedUsers.has(userId))
    );
  }

  /** Asks about those that were not asked about before. */
  async ask(memberships: Memberships, users: ReadonlySet<string>): Promise<void> {
    const newRooms = this.#newRooms(memberships);
    const newUsers = [...users].filter((userId) => !this.#askedUsers.has(userId));
    for (const [room, { members }] of newRooms) this.#askedRooms.set(room, members);
    for (const userId of newUsers) this.#askedUsers.add(userId);
    const ofRooms = newRooms.map(async ([room, { members }]) => {
      if (!(await this.#isAllowed({ action: 'join', room }))) {
        this.refusedRooms.set(room, { code: 'FORBIDDEN', message: this.#message });
      } else if (members !== false) {
        const allowed = await this.#isAllowed({ action: 'members', room, count: members === 'count' });
        if (!allowed) this.refusedMembers.add(room);
      }
    });
    const ofUsers = newUsers.map(async (userId) => {
      if (!(await this.#isAllowed({ action: 'watch', userId }))) this.refusedUsers.add(userId);
    });
    await allOrFirstError([...ofRooms, ...ofUsers]);
  }

  async checkBans(memberships: Memberships, userId: string): Promise<void> {
    const bans = this.#bans;
    if (bans === undefined) return;
    const check = async (room: string) => {
      try {
        await bans.assertNone(room, userId);
      } catch (error) {
        if (!(error instanceof BannedError)) throw error;
        this.refusedRooms.set(room, { code: 'KICKED', message: error.message });
      }
    };
    await allOrFirstError([...memberships.keys()].map(check));
  }

  #newRooms(memberships: Memberships): [string, RoomMembership][] {
    return [...memberships].filter(
      ([room, { desired, members }]) => desired && this.#askedRooms.get(room) !== members,
    );
  }

  async #isAllowed(request: IdentifyRequest): Promise<boolean> {
    try {
      const answer = this.#authorize?.(request) ?? true;
      // An untyped function may return anything.
      return (isThenable(answer) ? await answer : answer) === true;
    } catch (error) {
      if (isRollcallError(error)) throw error;
      throw new HandlerError(`authorize failed: ${messageOf(error)}`, { cause: error });
    }
  }
}
