import { joinIds, splitIds } from './keys.js';
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
  /** User → key of a socket → keys of its memberships. Users and sockets without rooms have no entry. */
  readonly #membershipsByUser = new Map<string, Map<string, Set<string>>>();
  /** Room → its memberships by key, the least recently written first. Those of invisible users are not written. */
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

  /** The written memberships of this process in a room, the least recently written first. */
  membershipsIn(room: string): LocalMembership[] {
    return [...(this.#membershipsByRoom.get(room)?.values() ?? [])];
  }

  /** The least recently written one of them. */
  oldestIn(room: string): LocalMembership | undefined {
    for (const membership of this.#membershipsByRoom.get(room)?.values() ?? []) return membership;
    return undefined;
  }

  /** Adds or updates a membership. Unless it is `written`, it is not in Redis and must not be. */
  join(membership: LocalMembership, written = true): void {
    const { user, room } = membership;
    const socket = joinIds(user, membership.socket);
    const key = joinIds(socket, room);
    this.memberships.set(key, membership);
    this.setWritten(membership, written);
    let sockets = this.#membershipsByUser.get(user);
    if (sockets === undefined) {
      sockets = new Map();
      this.#membershipsByUser.set(user, sockets);
    }
    const keys = sockets.get(socket);
    if (keys === undefined) sockets.set(socket, new Set([key]));
    else keys.add(key);
  }

  /** Notes whether a membership is, or is about to be, in Redis. */
  setWritten(membership: LocalMembership, written: boolean): void {
    const { user, socket, room } = membership;
    const key = joinIds(joinIds(user, socket), room);
    const members = this.#membershipsByRoom.get(room);
    if (!written) this.#leaveRoom(room, key);
    else if (members === undefined) this.#membershipsByRoom.set(room, new Map([[key, membership]]));
    else {
      // Deleted first, so that it becomes the last in order.
      members.delete(key);
      members.set(key, membership);
    }
  }

  /** True for a membership that is, or is about to be, in Redis. */
  isWritten(key: string, room: string): boolean {
    return this.#membershipsByRoom.get(room)?.has(key) === true;
  }

  /** The memberships of a user, written or not. */
  membershipsOf(user: string): LocalMembership[] {
    const sockets = this.#membershipsByUser.get(user)?.values() ?? [];
    return [...sockets].flatMap((keys) =>
      [...keys].map((key) => this.memberships.get(key) as LocalMembership),
    );
  }

  /** True if a socket of the user is in a room. */
  hasMemberships(user: string): boolean {
    return this.#membershipsByUser.has(user);
  }

  /** Removes a membership. `socket` is the key of the socket. */
  leave(socket: string, room: string): void {
    const key = joinIds(socket, room);
    this.memberships.delete(key);
    this.#leaveRoom(room, key);
    const keys = this.#keysOf(socket);
    keys?.delete(key);
    if (keys?.size === 0) this.#deleteKeysOf(socket);
  }

  /** Removes all memberships of a socket and returns them. */
  leaveAll(socket: string): LocalMembership[] {
    const removed: LocalMembership[] = [];
    for (const key of this.#keysOf(socket) ?? []) {
      const membership = this.memberships.get(key);
      this.memberships.delete(key);
      if (membership === undefined) continue;
      removed.push(membership);
      this.#leaveRoom(membership.room, key);
    }
    this.#deleteKeysOf(socket);
    return removed;
  }

  /** True when this process registered the socket or put it into a room. */
  answersFor(socket: string): boolean {
    return this.sockets.has(socket) || this.#keysOf(socket) !== undefined;
  }

  /** True when a written membership of this process is in the room. */
  isInRoom(room: string): boolean {
    return this.#membershipsByRoom.has(room);
  }

  /** Keys of a socket's memberships. */
  #keysOf(socket: string): Set<string> | undefined {
    return this.#membershipsByUser.get(splitIds(socket)[0])?.get(socket);
  }

  #deleteKeysOf(socket: string): void {
    const [user] = splitIds(socket);
    const sockets = this.#membershipsByUser.get(user);
    if (sockets?.delete(socket) === true && sockets.size === 0) this.#membershipsByUser.delete(user);
  }

  #leaveRoom(room: string, key: string): void {
    const members = this.#membershipsByRoom.get(room);
    members?.delete(key);
    if (members?.size === 0) this.#membershipsByRoom.delete(room);
  }
}
