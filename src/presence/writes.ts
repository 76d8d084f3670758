/** All ids in this file are escaped. */
export interface SocketWrite {
  readonly kind: 'socket';
  readonly user: string;
  readonly socket: string;
  /** `undefined` removes the entry. */
  readonly value?: string;
  /** @default this node, under its id at the time of sending */
  readonly owner?: string;
  /** In ms; for the user's last socket. */
  readonly grace: number;
  /** A lost entry is written again: a missing record is no change of status. */
  readonly restoring?: boolean;
  /** The first write of a registration, which comes after any removal that Redis knows. */
  readonly first?: boolean;
  /** `lastSeen` of the user, in ms, if the owner died. @default the time of the removal */
  readonly lastAlive?: number;
}

/**
 * Removes a socket, or all sockets of a user, of any owner. Owners are notified; one that was not reached cannot
 * restore them.
 */
export interface Removal {
  readonly kind: 'removal';
  readonly user: string;
  /** `undefined`: all sockets. */
  readonly socket?: string;
  /** In ms; for the user's last socket. */
  readonly grace: number;
  /** Later registrations stay (`encodeRegistration`). @default all are removed */
  readonly before?: string;
  /** For the owners, escaped: they close the connections. */
  readonly note?: string;
}

/** A socket without a process: its registration, or a heartbeat that changes nothing else. */
export interface TtlSocketWrite {
  readonly kind: 'ttl';
  readonly user: string;
  readonly socket: string;
  /** In ms from now; `undefined`: a heartbeat, without effect unless the socket is there. */
  readonly ttl?: number;
  /** Of a registration, without the time (`encodeEntry`). */
  readonly entry?: string;
}

export interface StatusWrite {
  readonly kind: 'status';
  readonly user: string;
  /** `undefined` removes the status, also for owners that know another one. */
  readonly value?: string;
}

/** Hides `lastSeen` from others, or shows it. */
export interface LastSeenWrite {
  readonly kind: 'last-seen';
  readonly user: string;
  /** Hides it. Random, at most `lastSeenTtl`, in µs: the first version is later by this. `undefined` shows it. */
  readonly concealed?: number;
}

/**
 * Recomputes a record without writing an entry: a deadline has passed (`time`), the user was active (`active`),
 * logged out (`gone`), or lost their last socket while Redis had no record (`lost`).
 */
export interface Reevaluation {
  readonly kind: 'look';
  readonly user: string;
  readonly reason: 'time' | 'active' | 'gone' | 'lost';
  /**
   * With `time`: removes sockets without a process that had no heartbeat within their TTL. For this long, in ms, heartbeats
   * may have been impossible: sockets with at most twice as long a TTL are kept for another TTL.
   */
  readonly outage?: number;
  /** As in {@link SocketWrite}. */
  readonly lastAlive?: number;
}

export interface RoomWrite {
  readonly kind: 'room';
  readonly room: string;
  readonly user: string;
  readonly socket: string;
  /** Text of update-rooms.lua (`encodeMembership`); `undefined`: leave. */
  readonly info?: string;
  /**
   * With a leave: the user stays a member for the grace of the membership, if it has one, but at least for this long, in ms.
   * @default the socket leaves at once
   */
  readonly grace?: number;
  /** With a leave: the last socket of this process in the room. */
  readonly isLast?: boolean;
  readonly owner?: string;
  readonly restoring?: boolean;
}

/** Ends the grace of a user in a room: if its time has come, or now; then sockets in the room lose theirs, too. */
export interface RoomGraceEnd {
  readonly kind: 'room-grace';
  readonly room: string;
  readonly user: string;
  readonly when: 'due' | 'now';
}

export type PresenceWrite =
  | SocketWrite
  | Removal
  | TtlSocketWrite
  | StatusWrite
  | LastSeenWrite
  | Reevaluation
  | RoomWrite
  | RoomGraceEnd;

/**
 * Writes with different results never share a transaction: it either restores or does not, and applies removals before
 * registrations, whatever their order was.
 */
export function kindOfTransaction(write: PresenceWrite): 'removals' | 'restoring' | 'writes' {
  if (write.kind === 'removal') return 'removals';
  return isRestoring(write) ? 'restoring' : 'writes';
}

export function isRestoring(write: PresenceWrite): boolean {
  return (write.kind === 'socket' || write.kind === 'room') && write.restoring === true;
}

/** To entries of this node: the transaction renews the lease, so that a lost write shows in the lease. */
export function isLocalWrite(write: PresenceWrite): boolean {
  return (write.kind === 'socket' || write.kind === 'room') && write.owner === undefined;
}

/** True for a write that no caller asked for: a repair, a deadline, or the removal of a dead node's entries. */
export function isBackgroundWrite(write: PresenceWrite): boolean {
  if (isRestoring(write)) return true;
  if (write.kind === 'room-grace') return write.when === 'due';
  if (write.kind === 'look') return write.reason === 'time' || write.reason === 'lost';
  return write.kind === 'socket' && write.lastAlive !== undefined;
}
