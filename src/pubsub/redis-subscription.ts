import { OF_OTHER_DATABASE, unwrap } from '../history/envelope.js';
import type { Position } from '../history/position.js';
import type { Timer } from '../internal/clock.js';
import type { RollcallError } from '../internal/errors.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import type { Backpressure } from './backpressure.js';
import type { CatchUpCursor, Gap, StartPosition } from './catch-up-cursor.js';
import { deliverToOne } from './delivery.js';
import type { DiscontinuityReason } from './discontinuity.js';
import { HandlerList, type HistorySource, notifyDiscontinuity, servicesOf } from './handler-list.js';
import { HandlerSubscription } from './handler-subscription.js';
import type { ServiceContext } from './service-context.js';
import type { SubscriptionState } from './subscription-state.js';

interface Deferred {
  resolve(): void;
  reject(error: Error): void;
}

/** Shared by all subscriptions of one kind. */
export interface SubscriptionGroup extends HistorySource {
  readonly kind: SubscriptionKind;
  readonly databaseSuffix: string;
  /** By the clock's `now`. */
  readonly began: number;
}

/** Only needed between two phases. */
class PendingTransition {
  joining: Deferred[] = [];
  leaving: Deferred[] = [];
  timer: Timer | undefined;
  /** Ends when SUBSCRIBE is confirmed again. */
  gap: Gap | undefined;
  /** Handlers at the beginning of the gap. */
  affectedHandlers: readonly HandlerSubscription[] = [];
  /** Its `unsubscribeDelay` keeps a subscription without handlers. */
  keptAliveBy: ServiceContext | undefined;
  /** Consecutive refusals of SUBSCRIBE after a gap. */
  refusals = 0;
  /** The connection was lost during SUBSCRIBE: ignore a late confirmation. */
  stale = false;
}

/**
 * One (kind, name) in Redis. A process may have 100,000, nearly all with one handler, no history and no
 * transition. So the rest is created on demand, and private methods are avoided because each takes memory per
 * object.
 */
export class RedisSubscription {
  // Fields read per message come first, to share a cache line.
  transition: PendingTransition | undefined = undefined;
  /** Always a list on channels with history. */
  #handlers: HandlerSubscription | HandlerList | undefined = undefined;
  /** Of the present handlers. */
  #hasUnchainedMessages = false;
  readonly #group: SubscriptionGroup;
  readonly name: string;
  phase: SubscriptionState = 'idle';
  binary = false;
  /** In ms since `#group.began`: small enough to need no heap number. */
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

  /** Was active for its present handlers, so a refused SUBSCRIBE is retried. */
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

  /** Returns the handler's cursor, if it has one. */
  add(
    handler: HandlerSubscription,
    start?: StartPosition,
    backpressure?: Backpressure,
  ): CatchUpCursor | undefined {
    let cursor: CatchUpCursor | undefined;
    if (this.#handlers === undefined && start === undefined) this.#handlers = handler;
    else {
      this.ensureList(start !== undefined);
      cursor = (this.#handlers as HandlerList).add(handler, start, backpressure);
    }
    if (this.phase === 'active') {
      // Already set if `unsubscribeDelay` kept the subscription.
      this.#activeSince ??= elapsedSince(this.#group);
      cursor?.subscribed();
    }
    return cursor;
  }

  /** With `history`, the list follows the channel's history. */
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

  receive(channel: string, payload: Payload): void {
    // A message can arrive before the confirmation; the gap was before it.
    const { transition } = this;
    if (transition?.gap !== undefined) {
      const { gap, affectedHandlers } = transition;
      transition.gap = undefined;
      transition.refusals = 0;
      this.subscribed(gap, affectedHandlers);
    }
    const expected = this.#handlers instanceof HandlerList ? this.#handlers.lastPosition : undefined;
    const envelope = unwrap(payload, this.#group.databaseSuffix, expected);
    if (envelope === OF_OTHER_DATABASE) return;
    const link = envelope?.link;
    // The messages of a pattern belong to many chains.
    if (link !== undefined && this.kind !== 'pattern' && this.handlerCount > 0) this.ensureList(true);
    const handlers = this.#handlers;
    if (handlers === undefined) return;
    const transient = envelope?.transient === true;
    // Written once: a write is likely to miss the CPU cache.
    if (!this.#hasUnchainedMessages && !transient) this.#hasUnchainedMessages = true;
    const content = envelope === undefined ? payload : envelope.payload;
    if (handlers instanceof HandlerList) handlers.receive(channel, content, link, transient);
    else deliverToOne(handlers, this, channel, content, link?.position);
  }

  confirmed(): void {
    this.#activeSince = elapsedSince(this.#group);
    const { gap, affectedHandlers } = this.transition ?? {};
    this.settleWaiters('leaving');
    this.settleWaiters('joining');
    this.transition = undefined;
    this.subscribed(gap, affectedHandlers);
  }

  subscribed(gap: Gap | undefined, affectedHandlers: readonly HandlerSubscription[] = []): void {
    const handlers = this.#handlers;
    if (handlers instanceof HandlerList && handlers.followsHistory) handlers.subscribed(gap);
    else if (gap !== undefined) notifyDiscontinuity(affectedHandlers, { ...gap, recovered: false }, this);
  }

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

  /** The next attempt to subscribe, or the end of the unsubscribe delay. */
  schedule(ms: number, task: () => void, options?: { keepAlive?: boolean }): void {
    this.cancel();
    const transition = this.ensureTransition();
    const run = () => {
      transition.timer = undefined;
      task();
    };
    transition.timer = this.#group.clock.after(ms, run, options);
  }

  cancel(): boolean {
    const { transition } = this;
    if (transition?.timer === undefined) return false;
    transition.timer.cancel();
    transition.timer = undefined;
    return true;
  }

  /** Reports to every service with a handler here. */
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

  /** Rejects with `error` if given. */
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
