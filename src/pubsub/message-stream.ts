import { OverflowError } from '../internal/errors.js';
import { BoundedQueue, type OverflowPolicy } from './bounded-queue.js';
import type { Backpressure } from './delivery.js';
import type { Discontinuity } from './discontinuity.js';
import type { MessageContext } from './message-context.js';

/** One message of {@link MessageStream}. */
export interface ReceivedMessage<T> extends MessageContext {
  /** The decoded message, or the payload as it came where `raw` was asked for. */
  readonly message: T;
}

/** A place in {@link MessageStream} where messages may be missing; only where `discontinuities` is asked for. */
export interface ReceivedDiscontinuity {
  /** Why, since when, and whether it could be recovered. */
  readonly discontinuity: Discontinuity;
}

/**
 * Messages of a channel or pattern as an async iterator, behind a bounded queue. `Item` is
 * {@link ReceivedMessage}, and {@link ReceivedDiscontinuity} where that was asked for.
 */
export interface MessageStream<T, Item = ReceivedMessage<T>> extends AsyncIterableIterator<Item> {
  /** Resolves when Redis has confirmed the subscription; what is published from then on is seen. */
  readonly ready: Promise<void>;
  /** How many messages were lost because the queue was full. */
  readonly dropped: number;
  /** Unsubscribes and ends the iteration; what waits in the queue is forgotten. */
  return(): Promise<IteratorResult<Item>>;
  /** The stream itself, for `for await`. */
  [Symbol.asyncIterator](): MessageStream<T, Item>;
  /** The same as `return`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

interface MessageStreamOptions {
  readonly capacity: number;
  readonly overflow: OverflowPolicy;
  readonly clock: { now(): number };
  readonly onDiscontinuity?: ((discontinuity: Discontinuity) => void) | undefined;
  /** Discontinuities are items too. */
  readonly inBand?: boolean;
  /** Undoes the subscription. */
  leave(): Promise<void>;
}

type Item<T> = ReceivedMessage<T> | ReceivedDiscontinuity;

type PendingNext<T> = {
  resolve(result: IteratorResult<Item<T>>): void;
  reject(error: unknown): void;
};

/** A message that waits, and the discontinuity in front of it. */
interface QueuedMessage<T> {
  readonly received: ReceivedMessage<T>;
  before: Discontinuity | undefined;
}

/** The queue between a subscription, which pushes, and a `for await`, which pulls. */
export class QueuedStream<T> implements MessageStream<T, Item<T>>, Backpressure {
  readonly #inbox: BoundedQueue<QueuedMessage<T>>;
  /** A discontinuity after everything that waits. */
  #after: Discontinuity | undefined;
  readonly #options: MessageStreamOptions;
  #pulls: PendingNext<T>[] = [];
  #waiting: (() => void)[] = [];
  #ended = false;
  #error: unknown;
  #left: Promise<void> | undefined;
  ready: Promise<void> = Promise.resolve();

  constructor(options: MessageStreamOptions) {
    this.#options = options;
    this.#inbox = new BoundedQueue(options.capacity, options.overflow);
  }

  get dropped(): number {
    return this.#inbox.dropped;
  }

  /** How many messages wait to be pulled. */
  get queued(): number {
    return this.#inbox.size;
  }

  get full(): boolean {
    // Nobody waits for room in a queue that nobody reads.
    return !this.#ended && this.#inbox.size >= this.#options.capacity;
  }

  /** Resolves when half of the queue is free, so that it is not filled one by one. */
  drained(): Promise<void> {
    if (this.#ended || this.#hasRoom) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  get #hasRoom(): boolean {
    return this.#inbox.size * 2 <= this.#options.capacity;
  }

  /** Ends with `started`'s failure, if it fails. */
  setReady(started: Promise<void>): void {
    this.ready = started;
    started.catch((error: unknown) => this.end(error));
  }

  /** A message for whoever pulls next. */
  push(message: T, context: MessageContext): void {
    if (this.#ended) return;
    const received: ReceivedMessage<T> = { message, ...context };
    const pull = this.#pulls.shift();
    if (pull !== undefined) return pull.resolve({ done: false, value: received });
    const slot: QueuedMessage<T> = { received, before: this.#after };
    this.#after = undefined;
    const lost = this.#inbox.push(slot);
    if (lost !== undefined) this.#overflowed(lost);
  }

  #overflowed({ before }: QueuedMessage<T>): void {
    const since = new Date(this.#options.clock.now());
    const discontinuity: Discontinuity = { reason: 'overflow', since, recovered: false };
    // In the place of the message that is lost.
    const next = this.#options.overflow === 'drop-oldest' ? this.#inbox.first : undefined;
    if (this.#options.inBand === true) {
      const place = mergeDiscontinuities(before, discontinuity);
      if (next === undefined) this.#after = mergeDiscontinuities(this.#after, place);
      else next.before = mergeDiscontinuities(place, next.before);
    }
    if (this.#inbox.overflowed) {
      this.end(new OverflowError(`${this.#options.capacity} messages wait and overflow is "close"`));
    }
    this.#options.onDiscontinuity?.(discontinuity);
  }

  /** Messages are missing at this place, or were. */
  pushDiscontinuity(discontinuity: Discontinuity): void {
    if (this.#ended) return;
    if (this.#options.inBand === true) {
      const pull = this.#pulls.shift();
      if (pull !== undefined) pull.resolve({ done: false, value: { discontinuity } });
      else this.#after = mergeDiscontinuities(this.#after, discontinuity);
    }
    this.#options.onDiscontinuity?.(discontinuity);
  }

  /** No message comes any more; after those in the queue, `next` rejects with `error` once, or is done. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    void this.#leave();
    this.#wake();
    for (const pull of this.#pulls.splice(0)) this.#finish(pull);
  }

  next(): Promise<IteratorResult<Item<T>>> {
    return new Promise((resolve, reject) => {
      const value = this.#take();
      if (this.#waiting.length > 0 && this.#hasRoom) this.#wake();
      if (value !== undefined) resolve({ done: false, value });
      else if (this.#ended) this.#finish({ resolve, reject });
      else this.#pulls.push({ resolve, reject });
    });
  }

  #take(): Item<T> | undefined {
    const first = this.#inbox.first;
    const discontinuity = first === undefined ? this.#after : first.before;
    if (discontinuity === undefined) return this.#inbox.shift()?.received;
    if (first === undefined) this.#after = undefined;
    else first.before = undefined;
    return { discontinuity };
  }

  async return(): Promise<IteratorResult<Item<T>>> {
    this.#inbox.clear();
    this.#after = undefined;
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

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #finish(pull: PendingNext<T>): void {
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

/** Two discontinuities with no message between them are one. */
function mergeDiscontinuities(
  earlier: Discontinuity | undefined,
  later: Discontinuity | undefined,
): Discontinuity | undefined {
  if (earlier === undefined || later === undefined) return earlier ?? later;
  const { reason } = earlier.recovered ? later : earlier;
  return { reason, since: earlier.since, recovered: earlier.recovered && later.recovered };
}
