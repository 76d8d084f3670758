import { splitIds } from './keys.js';

/** A socket of a user appears, changes or goes. Ids, here and below, are escaped. */
export interface SocketWrite {
  readonly kind: 'socket';
  readonly user: string;
  readonly socket: string;
  /** The fact to write; `undefined` removes it. */
  readonly value?: string;
  /** Whose fact it is. @default this process's node, under its id at the time of sending */
  readonly owner?: string;
  /** For how many ms the user is waited for if it was his last socket. */
  readonly grace: number;
  /** The fact was there before and got lost: a missing record is no news. */
  readonly restoring?: boolean;
  /** The channel on which its owner, who does not know, is told of the removal. */
  readonly tell?: string;
}

/** A person sets a status of his own, or drops it. */
export interface StatusWrite {
  readonly kind: 'status';
  readonly user: string;
  /** The fact to write; `undefined` removes it. */
  readonly value?: string;
}

/**
 * No fact changes: a deadline has passed, the user was active, is gone for good, or went while Redis
 * had lost his record.
 */
export interface Reevaluation {
  readonly kind: 'look';
  readonly user: string;
  readonly reason: 'time' | 'active' | 'gone' | 'lost';
}

/** A socket joins a room, changes its info there, or leaves. */
export interface RoomWrite {
  readonly kind: 'room';
  readonly room: string;
  readonly user: string;
  readonly socket: string;
  /** JSON text; `undefined` leaves. */
  readonly info?: string;
  readonly owner?: string;
  readonly restoring?: boolean;
}

/** What a transaction can do. */
export type PresenceWrite = SocketWrite | StatusWrite | Reevaluation | RoomWrite;

/** True for what was there before and got lost; such changes travel apart from others. */
export function isRestoring(change: PresenceWrite): boolean {
  return (change.kind === 'socket' || change.kind === 'room') && change.restoring === true;
}

/** True for what changes the facts this process's node answers for; that it was lost must show in its lease. */
export function isLocalWrite(change: PresenceWrite): boolean {
  return (change.kind === 'socket' || change.kind === 'room') && change.owner === undefined;
}

/** The change that removes what stands as `owned` in the set of `owner`: a pair, or a triple with a room. */
export function createRemoval(owned: string, owner: string, grace: number): SocketWrite | RoomWrite {
  const [user, rest = ''] = splitIds(owned);
  const [socket, room] = splitIds(rest);
  return room === undefined
    ? { kind: 'socket', user, socket, owner, grace }
    : { kind: 'room', room, user, socket, owner };
}
