import type { Position } from '../history/position.js';
import { onAbort } from '../internal/abort.js';
import { ClosedError } from '../internal/errors.js';
import { assertSignal } from '../internal/validate.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { SubscriptionKind } from '../redis/driver.js';
import type { Backpressure } from './delivery.js';
import type { ChannelNames, HandlerSubscription, SubscriptionOwner } from './handler-subscription.js';
import type { StartPosition } from './history-cursor.js';
import type { SubscriptionManager } from './subscription-manager.js';

/** A handler's place in a subscription. */
export interface Subscription {
  /**
   * Where the handler stands in the channel's history: the last message it got, or after which it
   * begins. `undefined` for channels without history, patterns, and what is unsubscribed.
   */
  readonly position: Position | undefined;
  /**
   * Takes the handler out; from this moment it is not called again. Resolves when Redis has
   * confirmed, where it was the last one; with `unsubscribeDelay` at once. Idempotent, and works
   * detached from the object.
   */
  unsubscribe(): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Functions that undo what a service has begun; it calls them all when it closes. */
export class DisposableStore {
  /** The service is closing: nothing is to outlive its last handler. */
  closing = false;
  /** How its handlers come and go. */
  readonly registries = new Map<SubscriptionKind, HandlerRegistry>();
  readonly #functions = new Set<() => Promise<void>>();
  readonly #members = new Set<HandlerSubscription>();

  get size(): number {
    return this.#functions.size + this.#members.size;
  }

  add(leaving: HandlerSubscription | (() => Promise<void>)): void {
    if (typeof leaving === 'function') this.#functions.add(leaving);
    else this.#members.add(leaving);
  }

  delete(leaving: HandlerSubscription | (() => Promise<void>)): void {
    if (typeof leaving === 'function') this.#functions.delete(leaving);
    else this.#members.delete(leaving);
  }

  *[Symbol.iterator](): Generator<() => Promise<void>> {
    yield* this.#functions;
    for (const member of this.#members) yield member.unsubscribe;
  }
}

/** Where a handler is to be added, and by whom. */
export interface SubscribeRequest {
  readonly link: ClientHandle;
  readonly hub: SubscriptionManager;
  readonly leaving: DisposableStore;
  readonly kind: SubscriptionKind;
  readonly names: ChannelNames;
  readonly member: HandlerSubscription;
  /** Where in the channel's history to begin; without it, with what comes. */
  readonly start?: StartPosition | undefined;
  /** Where its messages wait, when that can run full. */
  readonly gate?: Backpressure | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Adds a handler under some names, for as long as its subscription and its signal last. When it
 * rejects, the handler is gone.
 */
export async function subscribe(request: SubscribeRequest): Promise<Subscription> {
  const { link, hub, leaving, kind, member, signal } = request;
  assertSignal(signal);
  let door = leaving.registries.get(kind);
  if (door === undefined) {
    door = new HandlerRegistry(link, hub, leaving, kind);
    leaving.registries.set(kind, door);
  }
  try {
    await door.add(request);
  } catch (error) {
    member.unsubscribe().catch(() => {});
    throw error;
  }
  return member;
}

/** The way in and out of one kind of subscriptions, for all handlers of a service. */
class HandlerRegistry implements SubscriptionOwner {
  readonly #link: ClientHandle;
  readonly #hub: SubscriptionManager;
  readonly #leaving: DisposableStore;
  readonly #kind: SubscriptionKind;
  /** For those who have a signal: ends their interest in it. */
  readonly #forget = new Map<HandlerSubscription, () => void>();

  constructor(
    link: ClientHandle,
    hub: SubscriptionManager,
    leaving: DisposableStore,
    kind: SubscriptionKind,
  ) {
    this.#link = link;
    this.#hub = hub;
    this.#leaving = leaving;
    this.#kind = kind;
  }

  add({ names, member, start, gate, signal }: SubscribeRequest): Promise<unknown> {
    member.attachedTo(names, this);
    this.#leaving.add(member);
    const join = (name: string) => this.#hub.subscribe(this.#kind, name, member, start, gate);
    const joined = this.#link.withDeadline('subscribe', () => forEachName(names, join));
    return signal === undefined ? joined : Promise.race([joined, this.#aborted(member, signal)]);
  }

  positionOf(member: HandlerSubscription, names: ChannelNames): Position | undefined {
    return typeof names === 'string' ? this.#hub.positionOf(this.#kind, names, member) : undefined;
  }

  remove(member: HandlerSubscription, names: ChannelNames): Promise<void> {
    this.#forget.get(member)?.();
    this.#forget.delete(member);
    this.#leaving.delete(member);
    const delay = this.#link.closed || this.#leaving.closing ? 0 : member.audience.unsubscribeDelay;
    const leave = (name: string) => this.#hub.unsubscribe(this.#kind, name, member, delay);
    return this.#link
      .withDeadline('unsubscribe', () => forEachName(names, leave))
      .then(undefined, (error: unknown) => {
        // The service's end takes everything out; there is nothing to fail.
        if (!(error instanceof ClosedError)) throw error;
      });
  }

  /** Rejects when `signal` aborts; the member leaves then, also later. */
  #aborted(member: HandlerSubscription, signal: AbortSignal): Promise<never> {
    return new Promise((_, reject) => {
      const forget = onAbort(signal, (reason) => {
        member
          .unsubscribe()
          .catch((error) => member.audience.reporter.report(error, { stage: 'unsubscribe' }));
        reject(reason);
      });
      this.#forget.set(member, forget);
    });
  }
}

/** Done when `task` is, for every one of `names`. */
async function forEachName(names: ChannelNames, task: (name: string) => Promise<void>): Promise<void> {
  if (typeof names === 'string') return task(names);
  await Promise.all(names.map(task));
}
