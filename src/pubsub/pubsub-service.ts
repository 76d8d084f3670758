import { systemClock } from '../clock.js';
import { jsonCodec } from '../codec.js';
import { messageOf, Reporter } from '../diagnostics.js';
import { InvalidArgumentError, UnsupportedError } from '../errors.js';
import { escapePattern } from '../keys.js';
import type { PlainCommand, SubscriptionKind } from '../redis/driver.js';
import { Link } from '../redis/link.js';
import { sessionFor } from '../redis/session.js';
import {
  assertFunction,
  assertName,
  assertOptions,
  assertSignal,
  choiceOption,
  numberOption,
  prefixOption,
} from '../validate.js';
import { Audience, Member, type MessageContext, type RawHandler, tell } from './delivery.js';
import { type Hub, hubFor } from './hub.js';
import { type MessageStream, QueuedStream } from './message-stream.js';
import type {
  MessageHandler,
  MessagesOptions,
  Published,
  PublishOptions,
  PubSubOptions,
  PubSubStats,
  SubscribeOptions,
} from './options.js';
import { Publisher } from './publisher.js';
import { type Leaving, type Subscription, subscribe } from './subscribe.js';

const DEFAULT_MAX_BYTES = 1_048_576;
const NOT_SHARDED = 'patterns cannot be sharded in Redis';

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
  readonly #link: Link;
  readonly #hub: Hub;
  readonly #audience: Audience;
  readonly #publisher: Publisher;
  readonly #prefix: string;
  readonly #maxBytes: number;
  /** What `close` has to undo. */
  readonly #leaving: Leaving = new Set();
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
    this.#prefix = prefixOption('prefix', options.prefix === '' ? undefined : options.prefix, '');
    if (options.onError !== undefined) assertFunction('onError', options.onError);
    const session = sessionFor(options.redis);
    this.#link = new Link('PubSubService', session, timeout, clock);
    this.#hub = hubFor(session, clock);
    this.#audience = new Audience(options.codec ?? jsonCodec, new Reporter(options.onError), this.#prefix);
    this.#publisher = new Publisher(this.#link);
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
   * never sent after that, and never twice.
   *
   * @throws {@link InvalidArgumentError} for a bad channel, a message the codec cannot encode or one
   * over `maxMessageBytes`; {@link TimeoutError} or {@link ConnectionError}, whose `outcome` tells
   * whether it may have happened; {@link CommandError} when Redis refuses.
   */
  async publish<T>(channel: string, message: T, options?: PublishOptions): Promise<Published> {
    this.#assertOpen();
    assertName('channel', channel);
    assertOptions('options', options);
    const payload = this.#encode(message);
    const command: PlainCommand = [
      this.#command(options, 'PUBLISH', 'SPUBLISH'),
      this.#prefix + channel,
      payload,
    ];
    const receivers = await this.#publisher.publish(command);
    this.#published++;
    return { receivers };
  }

  /**
   * Calls `handler` with every message on `channel`; resolves when Redis has confirmed. Handlers of
   * one channel share the decoded message: treat it as read-only.
   *
   * @throws {@link InvalidArgumentError} for a bad channel, handler or option; {@link CommandError}
   * when Redis refuses (an ACL, say); {@link TimeoutError} when there was no answer in time, after
   * which the handler is not subscribed; the signal's reason when it aborts first.
   */
  async subscribe<T>(
    channel: string,
    handler: MessageHandler<T>,
    options?: SubscribeOptions,
  ): Promise<Subscription> {
    assertName('channel', channel);
    const kind = options?.sharded === true ? 'sharded' : 'channel';
    return this.#subscribe(kind, this.#prefix + channel, handler as RawHandler, options);
  }

  /** The same for every channel that matches `pattern` (Redis's glob rules: `*`, `?`, `[a-z]`, `\`). */
  async psubscribe<T>(
    pattern: string,
    handler: MessageHandler<T>,
    options?: SubscribeOptions,
  ): Promise<Subscription> {
    assertName('pattern', pattern);
    if (options?.sharded === true) throw new InvalidArgumentError('sharded', NOT_SHARDED);
    return this.#subscribe('pattern', escapePattern(this.#prefix) + pattern, handler as RawHandler, options);
  }

  /**
   * Messages as an async iterator. The subscription starts at once; `ready` resolves when Redis has
   * confirmed it. Leaving the loop, `return()` and the signal unsubscribe.
   *
   * @throws {@link InvalidArgumentError} at once; what fails later rejects `next()`.
   */
  messages<T>(channel: string, options: MessagesOptions = {}): MessageStream<T> {
    this.#assertOpen();
    assertOptions('options', options);
    assertName(options.pattern === true ? 'pattern' : 'channel', channel);
    const { pattern, capacity, overflow, signal, ...subscribing } = options;
    if (pattern === true && options.sharded === true) throw new InvalidArgumentError('sharded', NOT_SHARDED);
    assertSignal(signal);
    let leave = (): Promise<void> => Promise.resolve();
    const stream = new QueuedStream<T>({
      capacity: numberOption('capacity', capacity, 1_000, { min: 1, integer: true }),
      overflow: choiceOption('overflow', overflow, 'drop-oldest', ['drop-oldest', 'drop-newest', 'close']),
      clock: this.#link.clock,
      onDiscontinuity: (discontinuity) => {
        this.#dropped++;
        tell(this.#audience, options.onDiscontinuity, discontinuity, channel);
      },
      leave: () => {
        this.#streams.delete(stream as QueuedStream<unknown>);
        signal?.removeEventListener('abort', aborted);
        return leave();
      },
    });
    const aborted = () => stream.end(signal?.reason);
    signal?.addEventListener('abort', aborted, { once: true });
    const push = (message: T, context: MessageContext) => stream.push(message, context);
    const subscribed =
      pattern === true
        ? this.psubscribe(channel, push, subscribing)
        : this.subscribe(channel, push, subscribing);
    // One that was never subscribed has nothing to leave; its failure is told by `ready` and `next`.
    leave = () =>
      subscribed.then(
        ({ unsubscribe }) => unsubscribe(),
        () => {},
      );
    this.#streams.add(stream as QueuedStream<unknown>);
    stream.begin(subscribed.then(() => {}));
    return stream;
  }

  /** Counters and gauges. */
  stats(): PubSubStats {
    const { channel, pattern, sharded } = this.#hub.sizes;
    const { received, delivered, failed, undecodable } = this.#audience;
    return {
      channels: channel,
      patterns: pattern,
      sharded,
      handlers: this.#leaving.size,
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
    for (const stream of this.#streams) stream.end();
    const gone = Promise.allSettled([...this.#leaving].map((leave) => leave()));
    // With Redis away there is nothing to undo: the server forgets us with the connection.
    if (this.#link.session.ready) await this.#link.bounded('close', () => gone).catch(() => {});
    await this.#handlersDone();
    await this.#link.close();
  }

  #handlersDone(): Promise<void> {
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

  #encode(message: unknown): string {
    let payload: unknown;
    try {
      payload = this.#audience.codec.encode(message);
    } catch (cause) {
      if (cause instanceof InvalidArgumentError) throw cause;
      throw new InvalidArgumentError('message', `cannot be encoded: ${messageOf(cause)}`, { cause });
    }
    if (typeof payload !== 'string') {
      throw new InvalidArgumentError('message', `was not encoded as a string but as ${typeof payload}`);
    }
    // A UTF-16 unit is at most three bytes: short payloads need no counting.
    if (payload.length * 3 > this.#maxBytes) {
      const bytes = Buffer.byteLength(payload);
      if (bytes > this.#maxBytes) {
        throw new InvalidArgumentError(
          'message',
          `is ${bytes} bytes long; maxMessageBytes is ${this.#maxBytes}`,
        );
      }
    }
    return payload;
  }

  #command(options: { sharded?: boolean } | undefined, plain: string, sharded: string): string {
    if (options?.sharded !== true) return plain;
    this.#assertSharded();
    return sharded;
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw this.#link.closedError();
  }

  #assertSharded(): void {
    const { driver, capabilities } = this.#link.session;
    if (!capabilities.sharded) throw new UnsupportedError(`${driver.client} has no sharded channels`);
  }

  async #subscribe(
    kind: SubscriptionKind,
    name: string,
    handler: RawHandler,
    options: SubscribeOptions = {},
  ): Promise<Subscription> {
    this.#assertOpen();
    assertFunction('handler', handler);
    assertOptions('options', options);
    const { signal, raw, onDiscontinuity } = options;
    if (onDiscontinuity !== undefined) assertFunction('onDiscontinuity', onDiscontinuity);
    assertSignal(signal);
    if (kind === 'sharded') this.#assertSharded();

    const member = new Member(this.#audience, handler, raw === true, onDiscontinuity);
    return subscribe({
      link: this.#link,
      hub: this.#hub,
      leaving: this.#leaving,
      kind,
      names: [name],
      member,
      signal,
    });
  }
}
