import type { HistoryOptions } from '../history/append.js';
import type { UnrecoverableReason } from '../history/chain.js';
import type { Position } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { Codec } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { RedisClient } from '../redis/detect.js';
import type { OverflowPolicy } from './bounded-queue.js';
import type { ChannelLike } from './channel.js';
import type { Discontinuity } from './discontinuity.js';
import type { MessageContext } from './message-context.js';

/** Options of a pub/sub service. */
export interface PubSubOptions {
  /** Your Redis client. It stays yours: rollcall connects it if nobody has, and never closes it. */
  redis: RedisClient;
  /** Put before every channel and pattern in Redis, and taken off again for handlers. @default '' */
  prefix?: string;
  /** How messages become payloads. @default JSON */
  codec?: Codec;
  /** The largest payload that `publish` sends, in bytes of UTF-8. @default 1_048_576 */
  maxMessageBytes?: number;
  /** Within how many ms every call settles as done, failed or unknown. @default 5_000 */
  timeout?: number;
  /**
   * For how long, in ms, a subscription outlives its last handler, so that one who comes back soon
   * finds it there. @default 0
   */
  unsubscribeDelay?: number;
  /**
   * After how much silence, in ms, the subscribed connection is probed by a message of our own, and
   * replaced if that does not come through within 5 s; 0 for never. Services on one client
   * share the connection: the shortest interval asked for counts, and a presence service asks for
   * 30 s. @default 30_000
   */
  probeInterval?: number;
  /** Gets every failure that no caller waits for. @default they are counted in `stats()` only */
  onError?: ErrorListener;
  /** Where time comes from; for tests. @default the system's clock */
  clock?: Clock;
}

/** Options of `publish`. */
export interface PublishOptions {
  /** Publish to a sharded channel (Redis 7 SPUBLISH). @default false */
  sharded?: boolean;
  /** Keep the message, so that whoever missed it can have it. @default it is not kept */
  history?: HistoryOptions;
  /**
   * Its loss is none: of a gap that may have cost such messages only, a handler that follows the channel's
   * history is told `recovered: true`. For what passes anyway, on channels that keep the rest; other
   * clients of Redis see it behind a line `rc1:~`. @default false
   */
  transient?: boolean;
  /**
   * Makes repetitions one message: published again with the same key within 10 minutes, it is neither kept
   * nor sent again. With a key, `publish` itself repeats what a broken connection left in doubt, as
   * long as its deadline allows. At most 512 bytes; only with history. @default none
   */
  idempotencyKey?: string;
}

/** What `publish` resolves with. */
export interface PublishResult {
  /** How many connections Redis handed the message to. On a Cluster this counts one node's only. */
  receivers: number;
  /** The message's place in the channel's history; only with history. */
  position?: Position;
  /** The idempotency key was known: nothing was sent, and `position` is the earlier message's. */
  duplicate?: boolean;
}

/** A handler of messages. A promise it returns is not waited for; its rejection goes to `onError`. */
export type MessageHandler<T> = (message: T, context: MessageContext) => unknown;

/** Options of `subscribe` and `psubscribe`. */
export interface SubscribeOptions {
  /** Unsubscribes when it aborts. */
  signal?: AbortSignal;
  /** Hand over payloads as they came, undecoded: relaying them must not pay for parsing. @default false */
  raw?: boolean;
  /** The name is a sharded channel (Redis 7 SSUBSCRIBE). @default false */
  sharded?: boolean;
  /**
   * Begin after this position, with `'latest'` (the next message) or `'earliest'` (the oldest kept): every
   * message from there on, once, in order, and after a broken connection the same, or a discontinuity
   * that says why not. For channels with history. Without it a handler gets what comes, and what was
   * missed meanwhile as soon as it has seen one message with history. @default 'latest' for a
   * defined channel with history; otherwise none
   */
  since?: Position | 'latest' | 'earliest';
  /** Told whenever messages may have been missed. */
  onDiscontinuity?: (discontinuity: Discontinuity) => void;
}

/** Options of `messages`. */
export interface MessagesOptions extends SubscribeOptions {
  /** The name is a pattern. @default false */
  pattern?: boolean;
  /** How many messages may wait for the loop. @default 1_000 */
  capacity?: number;
  /**
   * What to do with one more. With `since`, what has a place in the history waits there instead.
   * @default 'drop-oldest'
   */
  overflow?: OverflowPolicy;
  /** Yield discontinuities too, as `{ discontinuity }` in their place among the messages. @default false */
  discontinuities?: boolean;
}

/** Options of `history`. */
export interface HistoryReadOptions {
  /** Only what comes after this position. */
  since?: Position;
  /** Only what comes before this position. */
  before?: Position;
  /** At most so many messages, 1 to 1,000; fewer where they are large. @default 100 */
  limit?: number;
  /** Newest first. @default false */
  reverse?: boolean;
}

/** A message out of a channel's history. */
export interface HistoryMessage<T> {
  /** The decoded message. */
  readonly message: T;
  /** Its place in the history. */
  readonly position: Position;
  /** When it was published, by the server's clock. */
  readonly publishedAt: Date;
  /** The payload as it came. */
  readonly raw: string | Buffer;
}

/** A page of a channel's history. */
export interface HistoryPage<T> {
  /** The messages, oldest first unless asked for in reverse. */
  readonly messages: HistoryMessage<T>[];
  /**
   * Where the page ends: go on with `since: position`, or in reverse with `before: position`. Without
   * messages it is the position of the channel's last message ever, and `0-0` when there was none.
   */
  readonly position: Position;
  /** There are more messages beyond the page. */
  readonly more: boolean;
  /** False when messages between `since` and the page are missing; `reason` says why. */
  readonly complete: boolean;
  /** Why the page is not complete. */
  readonly reason?: UnrecoverableReason;
}

/** What `recover` found of one channel. */
export interface ChannelRecoverResult<T> {
  /** What was published after the given position, as far as it is kept, oldest first. */
  readonly messages: HistoryMessage<T>[];
  /** Up to where that is. */
  readonly position: Position;
  /** These are all. */
  readonly recovered: boolean;
  /** Why they are not: what is missing is lost, or there is more than `limit`. */
  readonly reason?: UnrecoverableReason | 'limit';
}

/** What `recover` is asked for. */
export interface RecoverRequest {
  /** The last position known of each channel, by its name, or in pairs. */
  channels:
    | Readonly<Record<string, Position>>
    | Iterable<readonly [channel: ChannelLike<never, unknown>, since: Position]>;
  /** At most so many messages per channel, 1 to 1,000. @default 100 */
  limit?: number;
}

/** What `recover` found. */
export interface RecoverResult<T = unknown> {
  /** What was missed of each channel, by name. */
  readonly channels: Map<string, ChannelRecoverResult<T>>;
  /** The channels of which not everything can be had; `channels` says why, and holds what can. */
  readonly unrecovered: string[];
}

/** Counters of a pub/sub service since it was made, and gauges of what is there now. */
export interface PubSubStats {
  /** Channels this process is subscribed to, over all services on the same client. */
  channels: number;
  /** Patterns, likewise. */
  patterns: number;
  /** Sharded channels, likewise. */
  sharded: number;
  /** Handlers of this service. */
  handlers: number;
  /** Messages published. */
  published: number;
  /** Messages received: once per subscription, however many handlers it has. */
  received: number;
  /** Handler calls. */
  delivered: number;
  /** Handler calls that threw or rejected. */
  failed: number;
  /** Messages that could not be decoded. */
  undecodable: number;
  /** Messages dropped from full `messages()` queues. */
  dropped: number;
  /** Publications that wait for a connection. */
  queued: number;
}
