import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { RedisClient } from '../redis/detect.js';

/** Options of a presence service. */
export interface PresenceOptions {
  /** Your Redis client. rollcall connects it if necessary, and never closes it. */
  redis: RedisClient;
  /** Prefix of all keys and channels, inside their hash tag. @default 'rollcall' */
  prefix?: string;
  /**
   * Number of partitions of users and rooms, 1 to 1,024; each is one slot of a Cluster. All services under one
   * prefix need the same number, which cannot be changed later. @default 64 on a Cluster, otherwise 1
   */
  partitions?: number;
  /** The stable part of this process's node id. @default the host name */
  nodeName?: string;
  /**
   * Time in ms that a user keeps their status after their last socket is removed, before they are `offline`. 5
   * to 10 seconds hide a page reload. @default 0
   */
  grace?: number;
  /** Time in ms that a process counts as alive after its last renewal. @default 30_000 */
  lease?: number;
  /** Interval in ms of checks of leases and graces. @default 1_000 */
  sweepInterval?: number;
  /**
   * Statuses by priority, highest first. A user has the highest status among their sockets; statuses that are
   * not listed rank below, in alphabetical order. The same list in all processes. @default ['busy', 'online',
   * 'away']
   */
  statusPriority?: readonly string[];
  /**
   * Time in ms without `touch` or `setPresence` after which an `online` socket counts as `away`, until the next
   * call; 0 for never. @default 0
   */
  idleAfter?: number;
  /** Minimum interval of writes of `lastSeen` by `touch`, in ms. @default 60_000 */
  touchInterval?: number;
  /** Maximum number of sockets of a user; `setPresence` rejects with `LimitError` beyond it. @default 100 */
  maxSocketsPerUser?: number;
  /** Maximum size of `meta` and of `info`, each in bytes of JSON. @default 4_096 */
  maxMetaBytes?: number;
  /** TTL of the keys, in ms. Living processes refresh it; only keys without an owner expire. @default 3_600_000 */
  keyTtl?: number;
  /** TTL of an offline user's record (`lastSeen`), in ms. @default 604_800_000, 7 days */
  lastSeenTtl?: number;
  /**
   * Maximum share of nodes, 0 to 1, that may die at once. With more, a fault of Redis or the network is more likely:
   * their leases must stay expired for another `lease`.
   * @default 0.5
   */
  maxFailureRatio?: number;
  /**
   * Caches the records that `getPresence` and `getMultiplePresence` have read. Each lookup first asks Redis which
   * records were written since the one before, so results are as current as without a cache; only a record that
   * expired or was evicted may be found for up to `maxAge` more. Results are frozen, because lookups share them. Not
   * on a Cluster (`UnsupportedError`).
   * @default no cache
   */
  lookupCache?: LookupCacheOptions;
  /**
   * Sockets belong to no process: each lives for this long after its last `setPresence` or `heartbeat`, from any process; 500 to
   * 86,400,000 ms. `setPresence` can set another `ttl`. See "Sockets without a process" in the guide on presence.
   * @default sockets belong to the process that registers them
   */
  socketTtl?: number;
  /**
   * False: nothing runs between calls, for processes that live for one request. No node, lease, sweep, subscription or
   * timer; every socket needs a TTL. Calls also end what is overdue in the partitions that they use. `close` is needed on a
   * Cluster only, where rollcall has connections of its own. @default true
   */
  background?: boolean;
  /** Deadline of every call, in ms; the call then rejects with an `outcome`. @default 5_000 */
  timeout?: number;
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
  /** Source of time and randomness, for tests. @default the system's */
  clock?: Clock;
}

/** Limits of a lookup cache. */
export interface LookupCacheOptions {
  /** Maximum number of users, at least 1. Beyond it, those cached first are removed. @default 10_000 */
  maxUsers?: number;
  /** Maximum age of a record in ms, 0 to 86,400,000. @default 60_000 */
  maxAge?: number;
}

/** Options of `setPresence`. */
export interface SetPresenceOptions {
  /**
   * The socket belongs to no process, and lives for this long after the last `setPresence` or `heartbeat` from any process;
   * 500 to 86,400,000 ms. @default the service's `socketTtl`
   */
  ttl?: number;
}

/** Options of `PresenceService.join`. */
export interface JoinRoomOptions {
  /**
   * Time in ms that the user stays a member after their last socket in the room was removed, also because its process died.
   * With `lease` at most a third of `keyTtl`. @default 0
   */
  grace?: number;
}

/** Options of `removeSocket`. */
export interface RemoveSocketOptions {
  /** Skip the grace, because the user logged out. @default false */
  immediate?: boolean;
}

/**
 * Options of `setStatus`.
 *
 * @typeParam StatusMeta - Type of `meta`.
 */
export interface SetStatusOptions<StatusMeta extends Json = Json> {
  /** When the status ends: a Date, or milliseconds since the epoch. @default never */
  until?: Date | number;
  /** Text or emoji for the status, for example. Reads show it; JSON, at most `maxMetaBytes`. @default none */
  meta?: StatusMeta;
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
  /** Users per command. @default 1_000 */
  pageSize?: number;
  /** Aborting it ends the iteration, which throws the signal's reason. */
  signal?: AbortSignal;
}

/** Options of `close`. */
export interface ClosePresenceOptions {
  /**
   * The clients reconnect to another process: their users keep their status for the grace, but at least 10
   * seconds. @default false
   */
  handoff?: boolean;
}

/** Counters since the start, and current gauges. */
export interface PresenceStats {
  /** Current node id; it changes after every lost lease. */
  nodeId: string;
  /** Sockets of this process. */
  sockets: number;
  /** Requested changes. */
  changes: number;
  /** Transactions with changes. */
  transactions: number;
  /** Changes that wait to be sent. */
  queued: number;
  /** Dead nodes that this process removed. */
  reapedNodes: number;
  /** Sockets of dead nodes that this process removed. */
  reapedSockets: number;
  /**
   * False while the Redis client is closed or has stopped reconnecting: the lease is not renewed, and the users
   * go offline when it expires.
   */
  renewing: boolean;
  /** Sockets written again after Redis had lost them. */
  restored: number;
  /** Nodes whose lease has expired, but not removed yet. Their users may be gone. */
  suspectNodes: string[];
}

/** Options of `forget`. */
export interface ForgetOptions {
  /**
   * Leave a connected user connected. Their presence and their rooms stay, because they are derived from the sockets. Call
   * `forget` again when the sockets are gone. @default false: their sockets are closed
   */
  keepSockets?: boolean;
  /** For the user's clients, whose connections are closed. @default '' */
  reason?: string;
}

/** Result of `PresenceService.forget`. */
export interface ForgottenPresence {
  /** The call removed a record, with its last-seen time. */
  readonly record: boolean;
  /** The call removed a status of their own, or the setting of `setLastSeenVisible`. */
  readonly status: boolean;
  /** Number of sockets that the call removed. */
  readonly sockets: number;
  /** Rooms that this call took the user out of. Living processes take their own sockets out, often before it does. */
  readonly rooms: readonly string[];
  /** Entries that are still in Redis; all 0 when presence has no entry of the user. */
  readonly remaining: {
    /** Sockets that were kept, or registered during the call. */
    readonly sockets: number;
    /**
     * Removals of sockets, which keep the sockets removed for a process that did not hear of it. A call after one `lease`
     * removes them; without one they expire.
     */
    readonly removals: number;
  };
}
