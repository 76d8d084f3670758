import { MultiMap } from '../internal/multi-map.js';
import { joinIds, splitIds } from './keys.js';
import { encodeEntry } from './record.js';
import type { RoomWrite, SocketWrite } from './writes.js';

/** All ids in this file are escaped. */
export interface SocketRef {
  readonly user: string;
  readonly socket: string;
  /** User and socket, joined as in the node's owner set. */
  readonly key: string;
  /** Partition of the user's keys. */
  readonly partition: number;
}

/** Owned by this process. `meta`: JSON text. */
export interface LocalSocket extends SocketRef {
  /** By Redis's clock. */
  connectedAt: number;
  /** While Redis's clock is unknown: the time of the first sending becomes `connectedAt`. */
  date?: (() => number) | undefined;
  readonly status: string;
  readonly meta: string | undefined;
  /** Confirmed by Redis. */
  known: boolean;
  /** The status is `away` because of idleness, not by the application. */
  readonly idle?: boolean;
  /** Until it is known: this process does not know whether the user is idle. */
  readonly inherits?: boolean;
}

/** Its text is created on sending, because many writes may be queued. */
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

  get first(): boolean {
    return !this.restoring && !this.local.known;
  }

  get value(): string {
    if (this.local.date !== undefined) {
      this.local.connectedAt = this.local.date();
      this.local.date = undefined;
    }
    const { idle, status, connectedAt, meta, inherits } = this.local;
    const entry = encodeEntry(status, connectedAt, meta, idle);
    return inherits === true && this.first ? `?${entry}` : entry;
  }
}

/** Brings the entry in Redis to `local`. */
export function toSocketWrite(local: LocalSocket, grace: number, restoring = false): SocketWrite {
  return new LocalSocketWrite(local, grace, restoring);
}

/** `info`: text of update-rooms.lua (`encodeMembership`). */
export interface LocalMembership {
  readonly user: string;
  readonly socket: string;
  readonly room: string;
  /** Partition of the room's keys. */
  readonly partition: number;
  readonly info: string;
}

/** Brings the entry in Redis to `membership`. */
export function toRoomWrite(membership: LocalMembership, restoring = false): RoomWrite {
  const { room, user, socket, info } = membership;
  return { kind: 'room', room, user, socket, info, restoring };
}

/**
 * Sockets of this process and their rooms: the state that Redis should have. Map keys are escaped ids, joined
 * as in the node's owner set.
 */
export class LocalSockets {
  /** The least recently written first. */
  readonly sockets = new Map<string, LocalSocket>();
  readonly memberships = new Map<string, LocalMembership>();
  /** Socket key → membership keys. */
  readonly #membershipsBySocket = new MultiMap<string, string>();
  /** User → keys of sockets with rooms. */
  readonly #socketsByUser = new MultiMap<string, string>();
  /**
   * Room → memberships, the least recently written first. Without those of invisible users, which are not
   * written. Rooms in the order of their last writes.
   */
  readonly #membershipsByRoom = new Map<string, Map<string, LocalMembership>>();
  /** Rooms of `#membershipsByRoom` of which Redis has confirmed a membership. */
  readonly #confirmedRooms = new Set<string>();

  put(socket: LocalSocket): void {
    // Becomes the last in order.
    this.sockets.delete(socket.key);
    this.sockets.set(socket.key, socket);
  }

  /** Looks at all sockets: only for what is rare. */
  hasSocketsOf(user: string): boolean {
    for (const socket of this.sockets.values()) if (socket.user === user) return true;
    return false;
  }

  /** The least recently written socket in each partition that has one. */
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

