import type { Position } from '../history/position.js';
import type { Codec } from '../internal/codec.js';
import type { Discontinuity } from './discontinuity.js';
import type { RawHandler } from './message-context.js';
import type { PayloadFormat, ServiceContext } from './service-context.js';

/** Removes a {@link HandlerSubscription} from the Redis subscriptions it was added to. */
export interface SubscriptionOwner {
  remove(handler: HandlerSubscription, names: ChannelNames): Promise<void>;
  positionOf(handler: HandlerSubscription, names: ChannelNames): Position | undefined;
}

/** One name in nearly every case, or several. */
export type ChannelNames = string | readonly string[];

/**
 * One handler's subscription; also the `Subscription` that its caller holds. A process may have
 * 100,000 of them, so whatever several have in common is kept elsewhere.
 */
export class HandlerSubscription {
  // Fields read for every message are declared first, so that they share a cache line.
  readonly format: PayloadFormat;
  readonly callback: RawHandler;
  /** False as soon as `unsubscribe` is called: the callback is never called again. */
  active = true;
  readonly onDiscontinuity: ((discontinuity: Discontinuity) => void) | undefined;
  #owner: SubscriptionOwner | undefined = undefined;
  #names: ChannelNames = '';
  #removed: Promise<void> | undefined = undefined;

  constructor(
    service: ServiceContext,
    callback: RawHandler,
    { codec, raw = false, onDiscontinuity }: HandlerSubscriptionOptions,
  ) {
    this.callback = callback;
    this.format = service.formatFor(codec, raw);
    this.onDiscontinuity = onDiscontinuity;
  }

  get service(): ServiceContext {
    return this.format.service;
  }

  get codec(): Codec {
    return this.format.codec;
  }

  /** `owner` has added this handler under `names`, and removes it again. */
  attachedTo(names: ChannelNames, owner: SubscriptionOwner): void {
    this.#names = names;
    this.#owner = owner;
  }

  get position(): Position | undefined {
    return this.#owner?.positionOf(this, this.#names);
  }

  /** Repeated calls return the same promise. */
  #remove(): Promise<void> {
    this.#removed ??= this.#owner?.remove(this, this.#names) ?? Promise.resolve();
    return this.#removed;
  }

  /** A getter: `unsubscribe` works detached from the object, and takes no memory in it. */
  get unsubscribe(): () => Promise<void> {
    return () => this.#remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#remove();
  }
}

/** Options of a {@link HandlerSubscription}. */
export interface HandlerSubscriptionOptions {
  readonly codec: Codec;
  /** The callback receives payloads undecoded. @default false */
  readonly raw?: boolean | undefined;
  readonly onDiscontinuity?: ((discontinuity: Discontinuity) => void) | undefined;
}
