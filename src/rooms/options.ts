import type { HistoryOptions } from '../history/append.js';
import type { Position } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { Status } from '../presence/types.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';

/** Policy for a slow consumer: a peer that reads more slowly than messages arrive. */
export type SlowPeerPolicy = 'close' | 'drop';

/** Options of a room service. */
export interface RoomServiceOptions {
  /** Carries the messages. */
  pubsub: PubSubService;
  /** Tracks users and room members. @default none: rooms carry messages only */
  presence?: PresenceService;
  /**
   * How many messages of each room and user are stored, and for how long. Clients that reconnect receive those
   * they missed; `false` stores none. @default the last 100 for an hour
   */
  history?: HistoryOptions | false;
  /** Use sharded channels (Redis 7), which are spread over the nodes of a Cluster. @default false */
  sharded?: boolean;
  /** Bytes that may wait for a peer before it counts as slow. @default 1_048_576 */
  maxBufferedBytes?: number;
  /**
   * Policy for slow peers. `close` ends the connection with 4508; the client reconnects and receives the
   * messages it missed. `drop` drops messages, and sends the peer a discontinuity once it has caught up.
   * @default 'close'
   */
  slowPeers?: SlowPeerPolicy;
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
  /** Source of time; for tests. @default the system's */
  clock?: Clock;
}

/** Options of `attach`. */
export interface AttachOptions {
  /** Id of the user. */
  userId: string;
  /** Id of the connection, unique. @default a random one */
  socketId?: string;
  /** First status of the socket. @default 'online' */
  status?: Status;
  /** Shown with the socket in `PresenceData.sockets`. @default nothing */
  meta?: Json;
  /** Sends the messages to the user after this position first. @default only new messages */
  since?: Position;
}

/** Options of `join`. */
export interface JoinOptions {
  /** Sends the messages after this position, or all stored ones, first. @default only new messages */
  since?: Position | 'earliest';
  /** Sends this many of the last messages first, up to 1,000; not together with `since`. @default 0 */
  last?: number;
  /** Shown to the other members of the room. @default null */
  info?: Json;
  /** Sends the peer the room's members and their changes. @default false */
  members?: boolean;
}

/** Result of `join`. */
export interface JoinResult {
  /**
   * Position in the room's history, after the messages that the peer has received. `undefined` without history;
   * with `since: 'earliest'` possibly until the first message.
   */
  readonly position: Position | undefined;
}

/** Options of `broadcast` and `sendToUser`. */
export interface BroadcastOptions {
  /** Id of a socket that must not receive the message. @default none */
  except?: string;
  /** Id of the user who sends it. @default none: the server */
  from?: string;
  /**
   * Does not store the message: a disconnected peer never receives it, and no discontinuity reports its loss.
   * @default false
   */
  transient?: boolean;
  /** Publishes repeated calls once; only with history. See `PublishOptions`. @default none */
  idempotencyKey?: string;
}

/** Options of `detach`. */
export interface DetachOptions {
  /** Skips the grace period: the user has logged out. @default false */
  immediate?: boolean;
  /**
   * Leaves the socket to `PresenceService.close({ handoff: true })`: this process ends, and the client
   * reconnects to another one. @default false
   */
  handoff?: boolean;
}

/** Counters since the start, and gauges of the current state. */
export interface RoomServiceStats {
  /** Attached peers. */
  sockets: number;
  /** Users of the attached peers. */
  users: number;
  /** Rooms with at least one attached peer. */
  rooms: number;
  /** Messages sent to peers. */
  delivered: number;
  /** Messages that slow peers did not receive. */
  dropped: number;
  /** Peers closed as slow consumers. */
  closedSlow: number;
}
