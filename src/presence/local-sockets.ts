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
    return encodeEntry(status, connectedAt, meta, idle);
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
  /** The least recently written first. */
  readonly sockets = new Map<string, LocalSocket>();
  readonly memberships = new Map<string, LocalMembership>();
  /** Key of a socket → keys of its memberships. Sockets without rooms have no entry. */
  readonly #membershipsBySocket = new Map<string, Set<string>>();
  /** Room → its memberships by key, the least recently written first. */
  readonly #membershipsByRoom = new Map<string, Map<string, LocalMembership>>();

  /** Adds or updates a socket. */
  put(socket: LocalSocket): void {
    // Deleted first, so that it becomes the last in order.
    this.sockets.delete(socket.key);
    this.sockets.set(socket.key, socket);
  }

  /** The least recently written socket of each of `partitions` that has one. */
  oldestOf(partitions: readonly number[]): Map<number, LocalSocket> {
    const oldest = new Map<number, LocalSocket>();
    for (const socket of this.sockets.values()) {
      if (oldest.size === partitions.length) break;
      if (!oldest.has(socket.partition) && partitions.includes(socket.partition)) {
        oldest.set(socket.partition, socket);
      }
    }
    return oldest;
  }

  /** The rooms that sockets of this process are in. */
  get rooms(): string[] {
    return [...this.#membershipsByRoom.keys()];
  }

  /** The memberships of this process in a room, the least recently written first. */
  membershipsIn(room: string): LocalMembership[] {
    return [...(this.#membershipsByRoom.get(room)?.values() ?? [])];
  }

  /** The least recently written membership in a room. */
  oldestIn(room: string): LocalMembership | undefined {
    for (const membership of this.#membershipsByRoom.get(room)?.values() ?? []) return membership;
    return undefined;
  }

  /** Adds or updates a membership. */
  join(membership: LocalMembership): void {
    const { room } = membership;
    const socket = joinIds(membership.user, membership.socket);
    const key = joinIds(socket, room);
    this.memberships.set(key, membership);
    const members = this.#membershipsByRoom.get(room);
    if (members === undefined) this.#membershipsByRoom.set(room, new Map([[key, membership]]));
    else {
      members.delete(key);
      members.set(key, membership);
    }
    const keys = this.#membershipsBySocket.get(socket);
    if (keys === undefined) this.#membershipsBySocket.set(socket, new Set([key]));
    else keys.add(key);
  }

  /** Removes a membership. `socket` is the key of the socket. */
  leave(socket: string, room: string): void {
    const key = joinIds(socket, room);
    this.memberships.delete(key);
    this.#leaveRoom(room, key);
    const keys = this.#membershipsBySocket.get(socket);
    keys?.delete(key);
    if (keys?.size === 0) this.#membershipsBySocket.delete(socket);
  }

  /** Removes all memberships of a socket and returns them. */
  leaveAll(socket: string): LocalMembership[] {
    const removed: LocalMembership[] = [];
    for (const key of this.#membershipsBySocket.get(socket) ?? []) {
      const membership = this.memberships.get(key);
      this.memberships.delete(key);
      if (membership === undefined) continue;
      removed.push(membership);
      this.#leaveRoom(membership.room, key);
    }
    this.#membershipsBySocket.delete(socket);
    return removed;
  }

  /** True when this process registered the socket or put it into a room. */
  answersFor(socket: string): boolean {
    return this.sockets.has(socket) || this.#membershipsBySocket.has(socket);
  }

  /** True when a socket of this process is in the room. */
  isInRoom(room: string): boolean {
    return this.#membershipsByRoom.has(room);
  }

  #leaveRoom(room: string, key: string): void {
    const members = this.#membershipsByRoom.get(room);
    members?.delete(key);
    if (members?.size === 0) this.#membershipsByRoom.delete(room);
  }
}