  /** Rooms with sockets of this process. */
  get rooms(): string[] {
    return [...this.#membershipsByRoom.keys()];
  }

  /** The least recently written room in each partition that has one. */
  oldestRoomOf(partitions: readonly number[]): Map<number, string> {
    const oldest = new Map<number, string>();
    for (const [room, members] of this.#membershipsByRoom) {
      if (oldest.size === partitions.length) break;
      // The memberships of a room have the same partition.
      for (const { partition } of members.values()) {
        if (!oldest.has(partition) && partitions.includes(partition)) oldest.set(partition, room);
        break;
      }
    }
    return oldest;
  }

  /** Redis has confirmed a membership in it. */
  isConfirmed(room: string): boolean {
    return this.#confirmedRooms.has(room);
  }

  confirm(room: string): void {
    if (this.#membershipsByRoom.has(room)) this.#confirmedRooms.add(room);
  }

  /** Written memberships, the least recently written first. */
  membershipsIn(room: string): LocalMembership[] {
    return [...(this.#membershipsByRoom.get(room)?.values() ?? [])];
  }

  oldestIn(room: string): LocalMembership | undefined {
    for (const membership of this.#membershipsByRoom.get(room)?.values() ?? []) return membership;
    return undefined;
  }

  /** Unless `written`, it must not be in Redis. */
  join(membership: LocalMembership, written = true): void {
    const { user, room } = membership;
    const socket = joinIds(user, membership.socket);
    const key = joinIds(socket, room);
    this.memberships.set(key, membership);
    this.#setWritten(key, membership, written);
    if (!this.#membershipsBySocket.has(socket)) this.#socketsByUser.add(user, socket);
    this.#membershipsBySocket.add(socket, key);
  }

  /** Whether it is, or will be, in Redis. */
  setWritten(membership: LocalMembership, written: boolean): void {
    const { user, socket, room } = membership;
    this.#setWritten(joinIds(joinIds(user, socket), room), membership, written);
  }

  #setWritten(key: string, membership: LocalMembership, written: boolean): void {
    const { room } = membership;
    if (!written) {
      this.#leaveRoom(room, key);
      return;
    }
    const members = this.#membershipsByRoom.get(room) ?? new Map<string, LocalMembership>();
    // Both become the last in order.
    members.delete(key);
    members.set(key, membership);
    this.#membershipsByRoom.delete(room);
    this.#membershipsByRoom.set(room, members);
  }

  isWritten(key: string, room: string): boolean {
    return this.#membershipsByRoom.get(room)?.has(key) === true;
  }

  /** Written or not. */
  membershipsOf(user: string): LocalMembership[] {
    return this.#socketsByUser
      .get(user)
      .flatMap((socket) => this.#membershipsBySocket.get(socket))
      .map((key) => this.memberships.get(key) as LocalMembership);
  }

  hasMemberships(user: string): boolean {
    return this.#socketsByUser.has(user);
  }

  /** `socket`: its key. */
  leave(socket: string, room: string): void {
    const key = joinIds(socket, room);
    this.memberships.delete(key);
    this.#leaveRoom(room, key);
    this.#membershipsBySocket.delete(socket, key);
    if (!this.#membershipsBySocket.has(socket)) this.#forgetSocket(socket);
  }

  leaveAll(socket: string): LocalMembership[] {
    const removed: LocalMembership[] = [];
    for (const key of this.#membershipsBySocket.get(socket)) {
      const membership = this.memberships.get(key);
      this.memberships.delete(key);
      if (membership === undefined) continue;
      removed.push(membership);
      this.#leaveRoom(membership.room, key);
    }
    this.#membershipsBySocket.deleteAll(socket);
    this.#forgetSocket(socket);
    return removed;
  }

  /** Registered or put into a room by this process. */
  answersFor(socket: string): boolean {
    return this.sockets.has(socket) || this.#membershipsBySocket.has(socket);
  }

  /** A written membership of this process. */
  isInRoom(room: string): boolean {
    return this.#membershipsByRoom.has(room);
  }

  /** It has no rooms. */
  #forgetSocket(socket: string): void {
    this.#socketsByUser.delete(splitIds(socket)[0], socket);
  }

  #leaveRoom(room: string, key: string): void {
    const members = this.#membershipsByRoom.get(room);
    members?.delete(key);
    if (members?.size !== 0) return;
    this.#membershipsByRoom.delete(room);
    this.#confirmedRooms.delete(room);
  }
}
