import { DiscontinuityError, InvalidArgumentError, type RollcallError } from '../internal/errors.js';
import { assertFunction, assertOptions, describeValue } from '../internal/validate.js';
import { type ChannelLike, channelNameOf } from '../pubsub/channel.js';
import type { Discontinuity } from '../pubsub/discontinuity.js';
import type { MessageContext } from '../pubsub/message-context.js';
import type { Subscription } from '../pubsub/subscribe.js';
import { PAYLOAD_ITERATOR_OPTION_NAMES, TRIGGER_SUBSCRIBE_OPTION_NAMES } from './option-names.js';
import type { GraphQLPubSubOptions, PayloadIteratorOptions, TriggerSubscribeOptions } from './options.js';
import { type PayloadIterator, StreamPayloadIterator } from './payload-iterator.js';
import { type GraphQLPubSubSettings, resolvePayloadSettings, resolveSettings } from './settings.js';

/**
 * The methods of `PubSubEngine` of graphql-subscriptions on a `PubSubService`. A trigger is a channel: its name,
 * or a channel of a definition.
 *
 * @example
 * ```ts
 * const pubsub = new GraphQLPubSub({ pubsub: new PubSubService({ redis }) });
 * const resolvers = {
 *   Subscription: { posted: { subscribe: () => pubsub.asyncIterableIterator(['POSTED']) } },
 *   Mutation: { post: (_, { text }) => pubsub.publish('POSTED', { posted: { text } }) },
 * };
 * ```
 */
export class GraphQLPubSub {
  readonly #settings: GraphQLPubSubSettings;
  readonly #subscriptions = new Map<number, Subscription>();
  #lastId = 0;

  /** @throws `InvalidArgumentError` for an invalid option. */
  constructor(options: GraphQLPubSubOptions) {
    this.#settings = resolveSettings(options);
  }

  /**
   * Publishes a payload.
   *
   * @throws as `publish` of `PubSubService`.
   */
  async publish<T>(trigger: ChannelLike<T, unknown>, payload: T): Promise<void> {
    const { pubsub, history } = this.#settings;
    if (typeof trigger === 'string' && history !== undefined) {
      await pubsub.publish(trigger, payload, { history });
    } else {
      await pubsub.publish(trigger, payload);
    }
  }

  /**
   * Calls `onMessage` with every payload; resolves with the id for `unsubscribe` when Redis has confirmed the
   * subscription.
   *
   * @throws as `subscribe` of `PubSubService`.
   */
  async subscribe<T>(
    trigger: ChannelLike<never, T>,
    onMessage: (payload: T) => unknown,
    options: TriggerSubscribeOptions = {},
  ): Promise<number> {
    assertFunction('onMessage', onMessage);
    assertOptions('options', options, TRIGGER_SUBSCRIBE_OPTION_NAMES);
    const { pubsub, mapMessage } = this.#settings;
    const { pattern = false, onDiscontinuity = this.#reporterFor(trigger) } = options;
    const since = options.since ?? this.#defaultSince([trigger], pattern);
    const subscribing = { onDiscontinuity, ...(since === undefined ? {} : { since }) };
    const handler = (message: unknown, context: MessageContext) =>
      onMessage(mapMessage(message, context) as T);
    const subscription = pattern
      ? await pubsub.psubscribe(channelNameOf(trigger), handler, subscribing)
      : await pubsub.subscribe(trigger as ChannelLike<never, unknown>, handler, subscribing);
    const id = ++this.#lastId;
    this.#subscriptions.set(id, subscription);
    return id;
  }

  /**
   * Removes the callback, which is not called again. The promise resolves when it is done; a failure is reported to
   * `onError`, because graphql-subscriptions does not await it.
   *
   * @throws `InvalidArgumentError` for an id that is not subscribed.
   */
  unsubscribe(id: number): Promise<void> {
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined) {
      throw new InvalidArgumentError('id', `is not of a subscription: ${describeValue(id)}`);
    }
    this.#subscriptions.delete(id);
    return subscription.unsubscribe().catch((error: RollcallError) => {
      this.#settings.reporter.report(error, { stage: 'unsubscribe' });
    });
  }

  /**
   * Returns the payloads of the triggers as the source of a subscription. It subscribes at once: payloads that are
   * published before the first `next` wait in its queue.
   *
   * @throws `InvalidArgumentError` synchronously. Later, `next` rejects: with a `DiscontinuityError` where payloads may
   * be missing (see `discontinuities`), with an `OverflowError` when the queue was full, or because subscribing failed.
   */
  asyncIterableIterator<T>(
    triggers: ChannelLike<never, T> | readonly ChannelLike<never, T>[],
    options?: PayloadIteratorOptions,
  ): PayloadIterator<T>;
  // The iterator of graphql-subscriptions has private members. This makes the class assignable to `PubSubEngine`.
  /** @internal */
  // biome-ignore lint/suspicious/noExplicitAny: only `any` is assignable
  asyncIterableIterator(triggers: string | readonly string[]): any;
  asyncIterableIterator<T>(
    triggers: ChannelLike<never, T> | readonly ChannelLike<never, T>[],
    options: PayloadIteratorOptions = {},
  ): PayloadIterator<T> {
    assertOptions('options', options, PAYLOAD_ITERATOR_OPTION_NAMES);
    const { pattern = false, signal } = options;
    const { pubsub, reporter } = this.#settings;
    const settings = resolvePayloadSettings(options, this.#settings);
    const since = options.since ?? this.#defaultSince(triggers, pattern);
    const stream = pubsub.messages<unknown>(triggers, {
      pattern,
      capacity: settings.capacity,
      overflow: 'close',
      discontinuities: true,
      ...(signal === undefined ? {} : { signal }),
      ...(since === undefined ? {} : { since }),
    });
    return new StreamPayloadIterator<T>(stream, settings, reporter);
  }

  /** `asyncIterableIterator` under its name in graphql-subscriptions 2. */
  asyncIterator<T>(
    triggers: ChannelLike<never, T> | readonly ChannelLike<never, T>[],
    options?: PayloadIteratorOptions,
  ): PayloadIterator<T> {
    return this.asyncIterableIterator(triggers, options);
  }

  /** Payloads of names are kept; a defined channel has its own default. */
  #defaultSince(triggers: unknown, pattern: boolean): 'latest' | undefined {
    const all: readonly unknown[] = Array.isArray(triggers) ? triggers : [triggers];
    const kept = this.#settings.history !== undefined && !pattern;
    return kept && all.some((each) => typeof each === 'string') ? 'latest' : undefined;
  }

  #reporterFor(trigger: unknown): (discontinuity: Discontinuity) => void {
    const channel = channelNameOf(trigger);
    return (discontinuity) => {
      if (discontinuity.recovered) return;
      const error = new DiscontinuityError(discontinuity, [channel]);
      this.#settings.reporter.report(error, { stage: 'discontinuity', channel });
    };
  }
}
