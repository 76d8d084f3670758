import { escapePayload, wrapTransient } from '../history/envelope.js';
import { assertPosition, type Position } from '../history/position.js';
import { onAbort } from '../internal/abort.js';
import { systemClock } from '../internal/clock.js';
import { assertCodec, type Codec, jsonCodec } from '../internal/codec.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import {
  assertFunction,
  assertName,
  assertOptions,
  assertSignal,
  choiceOption,
  numberOption,
  prefixOption,
} from '../internal/validate.js';
import { ClientHandle } from '../redis/client-handle.js';
import type { SubscriptionKind } from '../redis/driver.js';
import { escapePattern } from '../redis/pattern.js';
import {
  type ChannelDefaults,
  type ChannelLike,
  type ChannelOverrides,
  type ResolvedChannel,
  resolveChannel,
} from './channel.js';
import type { ChannelRef } from './channel-definition.js';
import { type Backpressure, callDiscontinuityListener } from './delivery.js';
import type { Discontinuity } from './discontinuity.js';
import { encodePayload } from './encoding.js';
import { HandlerSubscription } from './handler-subscription.js';
import type { StartPosition } from './history-cursor.js';
import type { MessageContext, RawHandler } from './message-context.js';
import {
  type MessageStream,
  QueuedStream,
  type ReceivedDiscontinuity,
  type ReceivedMessage,
} from './message-stream.js';
import type {
  HistoryPage,
  HistoryReadOptions,
  MessageHandler,
  MessagesOptions,
  PublishOptions,
  PublishResult,
  PubSubOptions,
  PubSubStats,
  RecoverRequest,
  RecoverResult,
  SubscribeOptions,
} from './options.js';
import { Publisher } from './publisher.js';
import { type HistoryContext, limitOption, readHistory, recoverChannels } from './recover.js';
import { ServiceContext } from './service-context.js';
import { DisposableStore, type Subscription, subscribe } from './subscribe.js';
import { PROBE_INTERVAL, type SubscriptionManager, subscriptionManagerFor } from './subscription-manager.js';

const DEFAULT_MAX_BYTES = 1_048_576;
const NOT_SHARDED = 'patterns cannot be sharded in Redis';
const NO_PATTERN_HISTORY = 'a pattern has no history; its channels have';

