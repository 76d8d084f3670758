import type { Position } from '../history/position.js';
import { onAbort } from '../internal/abort.js';
import { ClosedError } from '../internal/errors.js';
import { assertSignal } from '../internal/validate.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { SubscriptionKind } from '../redis/driver.js';
import type { Backpressure } from './backpressure.js';
import type { StartPosition } from './catch-up-cursor.js';
import type { ChannelNames, HandlerSubscription, SubscriptionOwner } from './handler-subscription.js';
import type { SubscriptionManager } from './subscription-manager.js';

/** The subscription of one handler. */
export interface Subscription {
  /**
   * The handler's position in the channel's history: the last message it received, or the position it
   * begins after. `undefined` for channels without history, for patterns and after `unsubscribe`.
   */
  readonly position: Position | undefined;
  /**
   * Removes the handler, which is not called again. For the last handler it resolves when Redis has confirmed
   * UNSUBSCRIBE, or at once with `unsubscribeDelay`. Idempotent; works detached.
   */
  unsubscribe(): Promise<void>;
  /** Calls `unsubscribe`; for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Undone when the service closes. */
export class DisposableStore {
  /** `unsubscribeDelay` no longer applies. */
  closing = false;
  readonly registries = new Map<SubscriptionKind, HandlerRegistry>();
  readonly #functions = new Set<() => Promise<void>>();
  readonly #handlers = new Set<HandlerSubscription>();

  get size(): number {
    return this.#functions.size + this.#handlers.size;
  }

  add(disposable: HandlerSubscription | (() => Promise<void>)): void {
    if (typeof disposable === 'function') this.#functions.add(disposable);
    else this.#handlers.add(disposable);
  }

  delete(disposable: HandlerSubscription | (() => Promise<void>)): void {
    if (typeof disposable === 'function') this.#functions.delete(disposable);
    else this.#handlers.delete(disposable);
  }

  *[Symbol.iterator](): Generator<() => Promise<void>> {
    yield* this.#functions;
    for (const handler of this.#handlers) yield handler.unsubscribe;
  }
}

export interface SubscribeRequest {
  readonly handle: ClientHandle;
  readonly manager: SubscriptionManager;
  readonly disposables: DisposableStore;
  readonly kind: SubscriptionKind;
  readonly names: ChannelNames;
  readonly handler: HandlerSubscription;
  /** @default with the next message */
  readonly start?: StartPosition | undefined;
  readonly backpressure?: Backpressure | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Ends when the handler unsubscribes or its signal aborts. A rejection removes the handler. */
export async function subscribe(request: SubscribeRequest): Promise<Subscription> {
  const { handle, manager, disposables, kind, handler, signal } = request;
  assertSignal(signal);
  let registry = disposables.registries.get(kind);
  if (registry === undefined) {
    registry = new HandlerRegistry(handle, manager, disposables, kind);
    disposables.registries.set(kind, registry);
  }
  try {
    await registry.add(request);
  } catch (error) {
    handler.unsubscribe().catch(() => {});
    throw error;
  }
  return handler;
}

class HandlerRegistry implements SubscriptionOwner {
  readonly #handle: ClientHandle;
  readonly #manager: SubscriptionManager;
  readonly #disposables: DisposableStore;
  readonly #kind: SubscriptionKind;
  readonly #removeListener = new Map<HandlerSubscription, () => void>();

  constructor(
    handle: ClientHandle,
    manager: SubscriptionManager,
    disposables: DisposableStore,
    kind: SubscriptionKind,
  ) {
    this.#handle = handle;
    this.#manager = manager;
    this.#disposables = disposables;
    this.#kind = kind;
  }

  add({ names, handler, start, backpressure, signal }: SubscribeRequest): Promise<unknown> {
    handler.attachedTo(names, this);
    this.#disposables.add(handler);
    const subscribeTo = (name: string) =>
      this.#manager.subscribe(this.#kind, name, handler, start, backpressure);
    const subscribed = this.#handle.withDeadline('subscribe', () => forEachName(names, subscribeTo));
    if (signal === undefined) return subscribed;
    return Promise.race([subscribed, this.#rejectOnAbort(handler, signal)]);
  }

  positionOf(handler: HandlerSubscription, names: ChannelNames): Position | undefined {
    return typeof names === 'string' ? this.#manager.positionOf(this.#kind, names, handler) : undefined;
  }

  remove(handler: HandlerSubscription, names: ChannelNames): Promise<void> {
    this.#removeListener.get(handler)?.();
    this.#removeListener.delete(handler);
    this.#disposables.delete(handler);
    const closing = this.#handle.closed || this.#disposables.closing;
    const delay = closing ? 0 : handler.service.unsubscribeDelay;
    const unsubscribeFrom = (name: string) => this.#manager.unsubscribe(this.#kind, name, handler, delay);
    return this.#handle
      .withDeadline('unsubscribe', () => forEachName(names, unsubscribeFrom))
      .then(undefined, (error: unknown) => {
        // `close` unsubscribes everything, so this call has not failed.
        if (!(error instanceof ClosedError)) throw error;
      });
  }

  /** Also after the subscription was confirmed. */
  #rejectOnAbort(handler: HandlerSubscription, signal: AbortSignal): Promise<never> {
    return new Promise((_, reject) => {
      const removeListener = onAbort(signal, (reason) => {
        handler
          .unsubscribe()
          .catch((error) => handler.service.reporter.report(error, { stage: 'unsubscribe' }));
        reject(reason);
      });
      this.#removeListener.set(handler, removeListener);
    });
  }
}

/** Resolves when all tasks have. */
async function forEachName(names: ChannelNames, task: (name: string) => Promise<void>): Promise<void> {
  if (typeof names === 'string') return task(names);
  await Promise.all(names.map(task));
}
