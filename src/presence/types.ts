import type { Json } from '../internal/codec.js';

/**
 * What a user, or one of his sockets, is up to: one of these, or a word of your own. `offline` is a
 * user without sockets; `invisible` one who looks so by his own wish, and is only ever revealed.
 */
export type Status = 'online' | 'away' | 'busy' | 'offline' | 'invisible' | (string & {});

/** One live connection of a user. */
export interface SocketPresence {
  /** The server's own id for the connection. */
  socketId: string;
  /** The process that owns it. */
  nodeId: string;
  /** Its status; the user's is derived from those of all his sockets. */
  status: Status;
  /** When it was first registered, by its owner's clock. */
  connectedAt: Date;
  /** What was given to `setPresence`, where something was. */
  meta?: Json;
}

/** What is known of a user. */
export interface PresenceData {
  /** Whose. */
  userId: string;
  /** `offline` when there is no socket left and no grace is running. */
  status: Status;
  /** When the record last changed; for a user who is offline, when his last socket went. */
  lastSeen: Date;
  /** The ids of `sockets`. */
  socketIds: string[];
  /** His sockets, oldest first. Empty while a grace is running. */
  sockets: SocketPresence[];
  /** Grows with every change, also over expiry and loss of data: the greater one is the newer one. */
  version: number;
}

/** A change of a user's status. */
export interface PresenceChange {
  /** Whose. */
  userId: string;
  /** The status now. */
  status: Status;
  /** The status before. */
  previous: Status;
  /** When the record changed; when he was last seen, for one who is offline now. */
  lastSeen: Date;
  /** The version of the record that the change led to. */
  version: number;
  /** How many sockets the user has now. */
  sockets: number;
}

/** What a watch knows of a user. */
export interface WatchedPresence {
  /** Whose. */
  userId: string;
  /** His status, as far as the watch has heard. */
  status: Status;
  /** As in {@link PresenceData}. */
  lastSeen: Date;
  /** As in {@link PresenceData}. */
  version: number;
  /** How many sockets he had when his status last changed. */
  sockets: number;
}

/** A user in a room, with at least one socket. */
export interface RoomMember {
  /** Who. */
  userId: string;
  /** What his latest socket gave as `info`. */
  info: Json;
  /** How many of his sockets are in the room. */
  sockets: number;
  /** Grows with every change of this member. */
  version: number;
}

/** Somebody came into a room with his first socket, left with his last, or shows another info. */
export interface RoomChange extends RoomMember {
  /** What happened. */
  type: 'join' | 'leave' | 'update';
  /** Where. */
  room: string;
}
