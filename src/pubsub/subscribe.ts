import type { Position } from '../history/position.js';
import { onAbort } from '../internal/abort.js';
import { ClosedError } from '../internal/errors.js';
import type { Lifetime } from '../internal/lifetime.js';
import { assertSignal } from '../internal/validate.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { SubscriptionKind } from '../redis/driver.js';
import type { Backpressure } from './backpressure.js';
import type { StartPosition } from './catch-up-cursor.js';
import type { ChannelNames, HandlerSubscription, SubscriptionOwner } from './handler-subscription.js';
import { SETTLED, type SubscriptionManager } from './subscription-manager.js';

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
  /** Its end rejects, but only before the confirmation. */
  readonly lifetime?: Lifetime | undefined;
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

  add({ names, handler, start, backpressure, signal, lifetime }: SubscribeRequest): Promise<unknown> {
    handler.attachedTo(names, this);
    this.#disposables.add(handler);
    const subscribed = forEachName(names, (name) =>
      this.#manager.subscribe(this.#kind, name, handler, start, backpressure),
    );
    if (subscribed === SETTLED) {
      if (signal !== undefined) this.#unsubscribeOnAbort(handler, signal);
      return SETTLED;
    }
    const confirmed = this.#handle.withDeadline('subscribe', () => subscribed);
    if (signal === undefined && lifetime === undefined) return confirmed;
    return new Promise((resolve, reject) => {
      if (signal !== undefined) this.#unsubscribeOnAbort(handler, signal, reject);
      const removeTask = lifetime?.onEnd(() => {
        this.#unsubscribe(handler);
        reject(new ClosedError('the receiver of the messages has ended'));
      });
      confirmed.then(resolve, reject).finally(removeTask);
    });
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
    const left = forEachName(names, (name) => this.#manager.unsubscribe(this.#kind, name, handler, delay));
    if (left === SETTLED) return SETTLED;
    return this.#handle
      .withDeadline('unsubscribe', () => left)
      .then(undefined, (error: unknown) => {
        // `close` unsubscribes everything, so this call has not failed.
        if (!(error instanceof ClosedError)) throw error;
      });
  }

  /** Also after the subscription was confirmed. */
  #unsubscribeOnAbort(
    handler: HandlerSubscription,
    signal: AbortSignal,
    reject?: (reason: unknown) => void,
  ): void {
    const removeListener = onAbort(signal, (reason) => {
      this.#unsubscribe(handler);
      reject?.(reason);
    });
    this.#removeListener.set(handler, removeListener);
  }

  /** No caller awaits it. */
  #unsubscribe(handler: HandlerSubscription): void {
    handler.unsubscribe().catch((error) => handler.service.reporter.report(error, { stage: 'unsubscribe' }));
  }
}

/** Resolves when all tasks have. */
function forEachName(names: ChannelNames, task: (name: string) => Promise<void>): Promise<unknown> {
  return typeof names === 'string' ? task(names) : Promise.all(names.map(task));
}
