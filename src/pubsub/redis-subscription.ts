import { OF_OTHER_DATABASE, unwrap } from '../history/envelope.js';
import type { Position } from '../history/position.js';
import type { Timer } from '../internal/clock.js';
import type { RollcallError } from '../internal/errors.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import { deliverToOne } from './delivery.js';
import type { DiscontinuityReason } from './discontinuity.js';
import { HandlerList, type HistorySource, notifyDiscontinuity, servicesOf } from './handler-list.js';
import { HandlerSubscription } from './handler-subscription.js';
import type { Backpressure, Gap, HistoryCursor, StartPosition } from './history-cursor.js';
import type { ServiceContext } from './service-context.js';
import type { SubscriptionState } from './subscription-state.js';

interface Deferred {
  resolve(): void;
  reject(error: Error): void;
}

/** What all subscriptions of one kind share. */
export interface SubscriptionGroup extends HistorySource {
  readonly kind: SubscriptionKind;
  /** See {@link databaseSuffix}. */
  readonly databaseSuffix: string;
  /** When the group was created, by the clock's `now`. */
  readonly began: number;
}

/** State that is needed only between two phases of a subscription. */
class PendingTransition {
  joining: Deferred[] = [];
  leaving: Deferred[] = [];
  timer: Timer | undefined;
  /** The gap that ends when SUBSCRIBE is confirmed again. */
  gap: Gap | undefined;
  /** The handlers that were subscribed when the gap began. */
  affectedHandlers: readonly HandlerSubscription[] = [];
  /** The service whose `unsubscribeDelay` keeps a subscription without handlers. */
  keptAliveBy: ServiceContext | undefined;
  /** Consecutive refusals of SUBSCRIBE after a gap. */
  refusals = 0;
  /** The connection was lost while SUBSCRIBE was in flight: a confirmation that still arrives is void. */
  stale = false;
}

/**
 * One (kind, name) in Redis and its handlers. A process may have 100,000 of them, nearly all with one
 * handler, no history and no transition. So everything else is created on demand, and there are no
 * private methods, because each would take memory in every object.
 */
export class RedisSubscription {
  // Fields read for every message are declared first, so that they share a cache line.
  transition: PendingTransition | undefined = undefined;
  /** One handler, or a list; always a list on channels with history. */
  #handlers: HandlerSubscription | HandlerList | undefined = undefined;
  /** The present handlers have received messages without history. */
  #hasUnchainedMessages = false;
  readonly #group: SubscriptionGroup;
  readonly name: string;
  phase: SubscriptionState = 'idle';
  /** Payloads are needed as bytes. */
  binary = false;
  /** When it became active for the present handlers, in ms since `#group.began`: small enough to need no heap number. */
  #activeSince: number | undefined = undefined;

  constructor(group: SubscriptionGroup, name: string) {
    this.#group = group;
    this.name = name;
  }

  get kind(): SubscriptionKind {
    return this.#group.kind;
  }

  get handlerCount(): number {
    const handlers = this.#handlers;
    if (handlers === undefined) return 0;
    return handlers instanceof HandlerSubscription ? 1 : handlers.size;
  }

  /** It has been active for its present handlers, so that a refusal of SUBSCRIBE is retried. */
  get established(): boolean {
    return this.#activeSince !== undefined;
  }

  handlers(): HandlerSubscription[] {
    const handlers = this.#handlers;
    if (handlers === undefined) return [];
    return handlers instanceof HandlerSubscription ? [handlers] : [...handlers];
  }

  has(handler: HandlerSubscription): boolean {
    const handlers = this.#handlers;
    return handlers instanceof HandlerList ? handlers.has(handler) : handlers === handler;
  }

