import type { Json } from '../codec.js';

/** What a user, or one of his sockets, is up to: one of these, or a word of your own. */
export type Status = 'online' | 'away' | 'busy' | 'offline' | (string & {});

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
  userId: string;
  status: Status;
  /** The status before. */
  previous: Status;
  lastSeen: Date;
  /** The version of the record that the change led to. */
  version: number;
  /** How many sockets the user has now. */
  sockets: number;
}
