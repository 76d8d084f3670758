import type { HistoryOptions } from '../history/append.js';
import type { UnrecoverableReason } from '../history/merge-into-chain.js';
import type { Position } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { Codec } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { RedisClient } from '../redis/detect.js';
import type { Backpressure } from './backpressure.js';
import type { OverflowPolicy } from './bounded-queue.js';
import type { ChannelLike } from './channel.js';
import type { Discontinuity } from './discontinuity.js';
import type { MessageContext } from './message-context.js';

/** Options of a pub/sub service. */
export interface PubSubOptions {
  /** Your Redis client. rollcall connects it if necessary, and never closes it. */
  redis: RedisClient;
  /** Added to every channel and pattern in Redis; removed from the names that handlers get. @default '' */
  prefix?: string;
  /** Encodes and decodes messages. @default JSON */
  codec?: Codec;
  /** Limit of an encoded message, in bytes. @default 1_048_576 */
  maxMessageBytes?: number;
  /** Limit in ms for every call to settle as done, failed or unknown. @default 5_000 */
  timeout?: number;
  /**
   * Time in ms that a Redis subscription outlives its last handler; subscribing again in that time needs no round
   * trip. @default 0
   */
  unsubscribeDelay?: number;
  /**
   * Silence in ms after which a message probes the subscriber connection, which is replaced if the message does not
   * arrive within 5 s; 0 for never. The shortest interval of all services on the client counts; a presence service
   * sets 30 s. @default 30_000
   */
  probeInterval?: number;
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
  /** The source of time; for tests. @default the system clock */
  clock?: Clock;
}

/** Options of `publish`. */
export interface PublishOptions {
  /** Publish to a sharded channel (Redis 7 SPUBLISH). @default false */
  sharded?: boolean;
  /** Keep the message in Redis, so that it can be recovered. @default no history */
  history?: HistoryOptions;
  /**
   * For ephemeral messages on channels with history: a gap that may have lost only such messages is reported as
   * recovered to handlers that follow the history. Other Redis clients see a line `rc1:~` before the payload.
   * @default false
   */
  transient?: boolean;
  /**
   * Deduplicates calls: a message with a known key is neither stored nor sent again for 10 minutes. With a key,
   * `publish` retries within its deadline after a lost connection. At most 512 bytes; only with history. @default
   * none
   */
  idempotencyKey?: string;
}

/** Result of `publish`. */
export interface PublishResult {
  /**
   * Redis subscriptions that received the message: a connection counts once for the channel and once for each
   * matching pattern. On a Cluster only those of one node.
   */
  receivers: number;
  /** The message's position in the channel's history; only with history. */
  position?: Position;
  /** The idempotency key was known: nothing was sent; `position` is that of the earlier message. */
  duplicate?: boolean;
}

/** Result of `publish` with history. */
export interface PublishResultWithHistory extends PublishResult {
  /** The message's position in the channel's history. */
  position: Position;
}

/** Handles a message. A promise it returns is not awaited; its rejection is reported to `onError`. */
export type MessageHandler<T> = (message: T, context: MessageContext) => unknown;

/** Options of `subscribe` and `psubscribe`. */
export interface SubscribeOptions {
  /** Unsubscribes when it aborts. */
  signal?: AbortSignal;
  /** Pass on payloads undecoded, for relays that do not need to parse them. @default false */
  raw?: boolean;
  /** The name is a sharded channel (Redis 7 SSUBSCRIBE). @default false */
  sharded?: boolean;
  /**
   * Begin after this position, with the next message (`'latest'`) or the oldest one kept (`'earliest'`). Every later
   * message is delivered once and in order, or a discontinuity is reported. `subscribe` resolves after the first read of
   * the history, and before the first message. Only for channels with history. Without
   * it a handler recovers missed messages after its first message with history. @default 'latest' for a defined
   * channel with history; otherwise none
   */
  since?: Position | 'latest' | 'earliest';
  /** Called whenever messages may have been missed. */
  onDiscontinuity?: (discontinuity: Discontinuity) => void;
  /**
   * Paces missed messages, which are read from the history: while it is `full`, they stay there. Live messages are not
   * paced. Not for patterns. @default missed messages are delivered as fast as they are read
   */
  backpressure?: Backpressure;
}

