import { joinIds } from './keys.js';
import { encodeEntry } from './record.js';
import type { RoomWrite, SocketWrite } from './writes.js';

/** Identifies a socket of a user. All ids in this file are escaped. */
export interface SocketRef {
  readonly user: string;
  readonly socket: string;
  /** User and socket, joined as in the node's owner set. */
  readonly key: string;
  /** Partition of the user's keys. */
  readonly partition: number;
}

/** A socket that this process owns. `meta` is JSON text. */
export interface LocalSocket extends SocketRef {
  readonly connectedAt: number;
  readonly status: string;
  readonly meta: string | undefined;
  /** True once Redis has confirmed the socket. */
  known: boolean;
  /** The socket is away because it was idle, not because the application set that status. */
  readonly idle?: boolean;
}

/** Status of a socket that has become idle. */
const IDLE_STATUS = 'away';

/** Write of a local socket's entry. Its text is created on sending, because many writes may be queued. */
class LocalSocketWrite implements SocketWrite {
  readonly kind = 'socket';
  readonly user: string;
  readonly socket: string;

  constructor(
    readonly local: LocalSocket,
    readonly grace: number,
    readonly restoring: boolean,
  ) {
    this.user = local.user;
    this.socket = local.socket;
  }

  get value(): string {
    const { idle, status, connectedAt, meta } = this.local;
    return encodeEntry(idle === true ? IDLE_STATUS : status, connectedAt, meta);
  }
}

/** The write that brings the socket's entry in Redis to what `local` is. */
export function toSocketWrite(local: LocalSocket, grace: number, restoring = false): SocketWrite {
  return new LocalSocketWrite(local, grace, restoring);
}

/** A socket of this process in a room. `info` is JSON text. */
export interface LocalMembership {
  readonly user: string;
  readonly socket: string;
  readonly room: string;
  /** Partition of the room's keys. */
  readonly partition: number;
  readonly info: string;
}

/** The write that brings the room's entry in Redis to what `membership` is. */
export function toRoomWrite(membership: LocalMembership, restoring = false): RoomWrite {
  const { room, user, socket, info } = membership;
  return { kind: 'room', room, user, socket, info, restoring };
}

/**
 * The sockets of this process and the rooms they are in: the desired state, which writes bring Redis into line with.
 * Map keys are escaped ids, joined as in the node's owner set.
 */
export class LocalSockets {
  readonly sockets = new Map<string, LocalSocket>();
  readonly memberships = new Map<string, LocalMembership>();
  /** Key of a socket → keys of its memberships. Sockets without rooms have no entry. */
  readonly #membershipsBySocket = new Map<string, Set<string>>();

  /** Adds or updates a membership. */
  join(membership: LocalMembership): void {
    const socket = joinIds(membership.user, membership.socket);
    const key = joinIds(socket, membership.room);
    this.memberships.set(key, membership);
    const keys = this.#membershipsBySocket.get(socket);
    if (keys === undefined) this.#membershipsBySocket.set(socket, new Set([key]));
    else keys.add(key);
  }

  /** Removes a membership. `socket` is the key of the socket. */
  leave(socket: string, room: string): void {
    const key = joinIds(socket, room);
    this.memberships.delete(key);
    const keys = this.#membershipsBySocket.get(socket);
    keys?.delete(key);
    if (keys?.size === 0) this.#membershipsBySocket.delete(socket);
  }

  /** Removes all memberships of a socket and returns them. */
  leaveAll(socket: string): LocalMembership[] {
    const removed: LocalMembership[] = [];
    for (const key of this.#membershipsBySocket.get(socket) ?? []) {
      const membership = this.memberships.get(key);
      if (membership !== undefined) removed.push(membership);
      this.memberships.delete(key);
    }
    this.#membershipsBySocket.delete(socket);
    return removed;
  }

  /** True when this process registered the socket or put it into a room. */
  answersFor(socket: string): boolean {
    return this.sockets.has(socket) || this.#membershipsBySocket.has(socket);
  }

  /** True when a member of a node's owner set, pair or triple, belongs to this process. */
  has(key: string): boolean {
    return this.sockets.has(key) || this.memberships.has(key);
  }
}