  /** Adds a handler that begins with the next message, or at `start`. Returns its cursor, if it has one. */
  add(
    handler: HandlerSubscription,
    start?: StartPosition,
    backpressure?: Backpressure,
  ): HistoryCursor | undefined {
    let cursor: HistoryCursor | undefined;
    if (this.#handlers === undefined && start === undefined) this.#handlers = handler;
    else {
      this.ensureList(start !== undefined);
      cursor = (this.#handlers as HandlerList).add(handler, start, backpressure);
    }
    if (this.phase === 'active') {
      // Also set if `unsubscribeDelay` has kept the subscription without handlers.
      this.#activeSince ??= elapsedSince(this.#group);
      cursor?.subscribed();
    }
    return cursor;
  }

  /** Turns the handlers into a list; with `history` one that follows the channel's history. */
  ensureList(history: boolean): void {
    let handlers = this.#handlers;
    if (!(handlers instanceof HandlerList)) {
      const only = handlers;
      handlers = new HandlerList(this, this.#group);
      if (only !== undefined) handlers.add(only);
      this.#handlers = handlers;
    }
    if (!history || handlers.followsHistory) return;
    handlers.followHistory(this.#hasUnchainedMessages);
    if (this.phase === 'active') handlers.subscribed(undefined);
    else if (this.transition?.gap !== undefined) handlers.dropped();
  }

  /** The handler's position in the channel's history, as far as it is known. */
  positionOf(handler: HandlerSubscription): Position | undefined {
    return this.#handlers instanceof HandlerList ? this.#handlers.positionOf(handler) : undefined;
  }

  remove(handler: HandlerSubscription): void {
    handler.active = false;
    const handlers = this.#handlers;
    if (handlers === undefined) return;
    if (handlers instanceof HandlerList) handlers.delete(handler);
    else if (handlers === handler) this.#handlers = undefined;
    if (this.handlerCount > 0) return;
    this.#handlers = undefined;
    this.#hasUnchainedMessages = false;
    this.#activeSince = undefined;
    // The next handler misses nothing of this gap.
    if (this.transition !== undefined) this.transition.gap = undefined;
  }

  /** Delivers a message from Redis to the handlers. */
  receive(channel: string, payload: Payload): void {
    // A message can arrive before the confirmation of SUBSCRIBE; the gap was before it.
    const { transition } = this;
    if (transition?.gap !== undefined) {
      const { gap, affectedHandlers } = transition;
      transition.gap = undefined;
      transition.refusals = 0;
      this.subscribed(gap, affectedHandlers);
    }
    const envelope = unwrap(payload, this.#group.databaseSuffix);
    if (envelope === OF_OTHER_DATABASE) return;
    const link = envelope?.link;
    // The messages of a pattern belong to many chains.
    if (link !== undefined && this.kind !== 'pattern' && this.handlerCount > 0) this.ensureList(true);
    const handlers = this.#handlers;
    if (handlers === undefined) return;
    const transient = envelope?.transient === true;
    // Written only once: with 100,000 subscriptions a write is likely to miss the CPU cache.
    if (!this.#hasUnchainedMessages && !transient) this.#hasUnchainedMessages = true;
    const content = envelope === undefined ? payload : envelope.payload;
    if (handlers instanceof HandlerList) handlers.receive(channel, content, link, transient);
    else deliverToOne(handlers, this, channel, content, link?.position);
  }

  /** Redis has confirmed SUBSCRIBE. */
  confirmed(): void {
    this.#activeSince = elapsedSince(this.#group);
    const { gap, affectedHandlers } = this.transition ?? {};
    this.settleWaiters('leaving');
    this.settleWaiters('joining');
    this.transition = undefined;
    this.subscribed(gap, affectedHandlers);
  }

  /** Messages arrive, perhaps after a gap. */
  subscribed(gap: Gap | undefined, affectedHandlers: readonly HandlerSubscription[] = []): void {
    const handlers = this.#handlers;
    if (handlers instanceof HandlerList && handlers.followsHistory) handlers.subscribed(gap);
    else if (gap !== undefined) notifyDiscontinuity(affectedHandlers, { ...gap, recovered: false }, this);
  }

  /** The connection is lost; it was last known to work at `lastActive`. */
  dropped(reason: DiscontinuityReason, lastActive: number): void {
    const since = new Date(Math.max(lastActive, this.#group.began + (this.#activeSince ?? 0)));
    const transition = this.ensureTransition();
    if (transition.gap === undefined) {
      transition.gap = { reason, since };
      transition.affectedHandlers = this.handlers();
    }
    if (this.#handlers instanceof HandlerList) this.#handlers.dropped();
  }

  ensureTransition(): PendingTransition {
    this.transition ??= new PendingTransition();
    return this.transition;
  }

  /** Schedules the next attempt to subscribe, or the end of the unsubscribe delay. */
  schedule(ms: number, task: () => void, options?: { keepAlive?: boolean }): void {
    this.cancel();
    const transition = this.ensureTransition();
    const run = () => {
      transition.timer = undefined;
      task();
    };
    transition.timer = this.#group.clock.after(ms, run, options);
  }

  /** Cancels what was scheduled; false if there was nothing. */
  cancel(): boolean {
    const { transition } = this;
    if (transition?.timer === undefined) return false;
    transition.timer.cancel();
    transition.timer = undefined;
    return true;
  }

  /** Reports to every service with a handler here that Redis refuses the subscription. */
  report(error: RollcallError): void {
    for (const service of servicesOf(this.handlers())) {
      const name = service.stripPrefix(this.kind, this.name);
      const origin = this.kind === 'pattern' ? { channel: name, pattern: name } : { channel: name };
      service.reporter.report(error, { stage: 'subscribe', ...origin });
    }
  }

  waitFor(list: 'joining' | 'leaving'): Promise<void> {
    return new Promise((resolve, reject) => this.ensureTransition()[list].push({ resolve, reject }));
  }

  /** Resolves all waiters of `list`, or rejects them with `error`. */
  settleWaiters(list: 'joining' | 'leaving', error?: Error): void {
    if (this.transition === undefined) return;
    const waiters = this.transition[list];
    this.transition[list] = [];
    for (const waiter of waiters) {
      if (error === undefined) waiter.resolve();
      else waiter.reject(error);
    }
  }
}

function elapsedSince({ clock, began }: SubscriptionGroup): number {
  return clock.now() - began;
}
