import type { ChainLink } from '../history/chain.js';
import { unwrap } from '../history/envelope.js';
import type { RetryingReader } from '../history/history-reader.js';
import type { Position } from '../history/position.js';
import type { Clock, Timer } from '../internal/clock.js';
import type { RollcallError } from '../internal/errors.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import { type Backpressure, Delivery, deliver } from './delivery.js';
import type { DiscontinuityReason } from './discontinuity.js';
import { emitDeliverEvent, HandlerList, notifyDiscontinuity, servicesOf } from './handler-list.js';
import { HandlerSubscription } from './handler-subscription.js';
import type { CursorOwner, Gap, HistoryCursor, StartPosition } from './history-cursor.js';
import { HistoryCursors } from './history-cursors.js';
import type { ServiceContext } from './service-context.js';
import type { SubscriptionState } from './subscription-state.js';

interface Deferred {
  resolve(): void;
  reject(error: Error): void;
}

/** What all entries of one kind have in common. */
export interface SubscriptionGroup {
  readonly kind: SubscriptionKind;
  readonly reader: RetryingReader;
  readonly clock: Clock;
  /** When, by the clock's `now`, the first of them could be there. */
  readonly began: number;
}

/** What matters only on the way from one phase to the next. */
class PendingTransition {
  joining: Deferred[] = [];
  leaving: Deferred[] = [];
  timer: Timer | undefined;
  /** What is missing while it is subscribed anew. */
  gap: Gap | undefined;
  /** Who was there when it began. */
  affectedHandlers: readonly HandlerSubscription[] = [];
  /** It outlives its last handler for the sake of this service. */
  keptAliveBy: ServiceContext | undefined;
  /** Refusals in a row while it is subscribed anew. */
  refusals = 0;
  /** It was dropped while a SUBSCRIBE was under way: an answer that it is there comes too late. */
  stale = false;
}

/**
 * One (kind, name) and everybody who listens to it. There may be a hundred thousand of them, nearly
 * all with one handler, no history and nothing under way: the rest is made when it is needed, and even
 * a private method would take room in each.
 */
export class RedisSubscription implements CursorOwner {
  // What every message needs comes first, where one look into memory finds it.
  transition: PendingTransition | undefined = undefined;
  /**
   * One or some; in cohorts from the first message with a place in a chain, or the first who wants to
   * begin at one.
   */
  #handlers: HandlerSubscription | HandlerList | HistoryCursors | undefined = undefined;
  /** They have got messages without a place in a chain. */
  #mixed = false;
  readonly #home: SubscriptionGroup;
  readonly name: string;
  phase: SubscriptionState = 'idle';
  /** Payloads are wanted as bytes. */
  binary = false;
  /**
   * When it became active for those who listen now, in ms since its home began: the time of day would
   * be too large a number to have room in here.
   */
  #activeSince: number | undefined = undefined;

  constructor(home: SubscriptionGroup, name: string) {
    this.#home = home;
    this.name = name;
  }

  get kind(): SubscriptionKind {
    return this.#home.kind;
  }

  /** How many handlers there are. */
  get handlerCount(): number {
    const listening = this.#handlers;
    if (listening === undefined) return 0;
    return listening instanceof HandlerSubscription ? 1 : listening.size;
  }

  /** It has been active since its first handler came: a refusal then is no reason to give it up. */
  get established(): boolean {
    return this.#activeSince !== undefined;
  }

  /** All members. */
  members(): HandlerSubscription[] {
    const listening = this.#handlers;
    if (listening === undefined) return [];
    return listening instanceof HandlerSubscription ? [listening] : [...listening];
  }

  has(member: HandlerSubscription): boolean {
    const listening = this.#handlers;
    if (listening === undefined || listening instanceof HandlerSubscription) return listening === member;
    return listening.has(member);
  }

