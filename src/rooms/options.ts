import type { HistoryOptions } from '../history/append.js';
import type { Position } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { Status } from '../presence/types.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';

/** What to do with a peer that reads more slowly than it is written to. */
export type SlowPeerPolicy = 'close' | 'drop';

/** Options of a room service. */
export interface RoomServiceOptions {
  /** What carries the messages. */
  pubsub: PubSubService;
  /** Who is in which room, and online at all. Without it rooms are for messages only. @default none */
  presence?: PresenceService;
  /**
   * What rooms keep of their messages, so that whoever comes back gets what he missed; `false` for
   * nothing. What is sent to users is kept alike.
   * @default the last 100 for an hour
   */
  history?: HistoryOptions | false;
  /** Use sharded channels (Redis 7), which spread over the nodes of a Cluster. @default false */
  sharded?: boolean;
  /** How many bytes may wait for a peer before it counts as slow. @default 1_048_576 */
  maxBufferedBytes?: number;
  /**
   * What happens to a slow peer: `close` ends its connection with a code that says "come back", and it gets
   * what it missed then; `drop` leaves messages out, and tells it so when it has caught up.
   * @default 'close'
   */
  slowPeers?: SlowPeerPolicy;
  /** Gets every failure that no caller waits for. */
  onError?: ErrorListener;
  /** Where time comes from; for tests. @default the system's */
  clock?: Clock;
}

/** Whose peer is attached. */
export interface AttachOptions {
  /** The user's id. */
  userId: string;
  /** The server's own id for the connection; another one for every connection. @default a random one */
  socketId?: string;
  /** Its status at first. @default 'online' */
  status?: Status;
  /** What to show of the socket in `PresenceData.sockets`. @default nothing */
  meta?: Json;
  /** Begin with what was sent to the user after this position. @default with what comes */
  since?: Position;
}

/** Options of `join`. */
export interface JoinOptions {
  /** Begin after this position, or with the oldest message that is kept. @default with what comes */
  since?: Position | 'earliest';
  /** Begin with so many of the last messages, up to 1,000; not together with `since`. @default 0 */
  last?: number;
  /** Shown to others in the room. @default null */
  info?: Json;
  /** Send the peer who is in the room, and what changes there. @default false */
  members?: boolean;
}

/** What `join` resolves with. */
export interface JoinResult {
  /**
   * After which message the peer's first one of this room comes. A peer that got messages meanwhile is
   * further than that. `undefined` where there is no history, and with `since: 'earliest'` perhaps, until
   * the first message tells.
   */
  readonly position: Position | undefined;
}

/** Options of `broadcast` and `sendToUser`. */
export interface BroadcastOptions {
  /** The id of a socket that is not to get it. @default none */
  except?: string;
  /** The user who says it. @default nobody: the server */
  from?: string;
  /**
   * Do not store the message in the room's history: a peer that is away never gets it, and its loss is no
   * discontinuity.
   * @default false
   */
  transient?: boolean;
  /** Makes repetitions one message; only for messages that go into a history. See `PublishOptions`. @default none */
  idempotencyKey?: string;
}

/** Options of `detach`. */
export interface DetachOptions {
  /** No grace: the user logged out. @default false */
  immediate?: boolean;
  /**
   * Leave the socket to `PresenceService.close({ handoff: true })`: this process ends, and the client is
   * about to reconnect to another. @default false
   */
  handoff?: boolean;
}

/** Counters of a room service since it was made, and gauges of what is there now. */
export interface RoomServiceStats {
  /** Attached peers. */
  sockets: number;
  /** Users that they belong to. */
  users: number;
  /** Rooms that at least one of them is in. */
  rooms: number;
  /** Messages handed to peers. */
  delivered: number;
  /** Messages that slow peers did not get. */
  dropped: number;
  /** Peers closed because they were too slow. */
  closedSlow: number;
}
