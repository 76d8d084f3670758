import type { ErrorReporter } from '../internal/diagnostics.js';
import { DiscontinuityError, isRollcallError, type RollcallError } from '../internal/errors.js';
import type { MessageStream, ReceivedDiscontinuity, ReceivedMessage } from '../pubsub/message-stream.js';
import type { GraphQLPubSubOptions } from './options.js';

/** The payloads of some triggers, as the source of a GraphQL subscription. */
export interface PayloadIterator<T> extends AsyncIterableIterator<T> {
  /** Resolves when Redis has confirmed the subscriptions: later payloads are received. */
  readonly ready: Promise<void>;
  // Declares the result of the end here, because `AsyncIterableIterator` has one parameter before TypeScript 5.6.
  /** Resolves with the next payload, or with `done: true` after the end. Rejects when the iterator ends with an error. */
  next(): Promise<IteratorResult<T, undefined>>;
  /** Unsubscribes, ends the iteration and discards the payloads that wait. */
  return(): Promise<IteratorResult<T, undefined>>;
  /** Does as `return`, and rejects with `error`. */
  throw(error?: unknown): Promise<IteratorResult<T, undefined>>;
  /** Returns the iterator itself; for `for await`. */
  [Symbol.asyncIterator](): PayloadIterator<T>;
  /** Calls `return`; for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export type PayloadSettings = Required<
  Pick<GraphQLPubSubOptions, 'discontinuities' | 'capacity' | 'mapMessage'>
>;

type Stream = MessageStream<unknown, ReceivedMessage<unknown> | ReceivedDiscontinuity>;

/** Ends with an error where the settings do not allow that payloads are missing. */
export class StreamPayloadIterator<T> implements PayloadIterator<T> {
  readonly ready: Promise<void>;
  readonly #stream: Stream;
  readonly #settings: PayloadSettings;
  readonly #reporter: ErrorReporter;
  /** The last call of `next`: calls run one after another, because one may skip items of the stream. */
  #previous: Promise<unknown> = Promise.resolve();

  constructor(stream: Stream, settings: PayloadSettings, reporter: ErrorReporter) {
    this.ready = stream.ready;
    this.#stream = stream;
    this.#settings = settings;
    this.#reporter = reporter;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const pull = () => this.#pull();
    const next = this.#previous.then(pull, pull);
    this.#previous = next;
    return next;
  }

  async #pull(): Promise<IteratorResult<T, undefined>> {
    try {
      for (;;) {
        const { done, value } = await this.#stream.next();
        if (done === true) return { done: true, value: undefined };
        const payload = 'message' in value ? this.#map(value) : this.#handleDiscontinuity(value);
        if (payload !== undefined) return { done: false, value: payload as T };
      }
    } catch (error) {
      void this.return();
      throw isRollcallError(error) ? withExtensions(error) : error;
    }
  }

  #map({ message, ...context }: ReceivedMessage<unknown>): unknown {
    // `undefined` would be skipped.
    return this.#settings.mapMessage(message, context) ?? null;
  }

  #handleDiscontinuity({ discontinuity, channels }: ReceivedDiscontinuity): unknown {
    const { discontinuities } = this.#settings;
    const { reason, recovered } = discontinuity;
    // The stream ends with an error of its own after an overflow.
    if (recovered || reason === 'overflow' || discontinuities === 'ignore') return undefined;
    if (discontinuities === 'error') throw new DiscontinuityError(discontinuity, channels);
    return discontinuities(discontinuity, channels);
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    await this.#stream.return().catch((error: RollcallError) => {
      this.#reporter.report(error, { stage: 'unsubscribe' });
    });
    return { done: true, value: undefined };
  }

  async throw(error?: unknown): Promise<never> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

/** GraphQL servers send `extensions` to the client, which can tell by the code that it must read its state again. */
function withExtensions(error: RollcallError): RollcallError {
  return Object.assign(error, { extensions: { code: error.code } });
}
