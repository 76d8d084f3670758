import { joinIds } from './keys.js';
import { encodeEntry } from './record.js';
import type { RoomWrite, SocketWrite } from './writes.js';

/** Where a socket stands. Ids, here and below, are escaped. */
export interface SocketRef {
  readonly user: string;
  readonly socket: string;
  /** Both, as they stand in the node's set of pairs. */
  readonly key: string;
  /** The user's. */
  readonly partition: number;
}

/** A socket this process answers for. `meta` and rooms' infos are JSON text. */
export interface LocalSocket extends SocketRef {
  readonly connectedAt: number;
  readonly status: string;
  readonly meta: string | undefined;
  /** True once Redis has confirmed that it knows of the socket. */
  known: boolean;
  /** Away because nothing was heard of it, not because anybody said so. */
  readonly idle?: boolean;
}

/** The status of a socket that has gone idle. */
const IDLE_STATUS = 'away';

/** The fact of a socket of ours. Its text is made when it is sent: many may wait for that. */
class LocalSocketWrite implements SocketWrite {
  readonly kind = 'socket';
  readonly user: string;
  readonly socket: string;

  constructor(
    readonly owned: LocalSocket,
    readonly grace: number,
    readonly restoring: boolean,
  ) {
    this.user = owned.user;
    this.socket = owned.socket;
  }

  get value(): string {
    const { idle, status, connectedAt, meta } = this.owned;
    return encodeEntry(idle === true ? IDLE_STATUS : status, connectedAt, meta);
  }
}

/** The fact that ought to be in Redis for `owned`. */
export function toSocketWrite(owned: LocalSocket, grace: number, restoring = false): SocketWrite {
  return new LocalSocketWrite(owned, grace, restoring);
}

/** A socket's place in a room. */
export interface LocalMembership {
  readonly user: string;
  readonly socket: string;
  readonly room: string;
  readonly partition: number;
  readonly info: string;
}

/** The fact that ought to be in Redis for `membership`. */
export function toRoomWrite(membership: LocalMembership, restoring = false): RoomWrite {
  const { room, user, socket, info } = membership;
  return { kind: 'room', room, user, socket, info, restoring };
}

/**
 * What this process answers for: its sockets and the rooms they are in. It is what ought to be in
 * Redis, whatever is there. Keys are pairs of escaped ids, the same as in the node's set of pairs.
 */
export class LocalSockets {
  readonly sockets = new Map<string, LocalSocket>();
  readonly memberships = new Map<string, LocalMembership>();
  /** Socket's key → keys of its memberships; most sockets are in no room. */
  readonly #rooms = new Map<string, Set<string>>();

  /** Notes that a socket is in a room, with that info. */
  join(membership: LocalMembership): void {
    const socket = joinIds(membership.user, membership.socket);
    const key = joinIds(socket, membership.room);
    this.memberships.set(key, membership);
    const rooms = this.#rooms.get(socket);
    if (rooms === undefined) this.#rooms.set(socket, new Set([key]));
    else rooms.add(key);
  }

  /** Notes that a socket is not in a room. */
  leave(socket: string, room: string): void {
    const key = joinIds(socket, room);
    this.memberships.delete(key);
    const rooms = this.#rooms.get(socket);
    rooms?.delete(key);
    if (rooms?.size === 0) this.#rooms.delete(socket);
  }

  /** Forgets a socket's memberships, and returns them. */
  leaveAll(socket: string): LocalMembership[] {
    const gone: LocalMembership[] = [];
    for (const key of this.#rooms.get(socket) ?? []) {
      const membership = this.memberships.get(key);
      if (membership !== undefined) gone.push(membership);
      this.memberships.delete(key);
    }
    this.#rooms.delete(socket);
    return gone;
  }

  /** True when the socket is ours, or in a room through us. */
  answersFor(socket: string): boolean {
    return this.sockets.has(socket) || this.#rooms.has(socket);
  }

  /** True when the pair or triple, as it stands in a node's set, is one of ours. */
  has(key: string): boolean {
    return this.sockets.has(key) || this.memberships.has(key);
  }
}