  /**
   * Adds `member`, who begins with the next message, or where `start` says: then the cohort knows when
   * that is known.
   */
  add(member: HandlerSubscription, start?: StartPosition, gate?: Backpressure): HistoryCursor | undefined {
    const listening = this.#handlers;
    let cohort: HistoryCursor | undefined;
    if (start !== undefined || listening instanceof HistoryCursors) {
      const cohorts = ensureCursors(listening, this, this.#home, this.#mixed);
      this.#handlers = cohorts;
      cohort = cohorts.add(member, start, gate);
    } else if (listening === undefined) this.#handlers = member;
    else if (listening instanceof HandlerList) listening.add(member);
    else this.#handlers = new HandlerList([listening, member]);
    if (this.phase === 'active') {
      // Also where it outlived its last handler for a while.
      this.#activeSince ??= elapsedSince(this.#home);
      cohort?.subscribed();
    }
    return cohort;
  }

  /** Where `member` stands in the channel's history, as far as it has one. */
  positionOf(member: HandlerSubscription): Position | undefined {
    return this.#handlers instanceof HistoryCursors ? this.#handlers.positionOf(member) : undefined;
  }

  remove(member: HandlerSubscription): void {
    member.active = false;
    const listening = this.#handlers;
    if (listening === undefined) return;
    if (!(listening instanceof HandlerSubscription)) listening.delete(member);
    else if (listening === member) this.#handlers = undefined;
    if (this.handlerCount > 0) return;
    this.#handlers = undefined;
    this.#mixed = false;
    this.#activeSince = undefined;
    // Whoever comes next misses nothing of it.
    if (this.transition !== undefined) this.transition.gap = undefined;
  }

  /** A message came in. */
  receive(channel: string, payload: Payload): void {
    // It may come in before the confirmation of SUBSCRIBE is seen; the gap was before it.
    const { transition } = this;
    if (transition?.gap !== undefined) {
      const { gap, affectedHandlers: concerned } = transition;
      transition.gap = undefined;
      transition.refusals = 0;
      this.subscribed(gap, concerned);
    }
    const envelope = unwrap(payload);
    if (envelope === undefined) return this.dispatch(channel, payload, undefined, false);
    // A pattern's messages belong to many chains.
    if (envelope.link !== undefined && this.kind !== 'pattern' && this.handlerCount > 0) {
      this.#handlers = ensureCursors(this.#handlers, this, this.#home, this.#mixed);
    }
    this.dispatch(channel, envelope.payload, envelope.link, envelope.transient);
  }

  /** Hands on what came in. */
  dispatch(channel: string, payload: Payload, link: ChainLink | undefined, transient: boolean): void {
    const { kind, name } = this;
    const position = link?.position;
    const listening = this.#handlers;
    if (listening === undefined) return;
    // Not written again and again: there may be many of these, and few in the processor's cache.
    if (!this.#mixed && !transient) this.#mixed = true;
    if (listening instanceof HandlerSubscription) {
      emitDeliverEvent(1, kind, channel, payload, position);
      return deliver(listening, this, channel, payload, position);
    }
    const delivery = new Delivery(kind, name, channel, payload, position, transient);
    if (listening instanceof HandlerList) listening.dispatch(delivery);
    else listening.receive(delivery, link);
  }

  /** Redis has confirmed it. */
  confirmed(): void {
    this.#activeSince = elapsedSince(this.#home);
    const { gap, affectedHandlers: concerned } = this.transition ?? {};
    this.settleWaiters('leaving');
    this.settleWaiters('joining');
    this.transition = undefined;
    this.subscribed(gap, concerned);
  }

  /** The subscription is there, perhaps after a gap. */
  subscribed(gap: Gap | undefined, concerned: readonly HandlerSubscription[] = []): void {
    if (this.#handlers instanceof HistoryCursors) this.#handlers.subscribed(gap);
    else if (gap !== undefined) notifyDiscontinuity(concerned, { ...gap, recovered: false }, this);
  }

  /** The subscription is gone, for the time being; the connection was last heard at `heard`. */
  dropped(reason: DiscontinuityReason, heard: number): void {
    const since = new Date(Math.max(heard, this.#home.began + (this.#activeSince ?? 0)));
    const transition = this.ensureTransition();
    if (transition.gap === undefined) {
      transition.gap = { reason, since };
      transition.affectedHandlers = this.members();
    }
    if (this.#handlers instanceof HistoryCursors) this.#handlers.dropped();
  }

  /** Cohorts that have come to stand at one place become one. */
  onCaughtUp(cohort: HistoryCursor): void {
    if (this.#handlers instanceof HistoryCursors) this.#handlers.level(cohort);
  }

  /** What is under way. */
  ensureTransition(): PendingTransition {
    this.transition ??= new PendingTransition();
    return this.transition;
  }

  /** Calls `task` after `ms`: for another attempt, or for the end of the unsubscribe delay. */
  wait(ms: number, task: () => void, options?: { keepAlive?: boolean }): void {
    this.cancel();
    const transition = this.ensureTransition();
    const over = () => {
      transition.timer = undefined;
      task();
    };
    transition.timer = this.#home.clock.after(ms, over, options);
  }

  /** Ends the wait; false when there was none. */
  cancel(): boolean {
    const { transition } = this;
    if (transition?.timer === undefined) return false;
    transition.timer.cancel();
    transition.timer = undefined;
    return true;
  }

  /** Tells every service that listens that Redis refuses the subscription. */
  report(error: RollcallError): void {
    for (const audience of servicesOf(this.members())) {
      const shown = audience.stripPrefix(this.kind, this.name);
      const where = this.kind === 'pattern' ? { channel: shown, pattern: shown } : { channel: shown };
      audience.reporter.report(error, { stage: 'subscribe', ...where });
    }
  }

  waitFor(list: 'joining' | 'leaving'): Promise<void> {
    return new Promise((resolve, reject) => this.ensureTransition()[list].push({ resolve, reject }));
  }

  /** Answers everybody in `list`. */
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

/** `listening` in cohorts, which follow the channel's history. */
function ensureCursors(
  listening: HandlerSubscription | HandlerList | HistoryCursors | undefined,
  entry: RedisSubscription,
  { reader, clock }: SubscriptionGroup,
  mixed: boolean,
): HistoryCursors {
  if (listening instanceof HistoryCursors) return listening;
  const cohorts = new HistoryCursors(entry, reader, () => clock.now());
  if (listening === undefined) return cohorts;
  cohorts.adopt(listening instanceof HandlerSubscription ? new HandlerList([listening]) : listening, mixed);
  if (entry.phase === 'active') cohorts.subscribed(undefined);
  else if (entry.transition?.gap !== undefined) cohorts.dropped();
  return cohorts;
}

function elapsedSince({ clock, began }: SubscriptionGroup): number {
  return clock.now() - began;
}
