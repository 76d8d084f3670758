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

/** The part of a presence service that the tracker uses. */
export type TrackedPresence = Pick<
  PresenceService,
  'setPresence' | 'removeSocket' | 'watch' | 'join' | 'leave' | 'touch'
>;

/** The part of a pub/sub service that the tracker uses. */
export type RelayedPubSub = Pick<PubSubService, 'subscribe' | 'publish'>;

/** The user of a socket. */
export interface SocketIdentity {
  /** The user's id. */
  userId: string;
  /** Data stored with the socket, shown in `PresenceData.sockets`. */
  meta?: Json;
  /** Initial status of the socket. @default 'online' */
  status?: Status;
}

/** A client's request to watch a user, or to change its own status. */
export type PresenceTrackerRequest =
  /** Watch the presence of one user. */
  | {
      /** The kind of request. */
      readonly action: 'watch';
      /** The user to watch. */
      readonly userId: string;
    }
  /** Change the status of this socket. */
  | {
      /** The kind of request. */
      readonly action: 'status';
      /** The new status. */
      readonly status: string;
    };

/** Options of {@link trackPresence}. */
export interface TrackPresenceOptions<S extends SocketLike = SocketLike> {
  /** The service that registers the sockets. Close it after the tracker. */
  presence: TrackedPresence;
  /** The service behind `subscribe`, `relay` and `revoke`. @default none: they reject with `UnsupportedError` */
  pubsub?: RelayedPubSub;
  /**
   * Returns the user of a socket; runs after your `connection` handlers. With `undefined` the socket is
   * anonymous: it is not registered, but `watch`, `subscribe` and `relay` work.
   * @default `socket.data.user` if it is a string or number, or its `id` if it is an object
   */
  identify?: (socket: S) => string | SocketIdentity | null | undefined;
  /**
   * Decides whether a client may watch a user (once for each user) or change its status. Only `true` allows it.
   * @default sockets with a user may watch every user and set their own status; anonymous sockets may do
   * nothing
   */
  authorize?: (socket: S, request: PresenceTrackerRequest) => boolean | Promise<boolean>;
  /**
   * Whether a socket may see a watched user: true or false, at once. A hidden user looks like one who was never seen.
   * Asked for each event, so an answer applies from the next event on. If it throws, the user is hidden. @default every user
   */
  visible?: (socket: S, userId: string) => boolean;
  /**
   * Mirrors Socket.IO rooms as presence rooms: all rooms, or those for which the function returns true or
   * another name, but never a socket's own room. The namespaces of one presence service share the presence
   * rooms.
   * @default false
   */
  rooms?: boolean | ((room: string, socket: S) => boolean | string);
  /** Counts every event of a client as user activity; see `PresenceService.touch`. @default true */
  touch?: boolean;
  /**
   * Time in ms that a disconnected socket stays registered with `connectionStateRecovery`; at most its
   * `maxDisconnectionDuration`. From 0 to 86,400,000. @default 30_000
   */
  recoveryGrace?: number;
  /** Users that one socket may watch. @default 1_000 */
  maxWatched?: number;
  /** Channels that one socket may subscribe to. @default 100 */
  maxSubscriptions?: number;
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
  /** Source of time and randomness, for tests. @default the system's */
  clock?: Clock;
}

/**
 * Presence of a watched user, in the acknowledgement of `presence:watch`, in `presence:changed`, and in the lists of
 * `presence:changes`.
 */
export interface PresencePayload {
  /** The user's id. */
  userId: string;
  /** `offline` for an unknown user. */
  status: Status;
  /** In ms since the epoch; 0 for an unknown user. */
  lastSeen: number;
  /** Increases with each change; 0 for an unknown user. */
  version: number;
  /** The watch has ended, because the socket may no longer see the user; whatever the version is. */
  code?: 'FORBIDDEN';
}

/** Second argument of each event of a channel, after the message. */
export interface ChannelEventContext {
  /** The channel's name. */
  channel: string;
  /** The message's position, to pass as `since` later; only with history. */
  position?: Position;
}

/** The payload of `<event>:discontinuity`. */
export interface DiscontinuityPayload {
  /** The channel's name. */
  channel: string;
  /** The reason; see `Discontinuity`. */
  reason: string;
  /** No message before this time is missing; in ms since the epoch. */
  since: number;
  /** True if all missing messages have been sent since. */
  recovered: boolean;
}

/** Options of `subscribe`. */
export interface SocketSubscribeOptions {
  /** Name of the Socket.IO event that carries the messages. @default the channel's name */
  event?: string;
  /** Last position of the client; see `PubSubService.subscribe`. @default live messages only */
  since?: Position | 'latest' | 'earliest';
  /** The channel is sharded. @default as in the channel's definition; otherwise false */
  sharded?: boolean;
}

