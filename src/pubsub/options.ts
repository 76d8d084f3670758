import type { Clock } from '../clock.js';
import type { Codec } from '../codec.js';
import type { ErrorListener } from '../diagnostics.js';
import type { RedisClient } from '../redis/detect.js';
import type { Discontinuity, MessageContext } from './delivery.js';
import type { Overflow } from './inbox.js';

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
  /** Gets every failure that no caller waits for. @default they are counted in `stats()` only */
  onError?: ErrorListener;
  /** Where time comes from; for tests. @default the system's clock */
  clock?: Clock;
}

/** Options of `publish`. */
export interface PublishOptions {
  /** Publish to a sharded channel (Redis 7 SPUBLISH). @default false */
  sharded?: boolean;
}

/** What `publish` resolves with. */
export interface Published {
  /** How many connections Redis handed the message to. On a Cluster this counts one node's only. */
  receivers: number;
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
  /** Told whenever messages may have been missed. */
  onDiscontinuity?: (discontinuity: Discontinuity) => void;
}

/** Options of `messages`. */
export interface MessagesOptions extends SubscribeOptions {
  /** The name is a pattern. @default false */
  pattern?: boolean;
  /** How many messages may wait for the loop. @default 1_000 */
  capacity?: number;
  /** What to do with one more. @default 'drop-oldest' */
  overflow?: Overflow;
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
