import type { Json } from '../internal/codec.js';

/**
 * Status of a user or a socket: one of these, or a word of the application. `offline`: a user without sockets.
 * `invisible`: appears offline by choice, except to reads with `reveal`.
 */
export type Status = 'online' | 'away' | 'busy' | 'offline' | 'invisible' | (string & {});

/** One live connection of a user. */
export interface SocketPresence {
  /** The server's id of the connection. */
  socketId: string;
  /** The process that owns the socket; `*` for a socket without a process (`ttl`). */
  nodeId: string;
  /** The user's status is derived from those of all their sockets. */
  status: Status;
  /** When the socket was first registered, by Redis's clock as its owner estimates it. */
  connectedAt: Date;
  /** As given to `setPresence`. */
  meta?: Json;
}

/**
 * A status that a user has set for themselves (`setStatus`).
 *
 * @typeParam StatusMeta - Type of `meta`.
 */
export interface OwnStatus<StatusMeta extends Json = Json> {
  /** `null`: the status is that of their sockets. */
  status: Status | null;
  /** When it ends. Never, if missing. */
  until?: Date;
  /** As given to `setStatus`. */
  meta?: StatusMeta;
  /** The status that follows at `until`. If missing, none does: the sockets decide. */
  next?: OwnStatus<StatusMeta>;
}

/**
 * The presence of a user.
 *
 * @typeParam StatusMeta - Type of `ownStatus.meta`.
 */
export interface PresenceData<StatusMeta extends Json = Json> {
  /** The user. */
  userId: string;
  /** `offline` if the user has no socket and no grace is running. */
  status: Status;
  /**
   * Last change of the record. For an offline user: removal of their last socket. The epoch (0) for a user who hides it
   * (`setLastSeenVisible`), except with `reveal`, and in the results of calls that change the user.
   */
  lastSeen: Date;
  /** True if the user hides `lastSeen` from others. Only with `reveal`, and in the results of calls that change the user. */
  lastSeenHidden?: boolean;
  /** The ids of `sockets`. */
  socketIds: string[];
  /** The user's sockets, oldest first. Empty while a grace is running. */
  sockets: SocketPresence[];
  /** Grows with every change, also across expiry and loss of data. */
  version: number;
  /**
   * The status of `setStatus`, until when, and what follows. Missing without one. Of a user who is offline or invisible, and for
   * `invisible` in `next`: only with `reveal`, and in the results of calls that change the user.
   */
  ownStatus?: OwnStatus<StatusMeta>;
}

/** A change of a user's status. */
export interface PresenceChange {
  /** The user. */
  userId: string;
  /** The status after the change. */
  status: Status;
  /** The status before the change. */
  previous: Status;
  /** As in {@link PresenceData}. */
  lastSeen: Date;
  /** The version of the record after the change. */
  version: number;
  /** Number of the user's sockets after the change. */
  sockets: number;
}

/** Known presence of a watched user. */
export interface WatchedPresence {
  /** The user. */
  userId: string;
  /** The last status read or received. */
  status: Status;
  /** As in {@link PresenceData}. */
  lastSeen: Date;
  /** As in {@link PresenceData}. */
  version: number;
  /** The number of the user's sockets at their last change of status. */
  sockets: number;
}

/** A user in a room, with at least one socket. */
export interface RoomMember {
  /** The user. */
  userId: string;
  /** The `info` of the user's latest socket in the room. */
  info: Json;
  /** Number of the user's sockets in the room. */
  sockets: number;
  /** Grows with every change of this member. */
  version: number;
}

/** A user joined a room with their first socket, left with their last, or changed their info or sockets. */
export interface RoomChange extends RoomMember {
  /** The kind of change. */
  type: 'join' | 'leave' | 'update';
  /** The room. */
  room: string;
}