/**
 * Typed publish / subscribe. One Redis subscription per channel or pattern however many handlers
 * there are, and one subscriber connection for all services built on the same client.
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
  readonly #link: ClientHandle;
  readonly #hub: SubscriptionManager;
  readonly #audience: ServiceContext;
  readonly #publisher: Publisher;
  readonly #defaults: ChannelDefaults;
  readonly #replay: HistoryContext;
  readonly #maxBytes: number;
  /** What `close` has to undo. */
  readonly #subscriptions = new DisposableStore();
  readonly #streams = new Set<QueuedStream<unknown>>();
  #published = 0;
  #dropped = 0;
  #closing: Promise<void> | undefined;

  /** @throws {@link InvalidArgumentError} for an unknown client or an option out of range. */
  constructor(options: PubSubOptions) {
    if (options === undefined)
      throw new InvalidArgumentError('options', 'must be an object with a redis client');
    assertOptions('options', options);
    const clock = options.clock ?? systemClock;
    const timeout = numberOption('timeout', options.timeout, 5_000, { min: 1, max: 600_000 });
    this.#maxBytes = numberOption('maxMessageBytes', options.maxMessageBytes, DEFAULT_MAX_BYTES, {
      min: 1,
      integer: true,
    });
    const prefix = prefixOption('prefix', options.prefix === '' ? undefined : options.prefix, '');
    const delay = numberOption('unsubscribeDelay', options.unsubscribeDelay, 0, { min: 0, max: 600_000 });
    const probeInterval = numberOption('probeInterval', options.probeInterval, PROBE_INTERVAL, {
      min: 0,
      max: 86_400_000,
    });
    const { codec = jsonCodec, onError } = options;
    assertCodec('codec', codec);
    if (onError !== undefined) assertFunction('onError', onError);
    this.#link = ClientHandle.open('PubSubService', options.redis, timeout, clock);
    this.#hub = subscriptionManagerFor(this.#link.shared, clock);
    this.#hub.requestProbeInterval(probeInterval);
    this.#audience = new ServiceContext(new ErrorReporter(onError), prefix, delay);
    this.#publisher = new Publisher(this.#link);
    this.#replay = {
      link: this.#link,
      reader: this.#hub.reader,
      audience: this.#audience,
      maxBytes: this.#maxBytes,
    };
    const { client, capabilities } = this.#link.shared.driver;
    this.#defaults = { prefix, codec, client, capabilities };
  }

  /**
   * Connects the client unless it is connected. Idempotent; the first use implies it.
   *
   * @throws {@link ConnectionError} when the client gives up, or when there is no connection within
   * `timeout`. In the second case the client goes on trying, and later calls may succeed.
   */
  connect(): Promise<void> {
    return this.#link.connect();
  }

  /**
   * Publishes `message`. While Redis is away the call waits, at most until its deadline; it is
   * never sent after that, and never twice, but for what `idempotencyKey` makes one message of.
   *
   * @throws {@link InvalidArgumentError} for a bad channel, a message the codec cannot encode or one
   * over `maxMessageBytes`; {@link SchemaError} for one that the channel's schema does not let pass;
   * {@link TimeoutError} or {@link ConnectionError}, whose `outcome` tells
   * whether it may have happened; {@link CommandError} when Redis refuses; {@link UnsupportedError}
   * for what the client or server cannot do.
   */
  async publish<T>(
    channel: ChannelLike<T, unknown>,
    message: T,
    options?: PublishOptions,
  ): Promise<PublishResult>;
  async publish<T>(channel: string, message: T, options?: PublishOptions): Promise<PublishResult>;
  async publish(given: unknown, message: unknown, options?: PublishOptions): Promise<PublishResult> {
    this.#assertOpen();
    assertOptions('options', options);
    const channel = this.#channel(given, options ?? {});
    const { name, kind, history } = channel;
    const idempotencyKey = options?.idempotencyKey;
    const passes = options?.transient === true;
    if (passes && history !== undefined) throw new InvalidArgumentError('transient', 'cannot be kept');
    if (idempotencyKey !== undefined) {
      assertName('idempotencyKey', idempotencyKey);
      if (history === undefined) throw new InvalidArgumentError('idempotencyKey', 'needs history');
    }
    let checked = channel.validate === undefined ? message : channel.validate(message);
    if (checked instanceof Promise) {
      checked = await checked;
      this.#assertOpen();
    }
    const payload = encodePayload(checked, channel.codec, this.#maxBytes);
    const sharded = kind === 'sharded';
    const outcome = await this.#publisher.publish({
      channel: name,
      sharded,
      payload: history === undefined ? (passes ? wrapTransient : escapePayload)(payload) : payload,
      history,
      idempotencyKey,
    });
    if (outcome.duplicate !== true) this.#published++;
    return outcome;
  }

  /**
   * Calls `handler` with every message on `channel`; resolves when Redis has confirmed. Handlers of
   * one channel share the decoded message: treat it as read-only.
   *
   * @throws {@link InvalidArgumentError} for a bad channel, handler or option; {@link CommandError}
   * when Redis refuses (an ACL, say); {@link TimeoutError} when there was no answer in time, after
   * which the handler is not subscribed; the signal's reason when it aborts first.
   */
  async subscribe(
    channel: ChannelLike<never, unknown>,
    handler: MessageHandler<string | Buffer>,
    options: SubscribeOptions & { raw: true },
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
  ): Promise<Subscription> {
    return this.#subscribeChannel(channel, handler as RawHandler, options);
  }

  /** The same for every channel that matches `pattern` (Redis's glob rules: `*`, `?`, `[a-z]`, `\\`). */
  async psubscribe<T>(
    pattern: string,
    handler: MessageHandler<T>,
    options?: SubscribeOptions,
  ): Promise<Subscription> {
    return this.#subscribePattern(pattern, handler as RawHandler, options);
  }

  /**
   * Messages as an async iterator. The subscription starts at once; `ready` resolves when Redis has
   * confirmed it. Leaving the loop, `return()` and the signal unsubscribe.
   *
   * @throws {@link InvalidArgumentError} at once; what fails later rejects `next()`.
   */
  messages<T>(
    channel: ChannelLike<never, T>,
    options?: MessagesOptions & { discontinuities?: false },
  ): MessageStream<T>;
  messages<T>(
    channel: ChannelLike<never, T>,
    options: MessagesOptions,
  ): MessageStream<T, ReceivedMessage<T> | ReceivedDiscontinuity>;
  messages(given: ChannelLike, options: MessagesOptions = {}): unknown {
    this.#assertOpen();
    assertOptions('options', options);
    const { pattern, capacity, overflow, discontinuities, signal, onDiscontinuity, ...subscribing } = options;
    const shown = channelNameOf(given);
    assertName(pattern === true ? 'pattern' : 'channel', shown);
    if (pattern === true && options.sharded === true) throw new InvalidArgumentError('sharded', NOT_SHARDED);
    if (onDiscontinuity !== undefined) assertFunction('onDiscontinuity', onDiscontinuity);
    toStartPosition(options.since);
    assertSignal(signal);
    let leave = (): Promise<void> => Promise.resolve();
    const stream = new QueuedStream<unknown>({
      capacity: numberOption('capacity', capacity, 1_000, { min: 1, integer: true }),
      overflow: choiceOption('overflow', overflow, 'drop-oldest', ['drop-oldest', 'drop-newest', 'close']),
      inBand: discontinuities === true,
      clock: this.#link.clock,
      onDiscontinuity: (discontinuity) => {
        if (discontinuity.reason === 'overflow') this.#dropped++;
        callDiscontinuityListener({ audience: this.#audience, onDiscontinuity }, discontinuity, shown);
      },
      leave: () => {
        this.#streams.delete(stream);
        forget();
        return leave();
      },
    });
    const forget = onAbort(signal, (reason) => stream.end(reason));
    const push = (message: unknown, context: MessageContext) => stream.push(message, context);
    const inside = {
      ...subscribing,
      onDiscontinuity: (discontinuity: Discontinuity) => stream.pushDiscontinuity(discontinuity),
    };
    const subscribed =
      pattern === true
        ? this.#subscribePattern(shown, push, inside)
        : this.#subscribeChannel(given, push, inside, stream);
    // One that was never subscribed has nothing to leave; its failure is told by `ready` and `next`.
    leave = () =>
      subscribed.then(
        ({ unsubscribe }) => unsubscribe(),
        () => {},
      );
    this.#streams.add(stream);
    stream.setReady(subscribed.then(() => {}));
    return stream;
  }

  /**
   * Reads a page of the channel's history, without subscribing.
   *
   * @throws {@link InvalidArgumentError} for a bad channel, position or option; {@link CommandError},
   * {@link TimeoutError}, {@link ConnectionError} when it cannot be read.
   */
  async history<T>(
    channel: ChannelLike<never, T>,
    options: HistoryReadOptions = {},
  ): Promise<HistoryPage<T>> {
    this.#assertOpen();
    const resolved = this.#channel(channel, {});
    assertOptions('options', options);
    return readHistory<T>(this.#replay, resolved, options);
  }

  /**
   * What was published on some channels after the last positions known of them, in as few round trips
   * as there can be: what a server asks for when a client comes back. Subscribe first, then recover:
   * what comes twice has the same position.
   *
   * @throws {@link InvalidArgumentError} for a bad channel, position or option; {@link CommandError},
   * {@link TimeoutError}, {@link ConnectionError} when it cannot be read.
   */
  async recover<T = unknown>(request: RecoverRequest): Promise<RecoverResult<T>> {
    this.#assertOpen();
    if (request === undefined) throw new InvalidArgumentError('request', 'is missing');
    assertOptions('request', request);
    const limit = limitOption(request.limit);
    const wanted = toEntries(request.channels).map(([given, since]) => {
      const channel = this.#channel(given, {});
      assertPosition(`channels[${JSON.stringify(channelNameOf(given))}]`, since);
      return { channel, since };
    });
    return recoverChannels<T>(this.#replay, wanted, limit);
  }

  /** Counters and gauges. */
  stats(): PubSubStats {
    const { channel, pattern, sharded } = this.#hub.sizes;
    const { received, delivered, failed, undecodable } = this.#audience;
    return {
      channels: channel,
      patterns: pattern,
      sharded,
      handlers: this.#subscriptions.size,
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
   * Unsubscribes everything, ends the streams, waits for handlers that are still running (within
   * `timeout`) and closes the connection rollcall opened. After it resolves no handler runs, and
   * nothing is left on the server. Idempotent; calls still open fail with {@link ClosedError}.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#publisher.close();
    this.#subscriptions.closing = true;
    for (const stream of this.#streams) stream.end();
    const gone = Promise.allSettled([...this.#subscriptions].map((leave) => leave())).then(() =>
      this.#hub.flushDelayedUnsubscribes(this.#audience),
    );
    gone.catch(() => {});
    // With Redis away there is nothing to undo: the server forgets us with the connection.
    if (this.#link.ready) await this.#link.withDeadline('close', () => gone).catch(() => {});
    await this.#waitForHandlers();
    await this.#link.close();
  }

  #waitForHandlers(): Promise<void> {
    const { clock, deadlines } = this.#link;
    const until = clock.monotonic() + deadlines.timeout;
    return new Promise((resolve) => {
      const check = () => {
        if (this.#audience.running === 0 || clock.monotonic() >= until) resolve();
        else clock.after(5, check);
      };
      check();
    });
  }

  #channel(given: unknown, call: ChannelOverrides): ResolvedChannel {
    return resolveChannel(given, call, this.#defaults);
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw this.#link.closedError();
  }

  async #subscribeChannel(
    given: unknown,
    handler: RawHandler,
    options: SubscribeOptions = {},
    gate?: Backpressure,
  ): Promise<Subscription> {
    this.#assertOpen();
    assertOptions('options', options);
    const { name, kind, codec, history } = this.#channel(given, { sharded: options.sharded });
    const since = options.since === undefined && history !== undefined ? 'latest' : options.since;
    return this.#subscribe(kind, name, handler, codec, options, toStartPosition(since), gate);
  }

  async #subscribePattern(
    pattern: string,
    handler: RawHandler,
    options: SubscribeOptions = {},
  ): Promise<Subscription> {
    this.#assertOpen();
    assertName('pattern', pattern);
    assertOptions('options', options);
    if (options.sharded === true) throw new InvalidArgumentError('sharded', NOT_SHARDED);
    if (options.since !== undefined) throw new InvalidArgumentError('since', NO_PATTERN_HISTORY);
    const { prefix, codec } = this.#defaults;
    return this.#subscribe('pattern', escapePattern(prefix) + pattern, handler, codec, options);
  }

  #subscribe(
    kind: SubscriptionKind,
    name: string,
    handler: RawHandler,
    codec: Codec,
    { signal, raw, onDiscontinuity }: SubscribeOptions,
    start?: StartPosition,
    gate?: Backpressure,
  ): Promise<Subscription> {
    assertFunction('handler', handler);
    if (onDiscontinuity !== undefined) assertFunction('onDiscontinuity', onDiscontinuity);
    const member = new HandlerSubscription(this.#audience, handler, {
      codec,
      raw: raw === true,
      onDiscontinuity,
    });
    return subscribe({
      link: this.#link,
      hub: this.#hub,
      leaving: this.#subscriptions,
      kind,
      names: name,
      member,
      start,
      gate,
      signal,
    });
  }
}

function channelNameOf(given: unknown): string {
  return typeof given === 'object' && given !== null ? (given as ChannelRef).name : (given as string);
}

function toStartPosition(since: SubscribeOptions['since']): StartPosition | undefined {
  if (since === undefined || since === 'latest' || since === 'earliest') return since;
  assertPosition('since', since);
  return { after: since };
}

function toEntries(channels: unknown): [channel: unknown, since: Position][] {
  if (typeof channels !== 'object' || channels === null) {
    throw new InvalidArgumentError('channels', 'must be positions by channel, or pairs of both');
  }
  const pairs = Symbol.iterator in channels ? [...(channels as Iterable<unknown>)] : Object.entries(channels);
  if (!pairs.every((pair) => Array.isArray(pair))) {
    throw new InvalidArgumentError('channels', 'must be positions by channel, or pairs of both');
  }
  return pairs as [unknown, Position][];
}
