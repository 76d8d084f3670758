import type { Position } from '../history/position.js';
import type { Codec } from '../internal/codec.js';
import type { Discontinuity } from './discontinuity.js';
import type { RawHandler } from './message-context.js';
import type { PayloadFormat, ServiceContext } from './service-context.js';

/** How a {@link HandlerSubscription} leaves what it has joined. */
export interface SubscriptionOwner {
  remove(member: HandlerSubscription, names: ChannelNames): Promise<void>;
  positionOf(member: HandlerSubscription, names: ChannelNames): Position | undefined;
}

/** One name, as almost always, or some. */
export type ChannelNames = string | readonly string[];

/**
 * One handler's place in a subscription; also what its owner holds of it. There may be a hundred
 * thousand of them, so whatever some have in common is not in here.
 */
export class HandlerSubscription {
  // What every message needs comes first, where one look into memory finds it.
  readonly form: PayloadFormat;
  readonly handler: RawHandler;
  /** False from the moment its owner let go: it is never called again. */
  active = true;
  readonly onDiscontinuity: ((discontinuity: Discontinuity) => void) | undefined;
  #exit: SubscriptionOwner | undefined = undefined;
  #names: ChannelNames = '';
  #left: Promise<void> | undefined = undefined;

  constructor(
    audience: ServiceContext,
    handler: RawHandler,
    { codec, raw = false, onDiscontinuity }: HandlerSubscriptionOptions,
  ) {
    this.handler = handler;
    this.form = audience.formatFor(codec, raw);
    this.onDiscontinuity = onDiscontinuity;
  }

  get audience(): ServiceContext {
    return this.form.audience;
  }

  get codec(): Codec {
    return this.form.codec;
  }

  /** It has joined under `names`, and leaves by `exit`. */
  attachedTo(names: ChannelNames, exit: SubscriptionOwner): void {
    this.#names = names;
    this.#exit = exit;
  }

  get position(): Position | undefined {
    return this.#exit?.positionOf(this, this.#names);
  }

  /** Repeated calls return the same promise. */
  #remove(): Promise<void> {
    this.#left ??= this.#exit?.remove(this, this.#names) ?? Promise.resolve();
    return this.#left;
  }

  /** A getter, so that it works detached from the subscription and takes no memory in it. */
  get unsubscribe(): () => Promise<void> {
    return () => this.#remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#remove();
  }
}

/** What a {@link HandlerSubscription} is told beside. */
export interface HandlerSubscriptionOptions {
  readonly codec: Codec;
  /** Gets payloads as they came, undecoded. */
  readonly raw?: boolean | undefined;
  readonly onDiscontinuity?: ((discontinuity: Discontinuity) => void) | undefined;
}
