import { OverflowError } from '../internal/errors.js';
import type { Backpressure } from './backpressure.js';
import { BoundedQueue, type OverflowPolicy } from './bounded-queue.js';
import type { Discontinuity } from './discontinuity.js';
import type { MessageContext } from './message-context.js';

/** A message of a {@link MessageStream}. */
export interface ReceivedMessage<T> extends MessageContext {
  /** The decoded message, or the undecoded payload with the option `raw`. */
  readonly message: T;
}

/** Place in a {@link MessageStream} where messages may be missing; only with the option `discontinuities`. */
export interface ReceivedDiscontinuity {
  /** Why messages may be missing, since when, and whether they were recovered. */
  readonly discontinuity: Discontinuity;
  /** The names, as given to `messages`, of the channels or patterns whose messages may be missing. */
  readonly channels: readonly string[];
}

/**
 * Messages of channels or patterns as an async iterator with a bounded queue. `Item` is {@link
 * ReceivedMessage}, or also {@link ReceivedDiscontinuity} with the option `discontinuities`.
 */
export interface MessageStream<T, Item = ReceivedMessage<T>> extends AsyncIterableIterator<Item> {
  /** Resolves when Redis has confirmed the subscription: later messages are received. */
  readonly ready: Promise<void>;
  /** Messages dropped because the queue was full. */
  readonly dropped: number;
  /** Unsubscribes, ends the iteration and discards the queue. */
  return(): Promise<IteratorResult<Item>>;
  /** Returns the stream itself; for `for await`. */
  [Symbol.asyncIterator](): MessageStream<T, Item>;
  /** Calls `return`; for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

interface MessageStreamOptions {
  readonly capacity: number;
  readonly overflow: OverflowPolicy;
  readonly clock: { now(): number };
  readonly onDiscontinuity?: ((discontinuity: Discontinuity, name: string) => void) | undefined;
  readonly inBand?: boolean;
  unsubscribe(): Promise<void>;
}

type Item<T> = ReceivedMessage<T> | ReceivedDiscontinuity;

type PendingNext<T> = {
  resolve(result: IteratorResult<Item<T>>): void;
  reject(error: unknown): void;
  /** Kept from collection until the call settles. */
  readonly owner?: unknown;
};

interface QueuedMessage<T> {
  readonly received: ReceivedMessage<T>;
  before: ReceivedDiscontinuity | undefined;
}

/** Connects a handler, which pushes, to a `for await` loop, which pulls. */
export class QueuedStream<T> implements MessageStream<T, Item<T>>, Backpressure {
  readonly #queue: BoundedQueue<QueuedMessage<T>>;
  /** After all queued messages. */
  #after: ReceivedDiscontinuity | undefined;
  readonly #options: MessageStreamOptions;
  #pulls: PendingNext<T>[] = [];
  #drainWaiters: (() => void)[] = [];
  #ended = false;
  #error: unknown;
  #unsubscribed: Promise<void> | undefined;
  ready: Promise<void> = Promise.resolve();

  constructor(options: MessageStreamOptions) {
    this.#options = options;
    this.#queue = new BoundedQueue(options.capacity, options.overflow);
  }

  get dropped(): number {
    return this.#queue.dropped;
  }

  get queued(): number {
    return this.#queue.size;
  }

  get full(): boolean {
    // An ended stream takes no messages.
    return !this.#ended && this.#queue.size >= this.#options.capacity;
  }

