import type { Position } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { Status } from '../presence/types.js';
import type { ChannelLike } from '../pubsub/channel.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { JoinOptions } from '../rooms/options.js';
import type { RoomService } from '../rooms/room-service.js';

/** What every stream can be told. */
export interface StreamOptions {
  /**
   * After how many ms a client that lost its connection comes back; every connection is given its own, up
   * to a half more or less. One that the server ends is told up to five times as much. @default 2_000
   */
  retry?: number;
  /** After how many ms of silence a comment is sent, so that no proxy takes the connection for dead. @default 15_000 */
  keepAliveInterval?: number;
  /** Ends the stream when it aborts: this process shuts down, and clients are to come back elsewhere. */
  signal?: AbortSignal;
  /** More headers of the response; `reply.getHeaders()` of Fastify, say. */
  headers?: Readonly<Record<string, string | number | readonly string[] | undefined>>;
  /** Gets every failure that no caller waits for. */
  onError?: ErrorListener;
  /** Where time and chance come from; for tests. @default the system's */
  clock?: Clock;
}

/** One channel of a stream. */
export interface StreamChannel {
  /** Which. */
  channel: ChannelLike<never, unknown>;
  /**
   * The name of its events in the browser; `'message'` has them at `onmessage`. Without line ends, not beginning with
   * `$`, and not `open` or `error`, which EventSource calls its own. @default the channel's name
   */
  event?: string;
  /**
   * Where a client begins that does not come back: after this position, with the next message, or with the
   * oldest that is kept. @default 'latest'
   */
  since?: Position | 'latest' | 'earliest';
  /** Such a client gets so many of the last messages first, up to 1,000; not together with `since`. @default 0 */
  last?: number;
  /**
   * False where nothing is published with history: it is not looked for then.
   * @default what the channel's definition says; true for a channel that is only a name
   */
  history?: boolean;
  /** The name is a sharded channel (Redis 7). @default false, or what the channel's definition says */
  sharded?: boolean;
}

/** A stream of channels, straight from pub/sub. */
export interface ChannelStreamOptions extends StreamOptions {
  /** What carries the messages. */
  pubsub: PubSubService;
  /** Which channels, 1 to 100 of them. */
  channels: readonly (ChannelLike<never, unknown> | StreamChannel)[];
  /** How many bytes may wait for the client; with more the stream ends, and the client comes back. @default 1_048_576 */
  maxBufferedBytes?: number;
}

/** Who reads a stream of rooms. */
export interface StreamUser {
  /** His id. */
  userId: string;
  /** The status of this connection at first. @default 'online' */
  status?: Status;
  /** What to show of the connection in `PresenceData.sockets`. @default nothing */
  meta?: Json;
}

/** One room of a stream. */
export interface StreamRoom extends JoinOptions {
  /** Which. */
  room: string;
}

/** A stream of rooms, in which its reader is present, and of what is sent to him. */
export interface RoomStreamOptions extends StreamOptions {
  /** The rooms. Their service's `maxBufferedBytes` and `slowPeers` apply. */
  rooms: RoomService;
  /** Who reads. */
  user: StreamUser;
  /** Which rooms, at most 99. @default none, only what is sent to the user */
  join?: readonly (string | StreamRoom)[];
  /** Users whose presence is told. @default nobody */
  watch?: Iterable<string>;
}

/** Options of {@link eventStream} and {@link pipeEventStream}. */
export type EventStreamOptions = ChannelStreamOptions | RoomStreamOptions;

/** How a stream ended. */
export interface EventStreamEnd {
  /** One of the protocol's close codes; 1006 when the client has gone. */
  readonly code: number;
  /** In words, where there are any. */
  readonly reason: string;
}

/** A stream under way. */
export interface EventStreamHandle {
  /** Resolves when the stream has ended and everything behind it is undone. Never rejects. */
  readonly closed: Promise<EventStreamEnd>;
  /**
   * Ends the stream: the client gets `$close`, and comes back, unless the page heeds a code that says not
   * to. Resolves as `closed` does. Idempotent.
   *
   * @param code one of `CloseCode`, by default `RESTART`
   */
  close(code?: number, reason?: string): Promise<EventStreamEnd>;
}

/** A response whose body is a stream of events. */
export interface EventStreamResponse extends Response {
  /** The stream. */
  readonly events: EventStreamHandle;
}

/** A Web-standard `Request`, as far as it is looked at. */
export interface WebRequest {
  /** `HEAD` is answered with headers only; any other gets a stream. */
  readonly method: string;
  /** Where `lastEventId` may be, for clients that cannot send headers. */
  readonly url: string;
  /** Where `Last-Event-ID` is. */
  readonly headers: {
    /** The value of a header, if it is there. */
    get(name: string): string | null;
  };
  /** Aborts when the client goes. */
  readonly signal?: AbortSignal | null;
}

/** A request of `node:http` or `node:http2`, as far as it is looked at. */
export interface NodeRequest {
  /** `HEAD` is answered with headers only; any other gets a stream. */
  readonly method?: string | undefined;
  /** Where `lastEventId` may be, for clients that cannot send headers. */
  readonly url?: string | undefined;
  /** Where `Last-Event-ID` is. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** With 1 the connection is kept alive by a header. */
  readonly httpVersionMajor: number;
}

/** A response of `node:http` or `node:http2`, as far as it is used. */
export interface NodeResponse {
  /** Too late for a stream. */
  readonly headersSent: boolean;
  /** The client has gone. */
  readonly destroyed: boolean;
  /** How many bytes wait. */
  readonly writableLength: number;
  /** Sets a header, unless it is there. */
  setHeader(name: string, value: string | number | readonly string[]): unknown;
  /** Sends the headers. */
  writeHead(status: number): unknown;
  /** Sends some bytes; false when more of them had better wait. */
  write(bytes: Uint8Array): boolean;
  /** Ends the response. */
  end(): unknown;
  /** Cuts the connection. */
  destroy(): unknown;
  /** Listens to `close`, `drain` and `error`. */
  on(event: string, listener: () => void): unknown;
  /** Listens once. */
  once(event: string, listener: () => void): unknown;
}
