/** Registers, updates or removes a socket of a user. All ids in this file are escaped. */
export interface SocketWrite {
  readonly kind: 'socket';
  readonly user: string;
  readonly socket: string;
  /** Socket entry to write; `undefined` removes it. */
  readonly value?: string;
  /** Node that owns the entry. @default this node, under its id at the time of sending */
  readonly owner?: string;
  /** How long, in ms, the user keeps their status if this was their last socket. */
  readonly grace: number;
  /** The entry was lost and is written again: a missing record is then no change of status. */
  readonly restoring?: boolean;
  /** Instance id of the owner, which is notified that another node removed its socket. */
  readonly notify?: string;
  /** Identifies the removed registration, so that a later one of the same socket stays. */
  readonly registration?: string;
  /** When the user was last seen, in ms, if the owner died. @default the time of the removal */
  readonly lastAlive?: number;
}

/** Sets or drops a user's own status. */
export interface StatusWrite {
  readonly kind: 'status';
  readonly user: string;
  /** Status entry to write; `undefined` removes it. */
  readonly value?: string;
}

/**
 * Recomputes a user's record without writing an entry, because a deadline has passed (`time`), the user
 * was active (`active`), logged out (`gone`), or lost their last socket while Redis had no record of them (`lost`).
 */
export interface Reevaluation {
  readonly kind: 'look';
  readonly user: string;
  readonly reason: 'time' | 'active' | 'gone' | 'lost';
  /** As in {@link SocketWrite}. */
  readonly lastAlive?: number;
}

/** A socket joins a room, changes its info there, or leaves. */
export interface RoomWrite {
  readonly kind: 'room';
  readonly room: string;
  readonly user: string;
  readonly socket: string;
  /** JSON text; `undefined` leaves the room. */
  readonly info?: string;
  /** With a leave: no socket of this process is left in the room. */
  readonly isLast?: boolean;
  readonly owner?: string;
  readonly restoring?: boolean;
}

/** One write that a transaction can contain. */
export type PresenceWrite = SocketWrite | StatusWrite | Reevaluation | RoomWrite;

/** True for a write that restores a lost entry. Those never share a transaction with other writes. */
export function isRestoring(write: PresenceWrite): boolean {
  return (write.kind === 'socket' || write.kind === 'room') && write.restoring === true;
}

/** True for a write to entries of this node. Its transaction renews the lease, so that a lost write shows in the lease. */
export function isLocalWrite(write: PresenceWrite): boolean {
  return (write.kind === 'socket' || write.kind === 'room') && write.owner === undefined;
}

/** True for a write that no caller asked for: a repair, a deadline, or the removal of a dead node's entries. */
export function isBackgroundWrite(write: PresenceWrite): boolean {
  if (isRestoring(write)) return true;
  if (write.kind === 'look') return write.reason === 'time' || write.reason === 'lost';
  return write.kind === 'socket' && write.lastAlive !== undefined;
}
