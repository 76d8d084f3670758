import type { HistoryOptions } from '../history/append.js';
import type { Position } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { ForgetOptions, ForgottenPresence } from '../presence/options.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { Status } from '../presence/types.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';

/** Policy for a slow consumer: a peer that reads more slowly than messages arrive. */
export type SlowPeerPolicy = 'close' | 'drop';

/** Options of a room service. */
export interface RoomServiceOptions {
  /** Carries the messages. */
  pubsub: PubSubService;
  /** Tracks users and room members. Without it rooms carry messages only. @default none */
  presence?: PresenceService;
  /**
   * Stored messages of each room and user, for clients that reconnect; `false` stores none. @default the last
   * 100 for an hour
   */
  history?: HistoryOptions | false;
  /** Use sharded channels (Redis 7). @default false */
  sharded?: boolean;
  /**
   * Time in ms that a user stays a member of a room after their last socket in it has gone, also with its process. If they
   * join again in that time, other members see nothing. `leave`, `kick`, `disconnectUser`, `forget` and a logout end it at
   * once. Needs `presence`; the same in all processes. With `lease` at most a third of `keyTtl`. @default 0
   */
  grace?: number;
  /**
   * Users can be kicked with a ban. Each join then asks Redis for a ban, in one more round trip. The same in all processes.
   * @default false
   */
  bans?: boolean;
  /** Bytes that may wait for a peer before it is slow. @default 1_048_576 */
  maxBufferedBytes?: number;
  /**
   * Policy for slow peers. `close` ends the connection with 4508: clients reconnect and recover. `drop` drops
   * messages, and sends a discontinuity once the peer has caught up. @default 'close'
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
  /** Id of the connection; unique. @default a random one */
  socketId?: string;
  /**
   * Id of the client, the same on each of its connections: an event with `except` of an earlier connection is not sent
   * to a later one. Known to the client only. @default the socket's id
   */
  clientId?: string;
  /** First status of the socket. @default 'online' */
  status?: Status;
  /** Shown with the socket in `PresenceData.sockets`. @default nothing */
  meta?: Json;
  /** First send the user's messages after this position. @default only new messages */
  since?: Position;
  /**
   * Whether this peer may see a user, in lists, changes and counts of members, typing indicators and watches: true or
   * false, at once. It is asked for each frame, so an answer applies from the next frame on. Messages are not filtered. If it
   * throws, the user is hidden. @default every user
   */
  visible?: (userId: string) => boolean;
}

/** Options of `join`. */
export interface JoinOptions {
  /** First send the messages after this position, or every stored one. @default only new messages */
  since?: Position | 'earliest';
  /** First send this many of the last messages, up to 1,000; not together with `since`. @default 0 */
  last?: number;
  /** Shown to the other members of the room. @default null */
  info?: Json;
  /**
   * Send the room's members, in frames of up to 250, and their changes. `'count'`: only the number of members,
   * at every change. In a joined room it replaces the earlier value, and `false` ends it. @default false
   */
  members?: boolean | 'count';
}

/** Result of `join`. */
export interface JoinResult {
  /**
   * Position in the room's history when `join` resolves: messages sent to the peer in the meantime are
   * included. `undefined` without history; with `since: 'earliest'` possibly until the first message.
   */
  readonly position: Position | undefined;
}

/** Options of `broadcast` and `sendToUser`. */
export interface BroadcastOptions {
  /** Id of a socket or client that must not receive the message, also after it has reconnected. @default none */
  except?: string;
  /** Id of the user who sends it. @default none: the server sends it */
  from?: string;
  /**
   * Do not store the message: a disconnected peer never receives it, and its loss is no discontinuity. @default
   * false
   */
  transient?: boolean;
  /** Publishes repeated calls once; see `PublishOptions`. Only with history. @default none */
  idempotencyKey?: string;
}

/** A question of the new user to `IdentifyOptions.authorize`. */
export type IdentifyRequest =
  /** Stay in a room. */
  | {
      /** The kind of request. */
      readonly action: 'join';
      /** The room. */
      readonly room: string;
    }
  /** Go on seeing the members of a room. A refusal does not refuse the room. */
  | {
      /** The kind of request. */
      readonly action: 'members';
      /** The room. */
      readonly room: string;
      /** True: only the number of members. */
      readonly count: boolean;
    }
  /** Go on watching the presence of one user. */
  | {
      /** The kind of request. */
      readonly action: 'watch';
      /** The watched user. */
      readonly userId: string;
    };

/** Options of `identify`. */
export interface IdentifyOptions {
  /** Status of the socket for the new user. @default as before */
  status?: Status;
  /** Shown with the socket in `PresenceData.sockets`. @default nothing */
  meta?: Json;
  /**
   * For a socket that a server of rollcall serves: what `authorize`, handlers and hooks receive as the user from now on, as if
   * `authenticate` had returned it. `status` and `meta` are those of these options. @default an object with only `userId`
   */
  user?: object;
  /**
   * Asked once for each room, each list of members and each watched user; only `true` keeps it. It is asked before anything changes, and must not
   * call this socket's `identify`. @default the server's `authorize`; everything is kept if no server of rollcall serves the
   * socket
   */
  authorize?: (request: IdentifyRequest) => boolean | Promise<boolean>;
}

/** Options of `leave`. */
export interface LeaveOptions {
  /** Notify the peer. @default true */
  notify?: boolean;
}

/** Options of `kick`. */
export interface KickOptions {
  /** For the user: their client shows it. Required with `ban`. @default '' */
  reason?: string;
  /** For how many ms the user cannot join again, 1 to 31,536,000,000 (a year). Needs the option `bans`. @default no ban */
  ban?: number;
}

/** Options of `revoke`: at least one of them. */
export interface RevokeOptions {
  /** Users whose presence the user may no longer watch; at most 1,000. @default none */
  watch?: Iterable<string>;
  /** Rooms whose members, or their number, the user may no longer see; at most 1,000. @default none */
  members?: Iterable<string>;
}

/** Options of `RoomService.forget`. */
export interface ForgetUserOptions extends ForgetOptions {
  /**
   * Rooms in whose histories the messages from the user are removed, as by `removeMessages`. Their names are yours to know:
   * nothing in Redis leads from a user to these rooms. @default none: the messages stay
   */
  messagesIn?: Iterable<string>;
}

/** Result of `RoomService.forget`. */
export interface ForgottenUser extends ForgottenPresence {
  /** There were stored messages to the user, or their last position. */
  readonly messages: boolean;
  /** Number of messages from the user that were removed in `messagesIn`. */
  readonly removedMessages: number;
}

/** Options of `detach`. */
export interface DetachOptions {
  /** Skip the grace period, because the user has logged out. @default false */
  immediate?: boolean;
  /**
   * Leave the socket to `PresenceService.close({ handoff: true })`: the client reconnects to another process.
   * @default false
   */
  handoff?: boolean;
}

/** Counters since the start, and current gauges. */
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
