import type { HistoryOptions } from '../history/append.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { Discontinuity } from '../pubsub/discontinuity.js';
import type { MessageContext } from '../pubsub/message-context.js';
import type { SubscribeOptions } from '../pubsub/options.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';

/**
 * Called where payloads of `triggers` may be missing. A returned payload is yielded in that place, `undefined` yields
 * nothing, and an error ends the iterator.
 */
export type PayloadDiscontinuityHandler = (
  discontinuity: Discontinuity,
  triggers: readonly string[],
) => unknown;

/** Options of {@link GraphQLPubSub} and `createYogaPubSub`. */
export interface GraphQLPubSubOptions {
  /** Your pub/sub service. Its prefix, codec and deadlines apply. */
  pubsub: PubSubService;
  /**
   * Keep the payloads in Redis: iterators then receive what was published while their connection was lost. A defined
   * channel keeps its own history. @default none
   */
  history?: HistoryOptions;
  /**
   * The reaction of an iterator to payloads that may be missing and were not recovered: end with a `DiscontinuityError`,
   * continue, or call a function. A full queue always ends it. @default 'error'
   */
  discontinuities?: 'error' | 'ignore' | PayloadDiscontinuityHandler;
  /**
   * Maximum number of payloads that wait in an iterator. When more arrive, it ends with an `OverflowError` after
   * those. With history they wait in Redis instead. @default 1_000
   */
  capacity?: number;
  /** Converts a message to the payload, e.g. to add its channel or position. @default the message */
  mapMessage?: (message: unknown, context: MessageContext) => unknown;
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
}

/** Options of `asyncIterableIterator`. */
export interface PayloadIteratorOptions
  extends Pick<GraphQLPubSubOptions, 'discontinuities' | 'capacity' | 'mapMessage'> {
  /** The triggers are patterns. @default false */
  pattern?: boolean;
  /** Ends the iterator with the signal's reason, after the payloads that wait. */
  signal?: AbortSignal;
  /** Start position in the history, as in `subscribe` of a `PubSubService`. @default 'latest' with history */
  since?: SubscribeOptions['since'];
}

/** Options of `subscribe`. */
export interface TriggerSubscribeOptions {
  /** The trigger is a pattern. @default false */
  pattern?: boolean;
  /** Start position in the history, as in `subscribe` of a `PubSubService`. @default 'latest' with history */
  since?: SubscribeOptions['since'];
  /** Called whenever payloads may have been missed. @default reports those not recovered to `onError` */
  onDiscontinuity?: (discontinuity: Discontinuity) => void;
}

/** Options of `createYogaEventTarget`. */
export interface YogaEventTargetOptions
  extends Pick<GraphQLPubSubOptions, 'pubsub' | 'history' | 'mapMessage' | 'onError'> {
  /**
   * Called whenever payloads of `topic` may have been missed by a listener. @default reports those not recovered to
   * `onError`
   */
  onDiscontinuity?: (discontinuity: Discontinuity, topic: string) => void;
}
