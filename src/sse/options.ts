import type { Position } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { Status } from '../presence/types.js';
import type { ChannelLike } from '../pubsub/channel.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { JoinOptions } from '../rooms/options.js';
import type { RoomService } from '../rooms/room-service.js';

/** Options of every stream. */
export interface StreamOptions {
  /**
   * Delay in ms before a client reconnects, from 1 to 86,400,000. Each connection's delay is up to half as much
   * more or less, and up to five times as much if the server ends the stream. @default 2_000
   */
  retry?: number;
  /**
   * Silence in ms after which the server sends a comment, so that proxies keep the connection. From 1 to
   * 86,400,000. @default 15_000
   */
  keepAliveInterval?: number;
  /** Ends the stream when it aborts, for shutdown: clients reconnect to another process. */
  signal?: AbortSignal;
  /** Additional headers of the response, for example Fastify's `reply.getHeaders()`. */
  headers?: Readonly<Record<string, string | number | readonly string[] | undefined>>;
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
  /** Source of time and randomness, for tests. @default the system's */
  clock?: Clock;
}

/** One channel of a stream. */
export interface StreamChannel {
  /** The channel: a name, or an instance of a definition. */
  channel: ChannelLike<never, unknown>;
  /**
   * Name of its events in the browser; `'message'` events reach `onmessage`. No line ends, no `$` at the start,
   * and not `open` or `error`, which EventSource uses. @default the channel's name
   */
  event?: string;
  /**
   * Start for a client without `Last-Event-ID`: after this position, with the next message, or with the oldest
   * stored one. @default 'latest'
   */
  since?: Position | 'latest' | 'earliest';
  /**
   * Last messages that a client without `Last-Event-ID` receives first, up to 1,000. Not together with `since`.
   * @default 0
   */
  last?: number;
  /**
   * False if the channel has no history; rollcall then does not read it. @default as in the channel's
   * definition; true for a channel given by name
   */
  history?: boolean;
  /** The channel is sharded (Redis 7). @default as in the channel's definition; otherwise false */
  sharded?: boolean;
}

/** Options of a stream of channels. */
export interface ChannelStreamOptions extends StreamOptions {
  /** The service that carries the messages. */
  pubsub: PubSubService;
  /** The channels, 1 to 100. */
  channels: readonly (ChannelLike<never, unknown> | StreamChannel)[];
  /**
   * Bytes that may wait for a slow consumer. With more, the stream ends with `SLOW_CONSUMER`, and the client
   * reconnects. @default 1_048_576
   */
  maxBufferedBytes?: number;
}

/** The reader of a stream of rooms. */
export interface StreamUser {
  /** The user's id. */
  userId: string;
  /** Initial status of this connection. @default 'online' */
  status?: Status;
  /** Data of the connection, shown in `PresenceData.sockets`. @default none */
  meta?: Json;
}

/** One room of a stream. */
export interface StreamRoom extends JoinOptions {
  /** The room's name. */
  room: string;
}

/** Options of a stream of rooms, with the reader as member, and of messages to the reader. */
export interface RoomStreamOptions extends StreamOptions {
  /** The room service. Its `maxBufferedBytes` and `slowPeers` apply. */
  rooms: RoomService;
  /** The reader. */
  user: StreamUser;
  /** Rooms to join, at most 99. @default none: only messages to the user */
  join?: readonly (string | StreamRoom)[];
  /** Users whose presence the stream reports. @default none */
  watch?: Iterable<string>;
  /** Whether the reader may see a user; see `AttachOptions.visible`. @default every user */
  visible?: (userId: string) => boolean;
}

/** Options of {@link eventStream} and {@link pipeEventStream}. */
export type EventStreamOptions = ChannelStreamOptions | RoomStreamOptions;

/** The end of a stream. */
export interface EventStreamEnd {
  /** One of the protocol's close codes; 1006 if the client disconnected. */
  readonly code: number;
  /** Explanation for developers; may be empty. */
  readonly reason: string;
}

/** A stream in progress. */
export interface EventStreamHandle {
  /** Resolves when the stream has ended and its subscriptions and memberships are released. Never rejects. */
  readonly closed: Promise<EventStreamEnd>;
  /**
   * Ends the stream. The client receives `$close` and reconnects, unless the page closes its EventSource.
   * Resolves as `closed` does. Repeated calls have no effect.
   *
   * @param code one of `CloseCode`; `SERVICE_RESTART` by default
   */
  close(code?: number, reason?: string): Promise<EventStreamEnd>;
}

/** A response whose body is a stream of events. */
export interface EventStreamResponse extends Response {
  /** The handle of the stream. */
  readonly events: EventStreamHandle;
}

/** The part of a Web-standard `Request` that rollcall reads. */
export interface WebRequest {
  /** `HEAD` is answered with headers only. */
  readonly method: string;
  /** May have a parameter `lastEventId`, for clients that cannot set headers. */
  readonly url: string;
  /** May have `Last-Event-ID`. */
  readonly headers: {
    /** The value of a header; null if it is missing. */
    get(name: string): string | null;
  };
  /** Aborts when the client disconnects. */
  readonly signal?: AbortSignal | null;
}