  /** Resolves when half of the queue is free, so that history is read in pages. */
  drained(): Promise<void> {
    if (this.#ended || this.#hasRoom) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  get #hasRoom(): boolean {
    return this.#queue.size * 2 <= this.#options.capacity;
  }

  /** If `ready` rejects, the stream ends with that error. */
  setReady(ready: Promise<void>): void {
    this.ready = ready;
    ready.catch((error: unknown) => this.end(error));
  }

  push(message: T, context: MessageContext): void {
    if (this.#ended) return;
    const received: ReceivedMessage<T> = { message, ...context };
    const pull = this.#pulls.shift();
    if (pull !== undefined) return pull.resolve({ done: false, value: received });
    const slot: QueuedMessage<T> = { received, before: this.#after };
    this.#after = undefined;
    const dropped = this.#queue.push(slot);
    if (dropped !== undefined) this.#onOverflow(dropped);
  }

  #onOverflow({ before, received }: QueuedMessage<T>): void {
    const since = new Date(this.#options.clock.now());
    const discontinuity: Discontinuity = { reason: 'overflow', since, recovered: false };
    const name = received.pattern ?? received.channel;
    // The discontinuity takes the place of the dropped message.
    const next = this.#options.overflow === 'drop-oldest' ? this.#queue.first : undefined;
    if (this.#options.inBand === true) {
      const place = mergeDiscontinuities(before, { discontinuity, channels: [name] });
      if (next === undefined) this.#after = mergeDiscontinuities(this.#after, place);
      else next.before = mergeDiscontinuities(place, next.before);
    }
    if (this.#queue.overflowed) {
      this.end(
        new OverflowError(
          `the queue of messages() is full (${this.#options.capacity} messages) and overflow is "close"`,
        ),
      );
    }
    this.#options.onDiscontinuity?.(discontinuity, name);
  }

  /** `name` is that of the channel or pattern. */
  pushDiscontinuity(discontinuity: Discontinuity, name: string): void {
    if (this.#ended) return;
    if (this.#options.inBand === true) {
      const pull = this.#pulls.shift();
      const value: ReceivedDiscontinuity = { discontinuity, channels: [name] };
      if (pull !== undefined) pull.resolve({ done: false, value });
      else this.#after = mergeDiscontinuities(this.#after, value);
    }
    this.#options.onDiscontinuity?.(discontinuity, name);
  }

  /** Ends after the queued messages. With `error`, `next` rejects once first. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    void this.#unsubscribe();
    this.#resolveDrained();
    for (const pull of this.#pulls.splice(0)) this.#finish(pull);
  }

  /** `owner` is not collected before the promise settles. */
  next(owner?: unknown): Promise<IteratorResult<Item<T>>> {
    return new Promise((resolve, reject) => {
      const value = this.#shift();
      if (this.#drainWaiters.length > 0 && this.#hasRoom) this.#resolveDrained();
      if (value !== undefined) resolve({ done: false, value });
      else if (this.#ended) this.#finish({ resolve, reject });
      else this.#pulls.push({ resolve, reject, owner });
    });
  }

  #shift(): Item<T> | undefined {
    const first = this.#queue.first;
    const discontinuity = first === undefined ? this.#after : first.before;
    if (discontinuity === undefined) return this.#queue.shift()?.received;
    if (first === undefined) this.#after = undefined;
    else first.before = undefined;
    return discontinuity;
  }

  async return(): Promise<IteratorResult<Item<T>>> {
    this.#queue.clear();
    this.#after = undefined;
    this.end();
    this.#error = undefined;
    await this.#unsubscribe();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #resolveDrained(): void {
    for (const resolve of this.#drainWaiters.splice(0)) resolve();
  }

  #finish(pull: PendingNext<T>): void {
    const error = this.#error;
    this.#error = undefined;
    if (error === undefined) pull.resolve({ done: true, value: undefined });
    else pull.reject(error);
  }

  #unsubscribe(): Promise<void> {
    // `return` rejects if UNSUBSCRIBE fails; no caller awaits `end`.
    this.#unsubscribed ??= this.#options.unsubscribe();
    this.#unsubscribed.catch(() => {});
    return this.#unsubscribed;
  }
}

/** Nothing can read the queue of a collected stream. */
const collected = new FinalizationRegistry<QueuedStream<unknown>>((queue) => queue.end());

/**
 * Returned by `messages()`. The subscription references the queue, so only a separate object can be collected
 * and end a subscription that is never iterated.
 */
export class CollectableStream<T> implements MessageStream<T, Item<T>> {
  readonly #queue: QueuedStream<T>;
  readonly ready: Promise<void>;

  constructor(queue: QueuedStream<T>) {
    this.#queue = queue;
    this.ready = queue.ready;
    collected.register(this, queue as QueuedStream<unknown>);
  }

  get dropped(): number {
    return this.#queue.dropped;
  }

  next(): Promise<IteratorResult<Item<T>>> {
    return this.#queue.next(this);
  }

  return(): Promise<IteratorResult<Item<T>>> {
    return this.#queue.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#queue.return();
  }
}

function mergeDiscontinuities(
  earlier: ReceivedDiscontinuity | undefined,
  later: ReceivedDiscontinuity | undefined,
): ReceivedDiscontinuity | undefined {
  if (earlier === undefined || later === undefined) return earlier ?? later;
  const [first, second] = [earlier.discontinuity, later.discontinuity];
  const { reason } = first.recovered ? second : first;
  const recovered = first.recovered && second.recovered;
  return {
    discontinuity: { reason, since: first.since, recovered },
    channels: [...new Set([...earlier.channels, ...later.channels])],
  };
}
