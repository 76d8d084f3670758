import type { HistoryOptions } from '../history/append.js';
import { historyKeys } from '../history/keys.js';
import type { Position } from '../history/position.js';
import { replaceCall } from '../history/replace.js';
import { onAbort } from '../internal/abort.js';
import { bindAsyncContext } from '../internal/async-context.js';
import type { Codec } from '../internal/codec.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import type { Lifetime } from '../internal/lifetime.js';
import { assertFunction, assertName, assertOptions } from '../internal/validate.js';
import { ClientHandle } from '../redis/client-handle.js';
import { databaseSuffix } from '../redis/database.js';
import type { Command, Payload, Reply, SubscriptionKind } from '../redis/driver.js';
import { escapePattern } from '../redis/pattern.js';
import type { Backpressure } from './backpressure.js';
import type { StartPosition } from './catch-up-cursor.js';
import {
  type ChannelDefaults,
  type ChannelLike,
  type ChannelOverrides,
  channelNameOf,
  type ResolvedChannel,
  resolveChannel,
  toChannelList,
  toPayload,
} from './channel.js';
import type { ChannelRef } from './channel-definition.js';
import type { Discontinuity } from './discontinuity.js';
import { HandlerSubscription } from './handler-subscription.js';
import type { MessageContext, RawHandler } from './message-context.js';
import {
  CollectableStream,
  type MessageStream,
  QueuedStream,
  type ReceivedDiscontinuity,
  type ReceivedMessage,
} from './message-stream.js';
import {
  HISTORY_READ_OPTION_NAMES,
  MESSAGES_OPTION_NAMES,
  PUBLISH_OPTION_NAMES,
  SUBSCRIBE_OPTION_NAMES,
} from './option-names.js';
import type {
  HistoryPage,
  HistoryReadOptions,
  MessageHandler,
  MessagesOptions,
  PublishOptions,
  PublishResult,
  PublishResultWithHistory,
  PubSubOptions,
  PubSubStats,
  RecoverRequest,
  RecoverResult,
  SubscribeOptions,
} from './options.js';
import { Publisher } from './publisher.js';
import { type HistoryContext, parseRecoverRequest, readHistory, recoverChannels } from './read-history.js';
import { ServiceContext } from './service-context.js';
import { resolveQueueSettings, resolveSettings, toStartPosition } from './settings.js';
import { DisposableStore, type Subscription, subscribe } from './subscribe.js';
import { type SubscriptionManager, subscriptionManagerFor } from './subscription-manager.js';

const NOT_SHARDED = 'Redis has no patterns for sharded channels';
const NO_PATTERN_HISTORY = 'cannot be used with a pattern: only channels have history';

/**
 * Typed publish / subscribe. One Redis subscription per channel or pattern serves all its handlers, and one
 * subscriber connection all services on the client.
 *
 * @example
 * ```ts
 * const pubsub = new PubSubService({ redis });
 * const { unsubscribe } = await pubsub.subscribe<string>('news', (text) => console.log(text));
 * await pubsub.publish('news', 'hello');
 * await unsubscribe();
 * ```
 */
export class PubSubService {
  readonly #handle: ClientHandle;
  readonly #manager: SubscriptionManager;
  readonly #service: ServiceContext;
  readonly #publisher: Publisher;
  readonly #defaults: ChannelDefaults;
  readonly #history: HistoryContext;
  readonly #maxBytes: number;
  readonly #databaseSuffix: string;
  readonly #disposables = new DisposableStore();
  readonly #streams = new Set<QueuedStream<unknown>>();
  #published = 0;
  #dropped = 0;
  #closing: Promise<void> | undefined;