/** Options of `messages`. */
export interface MessagesOptions extends Omit<SubscribeOptions, 'onDiscontinuity' | 'backpressure'> {
  /** The names are patterns. @default false */
  pattern?: boolean;
  /** Called whenever messages of `channel`, a name given to `messages`, may have been missed. */
  onDiscontinuity?: (discontinuity: Discontinuity, channel: string) => void;
  /** The maximum number of queued messages. @default 1_000 */
  capacity?: number;
  /**
   * Policy of a full queue. With `since`, messages with history are never dropped: they wait in the history.
   * @default 'drop-oldest'
   */
  overflow?: OverflowPolicy;
  /** Yield discontinuities as `{ discontinuity }`, at their place among the messages. @default false */
  discontinuities?: boolean;
}

/** Options of `history`. */
export interface HistoryReadOptions {
  /** Only messages after this position. */
  since?: Position;
  /** Only messages before this position. */
  before?: Position;
  /** Maximum number of messages, 1 to 1,000; large messages make a page shorter. @default 100 */
  limit?: number;
  /** Newest first. @default false */
  reverse?: boolean;
}

/** A message from a channel's history. */
export interface HistoryMessage<T> {
  /** The decoded message. */
  readonly message: T;
  /** The message's position in the history. */
  readonly position: Position;
  /** When it was published, by the server's clock. */
  readonly publishedAt: Date;
  /** The payload before decoding. */
  readonly raw: string | Buffer;
}

/** A page of a channel's history. */
export interface HistoryPage<T> {
  /** The messages, oldest first unless `reverse` is set. */
  readonly messages: HistoryMessage<T>[];
  /**
   * End of the page: continue with `since: position`, or in reverse with `before: position`. For an empty page,
   * the position of the last message ever, or one before the first.
   */
  readonly position: Position;
  /** There are more messages after this page. */
  readonly more: boolean;
  /** False if messages between `since` and the page are missing; see `reason`. */
  readonly complete: boolean;
  /** Why the page is not complete. */
  readonly reason?: UnrecoverableReason;
}

/** The result of `recover` for one channel. */
export interface ChannelRecoverResult<T> {
  /** The messages after the given position that are still kept, oldest first. */
  readonly messages: HistoryMessage<T>[];
  /** The position to continue from. */
  readonly position: Position;
  /** No message is missing. */
  readonly recovered: boolean;
  /** Why messages are missing; `limit` if there are more than `limit`, or than `maxMessageBytes` bytes. */
  readonly reason?: UnrecoverableReason | 'limit';
}

/** Argument of `recover`. */
export interface RecoverRequest {
  /** The last known position of each channel, by name or as pairs. */
  channels:
    | Readonly<Record<string, Position>>
    | Iterable<readonly [channel: ChannelLike<never, unknown>, since: Position]>;
  /** Maximum number of messages per channel, 1 to 1,000; fewer if they are large. @default 100 */
  limit?: number;
}

/** Result of `recover`. */
export interface RecoverResult<T = unknown> {
  /** The missed messages of each channel, by name. */
  readonly channels: Map<string, ChannelRecoverResult<T>>;
  /** Channels with missing messages; see `channels`. */
  readonly unrecovered: string[];
}

/** Counters of a pub/sub service since its creation, and current gauges. */
export interface PubSubStats {
  /** Subscribed channels of this process, over all services on the client. */
  channels: number;
  /** Subscribed patterns of this process, over all services on the client. */
  patterns: number;
  /** Subscribed sharded channels of this process, over all services on the client. */
  sharded: number;
  /** Handlers of this service. */
  handlers: number;
  /** Messages published. */
  published: number;
  /** Counted once per Redis subscription. */
  received: number;
  /** Handler calls. */
  delivered: number;
  /** Handler calls that threw or rejected. */
  failed: number;
  /** Messages that could not be decoded. */
  undecodable: number;
  /** From full `messages()` queues. */
  dropped: number;
  /** Messages that wait for a connection. */
  queued: number;
}
