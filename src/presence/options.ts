import type { Clock } from '../internal/clock.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { RedisClient } from '../redis/detect.js';

/** Options of a presence service. */
export interface PresenceOptions {
  /** Your Redis client. It stays yours: rollcall connects it if nobody has, and never closes it. */
  redis: RedisClient;
  /** What all keys and channels begin with, inside their hash tag. @default 'rollcall' */
  prefix?: string;
  /**
   * Into how many partitions users and rooms are divided, each in one slot of a Cluster. The same in all
   * services under one prefix, and for good: another number needs another prefix. 1 to 1,024.
   * @default 64 on a Cluster, otherwise 1
   */
  partitions?: number;
  /** The stable part of this process's node id. @default the host's name */
  nodeName?: string;
  /**
   * For how many ms a user whose last socket went stays as he was before he is `offline`. 5 to 10
   * seconds hide a page reload.
   * @default 0
   */
  grace?: number;
  /** For how many ms a process that stops renewing is taken to be alive. @default 30_000 */
  lease?: number;
  /** How often leases and graces are looked at, in ms. @default 1_000 */
  sweepInterval?: number;
  /**
   * The statuses from the one that wins over all others among a user's sockets to the one that
   * yields. Others come after them. Use the same list in all processes.
   * @default ['busy', 'online', 'away']
   */
  statusPriority?: readonly string[];
  /**
   * After how many ms without `touch` or `setPresence` an `online` socket counts as `away`, until the
   * next one. 0 for never.
   * @default 0
   */
  idleAfter?: number;
  /** How often, in ms, `touch` writes `lastSeen` down at most. @default 60_000 */
  touchInterval?: number;
  /** How many sockets one user may have. @default 100 */
  maxSocketsPerUser?: number;
  /** The largest `meta` of a socket and `info` in a room, in bytes of JSON. @default 4_096 */
  maxMetaBytes?: number;
  /** After how many ms without any process looking after them the keys of users vanish. @default 3_600_000 */
  keyTtl?: number;
  /** For how many ms it is remembered when an offline user was last seen. @default 604_800_000, 7 days */
  lastSeenTtl?: number;
  /**
   * The share of all nodes that may die at once and be believed at once; see the guide on presence.
   * @default 0.5
   */
  maxFailureRatio?: number;
  /** Within how many ms every call settles as done, failed or unknown. @default 5_000 */
  timeout?: number;
  /** Gets every failure that no caller waits for. */
  onError?: ErrorListener;
  /** Where time and chance come from; for tests. @default the system's */
  clock?: Clock;
}

/** Options of `removeSocket`. */
export interface RemoveSocketOptions {
  /** No grace: the user logged out. @default false */
  immediate?: boolean;
}

/** Options of `setStatus`. */
export interface SetStatusOptions {
  /** When the status ends by itself; a number counts milliseconds since the epoch. @default never */
  until?: Date | number;
}

/** Options of `getPresence` and `getMultiplePresence`. */
export interface ReadOptions {
  /** Show who is `invisible`, and on which sockets. @default false */
  reveal?: boolean;
}

/** Options of `watch` and `watchRoom`. */
export interface WatchOptions {
  /** Ends the watch when it aborts. */
  signal?: AbortSignal;
}

/** Options of `listOnlineUsers`. */
export interface OnlineUsersOptions {
  /** How many users one command fetches. @default 1_000 */
  pageSize?: number;
  /** Ends the iteration with the signal's reason. */
  signal?: AbortSignal;
}

/** Options of `close`. */
export interface ClosePresenceOptions {
  /**
   * The clients are about to reconnect to another process: leave their users as they are for the
   * grace, of at least 10 seconds. @default false
   */
  handoff?: boolean;
}

/** Counters of a presence service since it was made, and gauges of what is there now. */
export interface PresenceStats {
  /** This process's node id; another one after every lost lease. */
  nodeId: string;
  /** Sockets this process owns. */
  sockets: number;
  /** Changes to sockets that were asked for. */
  changes: number;
  /** Transactions they travelled in. */
  transactions: number;
  /** Changes that wait to be sent. */
  queued: number;
  /** Dead nodes whose remains this process removed. */
  reapedNodes: number;
  /** Sockets among them. */
  reapedSockets: number;
  /** Own sockets written again after Redis lost them. */
  restored: number;
  /** Nodes whose lease has run out, but who are not taken for dead yet: their users may be gone. */
  suspectNodes: string[];
}
