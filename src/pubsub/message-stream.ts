import { OverflowError } from '../errors.js';
import type { Discontinuity, MessageContext } from './delivery.js';
import { Inbox, type Overflow } from './inbox.js';

/** One message of {@link MessageStream}. */
export interface ReceivedMessage<T> extends MessageContext {
  /** The decoded message, or the payload as it came where `raw` was asked for. */
  readonly message: T;
}

/** Messages of a channel or pattern as an async iterator, behind a bounded queue. */
export interface MessageStream<T> extends AsyncIterableIterator<ReceivedMessage<T>> {
  /** Resolves when Redis has confirmed the subscription; what is published from then on is seen. */
  readonly ready: Promise<void>;
  /** How many messages were lost because the queue was full. */
  readonly dropped: number;
  /** Unsubscribes and ends the iteration; what waits in the queue is forgotten. */
  return(): Promise<IteratorResult<ReceivedMessage<T>>>;
  /** The stream itself, for `for await`. */
  [Symbol.asyncIterator](): MessageStream<T>;
  /** The same as `return`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

interface Options {
  readonly capacity: number;
  readonly overflow: Overflow;
  readonly clock: { now(): number };
  readonly onDiscontinuity?: ((discontinuity: Discontinuity) => void) | undefined;
  /** Undoes the subscription. */
  leave(): Promise<void>;
}

type Pull<T> = {
  resolve(result: IteratorResult<ReceivedMessage<T>>): void;
  reject(error: unknown): void;
};

/** The queue between a subscription, which pushes, and a `for await`, which pulls. */
export class QueuedStream<T> implements MessageStream<T> {
  readonly #inbox: Inbox<ReceivedMessage<T>>;
  readonly #options: Options;
  #pulls: Pull<T>[] = [];
  #ended = false;
  #error: unknown;
  #left: Promise<void> | undefined;
  ready: Promise<void> = Promise.resolve();

  constructor(options: Options) {
    this.#options = options;
    this.#inbox = new Inbox(options.capacity, options.overflow);
  }

  get dropped(): number {
    return this.#inbox.dropped;
  }

  /** How many messages wait to be pulled. */
  get queued(): number {
    return this.#inbox.size;
  }

  /** Ends with `started`'s failure, if it fails. */
  begin(started: Promise<void>): void {
    this.ready = started;
    started.catch((error: unknown) => this.end(error));
  }

  /** A message for whoever pulls next. */
  push(message: T, context: MessageContext): void {
    if (this.#ended) return;
    const received: ReceivedMessage<T> = { message, ...context };
    const pull = this.#pulls.shift();
    if (pull !== undefined) return pull.resolve({ done: false, value: received });
    if (this.#inbox.push(received) === 0) return;
    if (this.#inbox.overflowed) {
      this.end(new OverflowError(`${this.#options.capacity} messages wait and overflow is "close"`));
    }
    this.#options.onDiscontinuity?.({
      reason: 'overflow',
      since: new Date(this.#options.clock.now()),
      recovered: false,
    });
  }

  /** No message comes any more; after those in the queue, `next` rejects with `error` once, or is done. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    void this.#leave();
    for (const pull of this.#pulls.splice(0)) this.#finish(pull);
  }

  next(): Promise<IteratorResult<ReceivedMessage<T>>> {
    return new Promise((resolve, reject) => {
      const value = this.#inbox.shift();
      if (value !== undefined) resolve({ done: false, value });
      else if (this.#ended) this.#finish({ resolve, reject });
      else this.#pulls.push({ resolve, reject });
    });
  }

  async return(): Promise<IteratorResult<ReceivedMessage<T>>> {
    this.#inbox.clear();
    this.end();
    this.#error = undefined;
    await this.#leave();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #finish(pull: Pull<T>): void {
    const error = this.#error;
    this.#error = undefined;
    if (error === undefined) pull.resolve({ done: true, value: undefined });
    else pull.reject(error);
  }

  #leave(): Promise<void> {
    // A failed UNSUBSCRIBE is for whoever awaits `return`; `end` has nobody who does.
    this.#left ??= this.#options.leave();
    this.#left.catch(() => {});
    return this.#left;
  }
}
