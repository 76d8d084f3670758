import type { Position } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { Status } from '../presence/types.js';
import type { ChannelLike } from '../pubsub/channel.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type { SocketLike } from './socket-io-types.js';

/** What is used of a presence service. */
export type TrackedPresence = Pick<
  PresenceService,
  'setPresence' | 'removeSocket' | 'watch' | 'join' | 'leave' | 'touch'
>;

/** What is used of a pub/sub service. */
export type RelayedPubSub = Pick<PubSubService, 'subscribe'>;

/** Whose a socket is. */
export interface SocketIdentity {
  /** The user. */
  userId: string;
  /** Kept with the socket; only readers of `PresenceData` see it. */
  meta?: Json;
  /** The socket's status at first. @default 'online' */
  status?: Status;
}

/** What a client asks for: to `watch` a user, or to give his own socket another `status`. */
export type PresenceTrackerRequest =
  | { readonly action: 'watch'; readonly userId: string }
  | { readonly action: 'status'; readonly status: string };

/** Options of {@link trackPresence}. */
export interface TrackPresenceOptions<S extends SocketLike = SocketLike> {
  /** Where the sockets are registered. It stays yours: close it after the tracking. */
  presence: TrackedPresence;
  /** Whose channels `subscribe` and `relay` are about. @default none: these two throw */
  pubsub?: RelayedPubSub;
  /**
   * Whose a socket is; asked when all your `connection` handlers have run. With `undefined` it is an
   * anonymous socket: not registered, but the others work for it.
   *
   * @default `socket.data.user`, if that is a string, or an object whose `id` is one or a number
   */
  identify?: (socket: S) => string | SocketIdentity | null | undefined;
  /**
   * Decides whether a client may watch a user (called once for each user) or change its status. Only `true`
   * allows it.
   * @default sockets with a user may watch every user and set their own status; anonymous sockets may do nothing
   */
  authorize?: (socket: S, request: PresenceTrackerRequest) => boolean | Promise<boolean>;
  /**
   * Put sockets into presence rooms as they join and leave rooms of Socket.IO: all of them, or those for
   * which this returns true, or the name the room shall have. The sockets' own rooms are left out. Presence
   * rooms are common to all namespaces of one presence service. @default false
   */
  rooms?: boolean | ((room: string, socket: S) => boolean | string);
  /** Take every event of a client for a sign of life, see `PresenceService.touch`. @default true */
  touch?: boolean;
  /**
   * For how many ms a socket whose session may be recovered stays registered, where the server has
   * `connectionStateRecovery`; never longer than its `maxDisconnectionDuration`. @default 30_000
   */
  recoveryGrace?: number;
  /** How many users a socket may watch. @default 1_000 */
  maxWatched?: number;
  /** How many channels a socket may be subscribed to. @default 100 */
  maxSubscriptions?: number;
  /** Gets every failure that no caller waits for. */
  onError?: ErrorListener;
  /** Where time and chance come from; for tests. @default the system's */
  clock?: Clock;
}

/** How a watched user is: what `presence:watch` answers and `presence:changed` carries. */
export interface PresencePayload {
  /** Whose. */
  userId: string;
  /** `offline` also for somebody nobody knows. */
  status: Status;
  /** In ms since the epoch; 0 for somebody nobody knows. */
  lastSeen: number;
  /** The greater one is the newer one; 0 for somebody nobody knows. */
  version: number;
}

/** Comes after the message in each event of a channel. */
export interface ChannelEventContext {
  /** The channel. */
  channel: string;
  /** The message's place in the history, for `since`; only with history. */
  position?: Position;
}

/** What `<event>:discontinuity` carries. */
export interface DiscontinuityPayload {
  /** The channel. */
  channel: string;
  /** As in `Discontinuity`. */
  reason: string;
  /** Up to when all is known to be well, in ms since the epoch. */
  since: number;
  /** Everything that was missing has been sent after all. */
  recovered: boolean;
}

/** Options of `subscribe`. */
export interface SocketSubscribeOptions {
  /** The event that carries the messages. @default the channel's name */
  event?: string;
  /** As in `PubSubService.subscribe`: the last position the client has. */
  since?: Position | 'latest' | 'earliest';
  /** The name is a sharded channel. @default false */
  sharded?: boolean;
}

/** Options of `relay`. */
export interface RelayOptions extends SocketSubscribeOptions {
  /** Only to the sockets in these rooms of Socket.IO. @default all sockets of the namespace */
  room?: string | string[];
}

/** Gauges of a tracking. */
export interface PresenceTrackerStats {
  /** Connected sockets, anonymous ones included. */
  sockets: number;
  /** Sockets that are disconnected and may be recovered. */
  recovering: number;
  /** Users that are watched by somebody. */
  watched: number;
  /** Channels that sockets are subscribed to, each counted once per socket, and relays. */
  subscriptions: number;
}

/** What {@link trackPresence} returns. */
export interface PresenceTracker<S extends SocketLike = SocketLike> {
  /**
   * Sends `presence:changed` to the socket whenever the status of one of these users changes; resolves with
   * how they are now. What `presence:watch` does, unasked and without `authorize`.
   *
   * @throws `InvalidArgumentError` for bad ids or a socket that is not connected here;
   * `LimitError` over `maxWatched`; `ConnectionError`, `TimeoutError` while Redis is away.
   */
  watch(socket: S, userIds: Iterable<string>): Promise<PresencePayload[]>;
  /** No more of these users. @throws `InvalidArgumentError` as `watch` does. */
  unwatch(socket: S, userIds: Iterable<string>): Promise<void>;
  /**
   * Gives a socket another status. What is set by `presence.setPresence` itself is lost at a recovery.
   *
   * @throws `InvalidArgumentError` for a bad status or an anonymous socket, and as `setPresence` does.
   */
  setStatus(socket: S, status: Status): Promise<void>;
  /**
   * Sends every message of a channel to the socket, as `event` with the message and a
   * {@link ChannelEventContext}; gaps as `<event>:discontinuity`. Ends with the connection: begin again in
   * the `connection` handler, recovered or not. For a socket that has gone meanwhile it resolves with a
   * subscription that is over.
   *
   * @throws `InvalidArgumentError` for a bad channel, event or position; `LimitError` over
   * `maxSubscriptions`; `UnsupportedError` without `pubsub`; and as `PubSubService.subscribe` does.
   */
  subscribe(
    socket: S,
    channel: ChannelLike<never, unknown>,
    options?: SocketSubscribeOptions,
  ): Promise<Subscription>;
  /**
   * The same for all sockets of this process in the namespace, or in some rooms: encoded once for all.
   * Every process does it for its own sockets.
   *
   * @throws as `subscribe` does.
   */
  relay(channel: ChannelLike<never, unknown>, options?: RelayOptions): Promise<Subscription>;
  /** Gauges. */
  stats(): PresenceTrackerStats;
  /**
   * Lets go of everything: listeners, watches, subscriptions, and the sockets, which are removed; with
   * `handoff` they stay for `presence.close({ handoff: true })`. Idempotent, works detached.
   */
  close(options?: { handoff?: boolean }): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