/** Options of `relay`. */
export interface RelayOptions extends SocketSubscribeOptions {
  /** Sends only to the sockets in these Socket.IO rooms. @default all sockets of the namespace */
  room?: string | string[];
}

/** Options of `revoke`. */
export interface RevokeWatchesOptions {
  /** Users whose presence the user may no longer see; at most 1,000. */
  watch: Iterable<string>;
}

/** Gauges of a presence tracker, for this process. */
export interface PresenceTrackerStats {
  /** Connected sockets, anonymous ones included. */
  sockets: number;
  /** Disconnected sockets that may be recovered. */
  recovering: number;
  /** Users that at least one socket watches. */
  watched: number;
  /** Subscriptions of sockets, plus relays. */
  subscriptions: number;
}

/** Result of {@link trackPresence}. */
export interface PresenceTracker<S extends SocketLike = SocketLike> {
  /**
   * Sends `presence:changed` to the socket when the presence of these users changes, or `presence:changes` if its
   * client has asked for lists. Resolves with their current presence. Does not call `authorize`.
   *
   * @throws `InvalidArgumentError` for invalid ids, or a socket that is not connected here; `LimitError` beyond
   * `maxWatched`; `ConnectionError` or `TimeoutError` while Redis is unavailable.
   */
  watch(socket: S, userIds: Iterable<string>): Promise<PresencePayload[]>;
  /** Stops sending changes of these users. @throws `InvalidArgumentError` as `watch` does. */
  unwatch(socket: S, userIds: Iterable<string>): Promise<void>;
  /**
   * Changes the status of a socket. Unlike with `presence.setPresence`, the status survives a recovery.
   *
   * @throws `InvalidArgumentError` for an invalid status or an anonymous socket; and as `setPresence` does.
   */
  setStatus(socket: S, status: Status): Promise<void>;
  /**
   * Calls the option `identify` again, after your code has changed `socket.data.user` for example: a log-in, a log-out or another
   * account. The new user gets the socket and its rooms before the old one's is removed, without grace. Watches that `authorize`
   * refuses for the new user end: resolves with their users. Without effect for the same user. Subscriptions and Socket.IO
   * rooms are yours: end those that the new user may not have.
   *
   * @throws `InvalidArgumentError` for an invalid identity, or a socket that is not connected here; and as `setPresence` does.
   * If the new user cannot be registered, nothing has changed; if the old one's removal fails, it is repeated.
   */
  identify(socket: S): Promise<string[]>;
  /**
   * Ends the watches of a user who may no longer see others, on all processes and in all namespaces with the same `pubsub`. Their sockets
   * receive `presence:changed` or `presence:changes` with `code: 'FORBIDDEN'`. Change the answer of `authorize` first: it is asked with
   * the next `presence:watch`, and when a socket is recovered. A user that the viewer does not watch, and an unknown viewer, are no error. Resolves when
   * the message is published.
   *
   * @throws `InvalidArgumentError` for an invalid id or option; `UnsupportedError` without `pubsub`; and as `PubSubService.publish` does.
   * Repeating the call is safe.
   */
  revoke(userId: string, options: RevokeWatchesOptions): Promise<void>;
  /**
   * Sends each message of a channel to the socket, as `event` with the message and a
   * {@link ChannelEventContext}. Gaps are sent as `<event>:discontinuity`. The subscription ends with the
   * connection: subscribe in the `connection` handler, also for a recovered socket. If the socket disconnects
   * meanwhile, resolves with an ended subscription.
   *
   * @throws `InvalidArgumentError` for an invalid channel, event or position; `LimitError` beyond
   * `maxSubscriptions`; `UnsupportedError` without `pubsub`; and as `PubSubService.subscribe` does.
   */
  subscribe(
    socket: S,
    channel: ChannelLike<never, unknown>,
    options?: SocketSubscribeOptions,
  ): Promise<Subscription>;
  /**
   * Like `subscribe`, for all sockets of this process in the namespace or in some rooms. Each message is
   * encoded once. Call it in every process.
   *
   * @throws as `subscribe` does.
   */
  relay(channel: ChannelLike<never, unknown>, options?: RelayOptions): Promise<Subscription>;
  /** Returns the current gauges. */
  stats(): PresenceTrackerStats;
  /**
   * Removes listeners, watches and subscriptions, and removes the sockets from presence. `handoff` leaves the
   * sockets to `presence.close({ handoff: true })`. Repeated calls return the same promise.
   */
  close(options?: { handoff?: boolean }): Promise<void>;
  /** Calls `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