  /** @throws {@link InvalidArgumentError} for an unsupported client or an invalid option. */
  constructor(options: PubSubOptions) {
    const settings = resolveSettings(options);
    const { clock, codec, onError, prefix, unsubscribeDelay } = settings;
    this.#maxBytes = settings.maxMessageBytes;
    this.#handle = ClientHandle.open('PubSubService', options.redis, settings.timeout, clock);
    this.#manager = subscriptionManagerFor(this.#handle.shared, clock);
    this.#manager.requestProbeInterval(settings.probeInterval);
    this.#service = new ServiceContext(new ErrorReporter(onError), prefix, unsubscribeDelay, clock);
    this.#databaseSuffix = databaseSuffix(this.#handle.database);
    this.#publisher = new Publisher(this.#handle);
    this.#history = {
      handle: this.#handle,
      reader: this.#manager.reader,
      service: this.#service,
      maxBytes: this.#maxBytes,
    };
    const { client, capabilities } = this.#handle.shared.driver;
    this.#defaults = { prefix, codec, client, capabilities };
  }

  /** Logical database of the client. Channels belong to the whole server, so rollcall's own channels carry it. */
  get database(): number {
    return this.#handle.database;
  }

  /**
   * Connects the client unless it is connected. Idempotent, and optional: the first call of another method
   * connects as well.
   *
   * @throws {@link ConnectionError} if the client stops trying, or without a connection within `timeout`; the
   * client then continues to try, and later calls may succeed.
   */
  connect(): Promise<void> {
    return this.#handle.connect();
  }

  /**
   * Publishes `message`. Without a connection the call waits for one until its deadline. The message is never sent
   * after the deadline, and never twice, unless `idempotencyKey` makes both one message. Messages of one service on
   * one channel keep the order of the calls. Without history delivery is at-most-once.
   *
   * @throws {@link InvalidArgumentError} for an invalid channel or option, or a message that cannot be encoded or
   * exceeds `maxMessageBytes`; {@link SchemaError} if the channel's schema rejects it; {@link TimeoutError} or
   * {@link ConnectionError}, whose `outcome` shows whether the message may have been published; {@link CommandError}
   * if Redis refuses; {@link UnsupportedError} for what the client or server does not support.
   */
  async publish<T>(
    channel: ChannelRef<T, unknown, true>,
    message: T,
    options?: PublishOptions,
  ): Promise<PublishResultWithHistory>;
  async publish<T>(
    channel: string,
    message: T,
    options: PublishOptions & { history: HistoryOptions },
  ): Promise<PublishResultWithHistory>;
  async publish<T>(
    channel: ChannelLike<T, unknown>,
    message: T,
    options?: PublishOptions,
  ): Promise<PublishResult>;
  async publish<T>(channel: string, message: T, options?: PublishOptions): Promise<PublishResult>;
  async publish(given: unknown, message: unknown, options?: PublishOptions): Promise<PublishResult> {
    this.#assertOpen();
    assertOptions('options', options, PUBLISH_OPTION_NAMES);
    const channel = this.#channel(given, options ?? {});
    const { name, kind, history } = channel;
    const idempotencyKey = options?.idempotencyKey;
    const transient = options?.transient === true;
    if (transient && history !== undefined) {
      throw new InvalidArgumentError('transient', 'cannot be combined with history');
    }
    if (idempotencyKey !== undefined) {
      assertName('idempotencyKey', idempotencyKey);
      if (history === undefined)
        throw new InvalidArgumentError('idempotencyKey', 'can only be used with history');
    }
    let payload: Payload | Promise<Payload>;
    try {
      payload = toPayload(channel, message, {
        maxBytes: this.#maxBytes,
        transient,
        databaseSuffix: this.#databaseSuffix,
      });
    } catch (error) {
      this.#publisher.emitRejected({ channel: name, history }, error as Error);
      throw error;
    }
    const sharded = kind === 'sharded';
    const result = await this.#publisher.publish({
      channel: name,
      sharded,
      payload,
      history,
      idempotencyKey,
    });
    if (result.duplicate !== true) this.#published++;
    return result;
  }

  /**
   * Calls `handler` with every message on `channel`; resolves when Redis has confirmed the subscription.
   * Handlers are called in the order in which they subscribed. They share the decoded message: treat it as
   * read-only.
   *
   * @throws {@link InvalidArgumentError} for an invalid channel, handler or option; {@link CommandError} if
   * Redis refuses (an ACL rule, for example); {@link TimeoutError} without a reply in time; {@link
   * ConnectionError} if the client stops trying to connect; {@link UnsupportedError} for what the client or
   * server does not support; {@link ClosedError} after `close`; the signal's reason if it aborts first. After
   * an error the handler is not subscribed.
   */
  async subscribe(
    channel: ChannelLike<never, unknown>,
    handler: MessageHandler<string | Buffer>,
    options: SubscribeOptions & { raw: true },
  ): Promise<Subscription>;
  /** @internal The end of `lifetime` rejects a call that waits. It costs less than a signal. */
  async subscribe(
    channel: ChannelLike<never, unknown>,
    handler: MessageHandler<string | Buffer>,
    options: SubscribeOptions & { raw: true },
    lifetime: Lifetime,
  ): Promise<Subscription>;
  async subscribe<T>(
    channel: ChannelLike<never, T>,
    handler: MessageHandler<T>,
    options?: SubscribeOptions,
  ): Promise<Subscription>;
  async subscribe(
    channel: unknown,
    handler: MessageHandler<never>,
    options?: SubscribeOptions,
    lifetime?: Lifetime,
  ): Promise<Subscription> {
    return this.#subscribeChannel(channel, handler as RawHandler, options, undefined, lifetime);
  }

  /**
   * Calls `handler` with every message on a channel that matches `pattern` (glob rules of Redis: `*`, `?`,
   * `[a-z]`, `\\`).
   *
   * @throws as `subscribe` does, and {@link InvalidArgumentError} for `since` and `sharded`.
   */
  async psubscribe<T>(
    pattern: string,
    handler: MessageHandler<T>,
    options?: SubscribeOptions,
  ): Promise<Subscription> {
    return this.#subscribePattern(pattern, handler as RawHandler, options);
  }

  /**
   * Returns the messages of a channel, or of several, as an async iterator. The subscription starts at once; `ready`
   * resolves when Redis has confirmed it. Leaving the loop, `return()`, the signal and garbage collection unsubscribe.
   *
   * @throws {@link InvalidArgumentError} synchronously; later errors reject `ready` and `next()`.
   */
  messages<T>(
    channels: ChannelLike<never, T> | readonly ChannelLike<never, T>[],
    options?: MessagesOptions & { discontinuities?: false },
  ): MessageStream<T>;
  messages<T>(
    channels: ChannelLike<never, T> | readonly ChannelLike<never, T>[],
    options: MessagesOptions,
  ): MessageStream<T, ReceivedMessage<T> | ReceivedDiscontinuity>;
  messages(given: ChannelLike | readonly ChannelLike[], options: MessagesOptions = {}): unknown {
    this.#assertOpen();
    assertOptions('options', options, MESSAGES_OPTION_NAMES);
    const { pattern, capacity, overflow, discontinuities, signal, onDiscontinuity, ...subscribing } = options;
    const channels = toChannelList(pattern === true ? 'pattern' : 'channel', given);
    if (pattern === true && options.sharded === true) throw new InvalidArgumentError('sharded', NOT_SHARDED);
    const queue = resolveQueueSettings(options, channels.length);
    const listener = onDiscontinuity && bindAsyncContext(onDiscontinuity);
    let unsubscribe = (): Promise<unknown> => Promise.resolve();
    const stream = new QueuedStream<unknown>({
      ...queue,
      inBand: discontinuities === true,
      clock: this.#handle.clock,
      onDiscontinuity: (discontinuity, name) => {
        if (discontinuity.reason === 'overflow') this.#dropped++;
        if (listener === undefined) return;
        this.#service.callDiscontinuityListener((each) => listener(each, name), discontinuity, name);
      },
      unsubscribe: async () => {
        this.#streams.delete(stream);
        removeAbortListener();
        await unsubscribe();
      },
    });
    const removeAbortListener = onAbort(signal, (reason) => stream.end(reason));
    const push = (message: unknown, context: MessageContext) => stream.push(message, context);
    const subscribed = channels.map((channel) => {
      const name = channelNameOf(channel);
      const streamOptions = {
        ...subscribing,
        onDiscontinuity: (discontinuity: Discontinuity) => stream.pushDiscontinuity(discontinuity, name),
      };
      return pattern === true
        ? this.#subscribePattern(name, push, streamOptions)
        : this.#subscribeChannel(channel, push, streamOptions, stream);
    });
    // `ready` and `next()` report a failure to subscribe, which ends the other subscriptions.
    unsubscribe = () =>
      Promise.all(
        subscribed.map((each) =>
          each.then(
            (subscription) => subscription.unsubscribe(),
            () => {},
          ),
        ),
      );
    this.#streams.add(stream);
    stream.setReady(Promise.all(subscribed).then(() => {}));
    return new CollectableStream(stream);
  }

  /**
   * Reads a page of the channel's history, without subscribing.
   *
   * @throws {@link InvalidArgumentError} for an invalid channel, position or option; {@link CommandError},
   * {@link TimeoutError} or {@link ConnectionError} if it cannot be read; {@link UnsupportedError}; {@link
   * ClosedError} after `close`.
   */
  async history<T>(
    channel: ChannelLike<never, T>,
    options: HistoryReadOptions = {},
  ): Promise<HistoryPage<T>> {
    this.#assertOpen();
    const resolved = this.#channel(channel, {});
    assertOptions('options', options, HISTORY_READ_OPTION_NAMES);
    return readHistory<T>(this.#history, resolved, options);
  }

  /**
   * Deletes what is stored of a channel: its messages, its last position and its idempotency keys. Subscribers are not
   * affected, but those that recover later find a discontinuity.
   *
   * @returns false if nothing was stored.
   * @throws {@link InvalidArgumentError} for an invalid channel; {@link CommandError}, {@link TimeoutError}, {@link
   * ConnectionError}; {@link ClosedError} after `close`. Repeating the call is safe.
   */
  async deleteHistory<T>(channel: ChannelLike<never, T>): Promise<boolean> {
    this.#assertOpen();
    const { messages, lastPosition, idempotencyKeys } = historyKeys(this.#channel(channel, {}).name);
    const command = ['DEL', messages, lastPosition, ...idempotencyKeys] as const;
    const [deleted] = await this.execute('deleteHistory', [command]);
    return Number(deleted) > 0;
  }

  /**
   * @internal Replaces the payloads of stored messages, at most 100. Positions, and what `since` and discontinuities tell, stay.
   * Resolves with the number of messages.
   */
  async replaceInHistory<T>(
    channel: ChannelLike<never, T>,
    positions: readonly Position[],
    payload: string,
  ): Promise<number> {
    this.#assertOpen();
    const call = replaceCall(this.#channel(channel, {}).name, positions, payload);
    const [replaced] = await this.execute('forget', [call]);
    return Number(replaced);
  }

  /**
   * Reads messages of some channels after known positions, in as few round trips as possible; for a server
   * whose client reconnects. Subscribe first, then recover: a message that arrives twice has the same position.
   *
   * @throws as `history` does.
   */
  async recover<T = unknown>(request: RecoverRequest): Promise<RecoverResult<T>> {
    this.#assertOpen();
    const { targets, limit } = parseRecoverRequest(request, (given) => this.#channel(given, {}));
    return recoverChannels<T>(this.#history, targets, limit);
  }

  /** @internal Runs idempotent commands within the service's deadline. */
  execute(what: string, commands: readonly Command[]): Promise<Reply[]> {
    return this.#handle.execute(what, commands);
  }

  /** @internal Added to every channel in Redis. */
  get prefix(): string {
    return this.#defaults.prefix;
  }

  /** Returns counters since creation, and current gauges. */
  stats(): PubSubStats {
    const { channel, pattern, sharded } = this.#manager.sizes;
    const { received, delivered, failed, undecodable } = this.#service;
    return {
      channels: channel,
      patterns: pattern,
      sharded,
      handlers: this.#disposables.size,
      published: this.#published,
      received,
      delivered,
      failed,
      undecodable,
      dropped: this.#dropped,
      queued: this.#publisher.queued,
    };
  }

  /**
   * Unsubscribes all handlers, ends the streams, waits (at most `timeout`) for asynchronous handlers in
   * progress, and closes the connection that rollcall opened. Idempotent; pending calls reject with {@link
   * ClosedError}.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Calls `close`; for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#publisher.close();
    this.#disposables.closing = true;
    for (const stream of this.#streams) stream.end();
    const unsubscribed = Promise.allSettled([...this.#disposables].map((dispose) => dispose())).then(() =>
      this.#manager.flushDelayedUnsubscribes(this.#service),
    );
    unsubscribed.catch(() => {});
    // Without a connection the server has no subscriptions.
    if (this.#handle.ready) {
      await this.#handle.withDeadline('close', () => unsubscribed).catch(() => {});
    }
    await this.#waitForHandlers();
    await this.#handle.close();
  }

  #waitForHandlers(): Promise<void> {
    const { clock, deadlines } = this.#handle;
    const until = clock.monotonic() + deadlines.timeout;
    return new Promise((resolve) => {
      const check = () => {
        if (this.#service.running === 0 || clock.monotonic() >= until) resolve();
        else clock.after(5, check);
      };
      check();
    });
  }

  #channel(given: unknown, call: ChannelOverrides): ResolvedChannel {
    return resolveChannel(given, call, this.#defaults);
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw this.#handle.closedError();
  }

  async #subscribeChannel(
    given: unknown,
    handler: RawHandler,
    options: SubscribeOptions = {},
    queue?: Backpressure,
    lifetime?: Lifetime,
  ): Promise<Subscription> {
    this.#assertOpen();
    assertOptions('options', options, SUBSCRIBE_OPTION_NAMES);
    const { name, kind, codec, history } = this.#channel(given, { sharded: options.sharded });
    const since = options.since === undefined && history !== undefined ? 'latest' : options.since;
    return this.#subscribe(kind, name, handler, codec, options, toStartPosition(since), queue, lifetime);
  }

  async #subscribePattern(
    pattern: string,
    handler: RawHandler,
    options: SubscribeOptions = {},
  ): Promise<Subscription> {
    this.#assertOpen();
    assertName('pattern', pattern);
    assertOptions('options', options, SUBSCRIBE_OPTION_NAMES);
    if (options.sharded === true) throw new InvalidArgumentError('sharded', NOT_SHARDED);
    for (const name of ['since', 'backpressure'] as const) {
      if (options[name] !== undefined) throw new InvalidArgumentError(name, NO_PATTERN_HISTORY);
    }
    const { prefix, codec } = this.#defaults;
    return this.#subscribe('pattern', escapePattern(prefix) + pattern, handler, codec, options);
  }

  #subscribe(
    kind: SubscriptionKind,
    name: string,
    handler: RawHandler,
    codec: Codec,
    { signal, raw, onDiscontinuity, backpressure }: SubscribeOptions,
    start?: StartPosition,
    queue?: Backpressure,
    lifetime?: Lifetime,
  ): Promise<Subscription> {
    assertFunction('handler', handler);
    if (onDiscontinuity !== undefined) assertFunction('onDiscontinuity', onDiscontinuity);
    if (backpressure !== undefined) assertFunction('backpressure.drained', backpressure?.drained);
    const subscription = new HandlerSubscription(this.#service, bindAsyncContext(handler), {
      codec,
      raw: raw === true,
      onDiscontinuity: onDiscontinuity && bindAsyncContext(onDiscontinuity),
      backpressure,
    });
    return subscribe({
      handle: this.#handle,
      manager: this.#manager,
      disposables: this.#disposables,
      kind,
      names: name,
      handler: subscription,
      start,
      backpressure: queue,
      signal,
      lifetime,
    });
  }
}
