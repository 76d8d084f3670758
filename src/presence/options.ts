import type { Clock } from '../internal/clock.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { RedisClient } from '../redis/detect.js';

/** Options of a presence service. */
export interface PresenceOptions {
  /** Your Redis client. rollcall connects it if it is not connected yet, and never closes it. */
  redis: RedisClient;
  /** Prefix of all keys and channels, inside their hash tag. @default 'rollcall' */
  prefix?: string;
  /**
   * How many partitions users and rooms are divided into; each is one slot of a Cluster. 1 to 1,024. All services
   * under one prefix need the same number, and it cannot be changed: another number needs another prefix.
   * @default 64 on a Cluster, otherwise 1
   */
  partitions?: number;
  /** The stable part of this process's node id. @default the host name */
  nodeName?: string;
  /**
   * For how many ms a user keeps their status after their last socket is removed, before they are `offline`. 5 to
   * 10 seconds hide a page reload.
   * @default 0
   */
  grace?: number;
  /** For how many ms a process that stops renewing its lease counts as alive. @default 30_000 */
  lease?: number;
  /** How often leases and graces are checked, in ms. @default 1_000 */
  sweepInterval?: number;
  /**
   * Statuses by priority, highest first. A user has the highest status among their sockets. Statuses that are not
   * listed rank below, in alphabetical order. Use the same list in all processes.
   * @default ['busy', 'online', 'away']
   */
  statusPriority?: readonly string[];
  /**
   * After how many ms without `touch` or `setPresence` an `online` socket counts as `away`, until the next call.
   * 0: never.
   * @default 0
   */
  idleAfter?: number;
  /** `touch` writes `lastSeen` at most once in this many ms. @default 60_000 */
  touchInterval?: number;
  /** How many sockets a user may have. `setPresence` rejects with `LimitError` beyond it. @default 100 */
  maxSocketsPerUser?: number;
  /** Maximum size of `meta` and of `info`, each in bytes of JSON. @default 4_096 */
  maxMetaBytes?: number;
  /** TTL of the keys, in ms. Living processes refresh it; it only removes keys that no process owns. @default 3_600_000 */
  keyTtl?: number;
  /** For how many ms the record (`lastSeen`) of an offline user is kept. @default 604_800_000, 7 days */
  lastSeenTtl?: number;
  /**
   * If more than this share of all nodes seems dead at once, their leases must stay expired for one more `lease`. A
   * fault of Redis or of the network is more likely then. 0 to 1; see "Crash detection" in the guide on presence.
   * @default 0.5
   */
  maxFailureRatio?: number;
  /** Deadline of every call, in ms. At the deadline the call rejects; its `outcome` is `failed` or `unknown`. @default 5_000 */
  timeout?: number;
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
  /** Source of time and random numbers, for tests. @default the system's */
  clock?: Clock;
}

/** Options of `removeSocket`. */
export interface RemoveSocketOptions {
  /** Skip the grace, because the user logged out. @default false */
  immediate?: boolean;
}

/** Options of `setStatus`. */
export interface SetStatusOptions {
  /** When the status ends by itself: a Date, or milliseconds since the epoch. @default never */
  until?: Date | number;
}

/** Options of `getPresence` and `getMultiplePresence`. */
export interface ReadOptions {
  /** Show `invisible` users and their sockets. @default false */
  reveal?: boolean;
}

/** Options of `watch` and `watchRoom`. */
export interface WatchOptions {
  /** Aborting it ends the watch. */
  signal?: AbortSignal;
}

/** Options of `listOnlineUsers`. */
export interface OnlineUsersOptions {
  /** How many users one command reads. @default 1_000 */
  pageSize?: number;
  /** Aborting it ends the iteration, which throws the signal's reason. */
  signal?: AbortSignal;
}

/** Options of `close`. */
export interface ClosePresenceOptions {
  /**
   * The clients are about to reconnect to another process: their users keep their status for the grace, or for 10
   * seconds if the grace is shorter. @default false
   */
  handoff?: boolean;
}

/** Counters of a presence service since its start, and current values. */
export interface PresenceStats {
  /** This process's current node id; it changes after every lost lease. */
  nodeId: string;
  /** Number of sockets this process owns. */
  sockets: number;
  /** Requested changes to sockets. */
  changes: number;
  /** Transactions that carried them. */
  transactions: number;
  /** Changes waiting to be sent. */
  queued: number;
  /** Dead nodes that this process removed. */
  reapedNodes: number;
  /** Sockets of dead nodes that this process removed. */
  reapedSockets: number;
  /**
   * False while the Redis client is closed or has stopped reconnecting: the lease of this process is not renewed, and
   * its users go offline when it expires.
   */
  renewing: boolean;
  /** Own sockets written again after Redis had lost them. */
  restored: number;
  /** Nodes whose lease has expired and that are not removed yet. Their users may be gone. */
  suspectNodes: string[];
}
