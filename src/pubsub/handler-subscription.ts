import type { Position } from '../history/position.js';
import type { Codec } from '../internal/codec.js';
import { type Backpressure, GuardedBackpressure } from './backpressure.js';
import type { Discontinuity } from './discontinuity.js';
import type { RawHandler } from './message-context.js';
import type { PayloadFormat, ServiceContext } from './service-context.js';

export interface SubscriptionOwner {
  remove(handler: HandlerSubscription, names: ChannelNames): Promise<void>;
  positionOf(handler: HandlerSubscription, names: ChannelNames): Position | undefined;
}

/** Nearly always one name. */
export type ChannelNames = string | readonly string[];

/** Also the caller's `Subscription`. A process may have 100,000, so common state is kept elsewhere. */
export class HandlerSubscription {
  // Fields read per message come first, to share a cache line.
  readonly format: PayloadFormat;
  readonly callback: RawHandler;
  /** False from `unsubscribe` on: the callback is not called. */
  active = true;
  readonly onDiscontinuity: ((discontinuity: Discontinuity) => void) | undefined;
  readonly #receiver: Backpressure | undefined;
  #owner: SubscriptionOwner | undefined = undefined;
  #names: ChannelNames = '';
  #removed: Promise<void> | undefined = undefined;

  constructor(
    service: ServiceContext,
    callback: RawHandler,
    { codec, raw = false, onDiscontinuity, backpressure }: HandlerSubscriptionOptions,
  ) {
    this.callback = callback;
    this.format = service.formatFor(codec, raw);
    this.onDiscontinuity = onDiscontinuity;
    this.#receiver = backpressure;
  }

  get service(): ServiceContext {
    return this.format.service;
  }

  get codec(): Codec {
    return this.format.codec;
  }

  /** During a catch-up. Created on demand, because most handlers are never asked. */
  get backpressure(): Backpressure | undefined {
    if (this.#receiver === undefined) return undefined;
    const channel = this.service.stripPrefix('channel', this.#names as string);
    return new GuardedBackpressure(this.#receiver, this.service, channel);
  }

  /** `owner` removes the handler later. */
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

  /** A getter: works detached, and takes no memory per object. */
  get unsubscribe(): () => Promise<void> {
    return () => this.#remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#remove();
  }
}

export interface HandlerSubscriptionOptions {
  readonly codec: Codec;
  /** @default false */
  readonly raw?: boolean | undefined;
  readonly onDiscontinuity?: ((discontinuity: Discontinuity) => void) | undefined;
  /** Only with one channel. */
  readonly backpressure?: Backpressure | undefined;
}
