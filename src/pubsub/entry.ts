import type { ChainLink } from '../history/chain.js';
import { unwrap } from '../history/envelope.js';
import type { RetryingReader } from '../history/history-reader.js';
import type { Position } from '../history/position.js';
import type { Clock, Timer } from '../internal/clock.js';
import type { RollcallError } from '../internal/errors.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import type { Cohort, CohortHome, Gap, Start } from './cohort.js';
import { Cohorts } from './cohorts.js';
import { audiencesOf, Crowd, reportDelivery, tellAll } from './crowd.js';
import { type Audience, Delivery, deliver, type Gate, Member } from './delivery.js';
import type { DiscontinuityReason } from './discontinuity.js';
import type { Phase } from './subscriptions.js';

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

/** What all entries of one kind have in common. */
export interface EntryHome {
  readonly kind: SubscriptionKind;
  readonly reader: RetryingReader;
  readonly clock: Clock;
  /** When, by the clock's `now`, the first of them could be there. */
  readonly began: number;
}

/** What matters only on the way from one phase to the next. */
class Transition {
  joining: Waiter[] = [];
  leaving: Waiter[] = [];
  timer: Timer | undefined;
  /** What is missing while it is subscribed anew. */
  gap: Gap | undefined;
  /** Who was there when it began. */
  concerned: readonly Member[] = [];
  /** It outlives its last handler for the sake of this service. */
  outlives: Audience | undefined;
  /** Refusals in a row while it is subscribed anew. */
  refusals = 0;
  /** It was dropped while a SUBSCRIBE was under way: an answer that it is there comes too late. */
  overtaken = false;
}

/**
 * One (kind, name) and everybody who listens to it. There may be a hundred thousand of them, nearly
 * all with one handler, no history and nothing under way: the rest is made when it is needed, and even
 * a private method would take room in each.
 */
export class Entry implements CohortHome {
  // What every message needs comes first, where one look into memory finds it.
  transition: Transition | undefined = undefined;
  /**
   * One or some; in cohorts from the first message with a place in a chain, or the first who wants to
   * begin at one.
   */
  #listening: Member | Crowd | Cohorts | undefined = undefined;
  /** They have got messages without a place in a chain. */
  #mixed = false;
  readonly #home: EntryHome;
  readonly name: string;
  phase: Phase = 'idle';
  /** Payloads are wanted as bytes. */
  binary = false;
  /**
   * When it became active for those who listen now, in ms since its home began: the time of day would
   * be too large a number to have room in here.
   */
  #activeSince: number | undefined = undefined;

  constructor(home: EntryHome, name: string) {
    this.#home = home;
    this.name = name;
  }

  get kind(): SubscriptionKind {
    return this.#home.kind;
  }

  /** How many handlers there are. */
  get active(): number {
    const listening = this.#listening;
    if (listening === undefined) return 0;
    return listening instanceof Member ? 1 : listening.size;
  }

  /** It has been active since its first handler came: a refusal then is no reason to give it up. */
  get established(): boolean {
    return this.#activeSince !== undefined;
  }

  /** All members. */
  members(): Member[] {
    const listening = this.#listening;
    if (listening === undefined) return [];
    return listening instanceof Member ? [listening] : [...listening];
  }

  has(member: Member): boolean {
    const listening = this.#listening;
    if (listening === undefined || listening instanceof Member) return listening === member;
    return listening.has(member);
  }

  /**
   * Adds `member`, who begins with the next message, or where `start` says: then the cohort knows when
   * that is known.
   */
  add(member: Member, start?: Start, gate?: Gate): Cohort | undefined {
    const listening = this.#listening;
    let cohort: Cohort | undefined;
    if (start !== undefined || listening instanceof Cohorts) {
      const cohorts = cohortsOf(listening, this, this.#home, this.#mixed);
      this.#listening = cohorts;
      cohort = cohorts.add(member, start, gate);
    } else if (listening === undefined) this.#listening = member;
    else if (listening instanceof Crowd) listening.add(member);
    else this.#listening = new Crowd([listening, member]);
    if (this.phase === 'active') {
      // Also where it outlived its last handler for a while.
      this.#activeSince ??= ageOf(this.#home);
      cohort?.subscribed();
    }
    return cohort;
  }

  /** Where `member` stands in the channel's history, as far as it has one. */
  positionOf(member: Member): Position | undefined {
    return this.#listening instanceof Cohorts ? this.#listening.positionOf(member) : undefined;
  }

  remove(member: Member): void {
    member.active = false;
    const listening = this.#listening;
    if (listening === undefined) return;
    if (!(listening instanceof Member)) listening.delete(member);
    else if (listening === member) this.#listening = undefined;
    if (this.active > 0) return;
    this.#listening = undefined;
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
      const { gap, concerned } = transition;
      transition.gap = undefined;
      transition.refusals = 0;
      this.subscribed(gap, concerned);
    }
    const envelope = unwrap(payload);
    if (envelope === undefined) return this.hear(channel, payload, undefined, false);
    // A pattern's messages belong to many chains.
    if (envelope.link !== undefined && this.kind !== 'pattern' && this.active > 0) {
      this.#listening = cohortsOf(this.#listening, this, this.#home, this.#mixed);
    }
    this.hear(channel, envelope.payload, envelope.link, envelope.transient);
  }

  /** Hands on what came in. */
  hear(channel: string, payload: Payload, link: ChainLink | undefined, transient: boolean): void {
    const { kind, name } = this;
    const position = link?.position;
    const listening = this.#listening;
    if (listening === undefined) return;
    // Not written again and again: there may be many of these, and few in the processor's cache.
    if (!this.#mixed && !transient) this.#mixed = true;
    if (listening instanceof Member) {
      reportDelivery(1, kind, channel, payload, position);
      return deliver(listening, this, channel, payload, position);
    }
    const delivery = new Delivery(kind, name, channel, payload, position, transient);
    if (listening instanceof Crowd) listening.hear(delivery);
    else listening.receive(delivery, link);
  }

  /** Redis has confirmed it. */
  confirmed(): void {
    this.#activeSince = ageOf(this.#home);
    const { gap, concerned } = this.transition ?? {};
    this.answer('leaving');
    this.answer('joining');
    this.transition = undefined;
    this.subscribed(gap, concerned);
  }

  /** The subscription is there, perhaps after a gap. */
  subscribed(gap: Gap | undefined, concerned: readonly Member[] = []): void {
    if (this.#listening instanceof Cohorts) this.#listening.subscribed(gap);
    else if (gap !== undefined) tellAll(concerned, { ...gap, recovered: false }, this);
  }

  /** The subscription is gone, for the time being; the connection was last heard at `heard`. */
  dropped(reason: DiscontinuityReason, heard: number): void {
    const since = new Date(Math.max(heard, this.#home.began + (this.#activeSince ?? 0)));
    const transition = this.changing();
    if (transition.gap === undefined) {
      transition.gap = { reason, since };
      transition.concerned = this.members();
    }
    if (this.#listening instanceof Cohorts) this.#listening.dropped();
  }

  /** Cohorts that have come to stand at one place become one. */
  level(cohort: Cohort): void {
    if (this.#listening instanceof Cohorts) this.#listening.level(cohort);
  }

  /** What is under way. */
  changing(): Transition {
    this.transition ??= new Transition();
    return this.transition;
  }

  /** Calls `task` after `ms`: for another attempt, or for the end of the unsubscribe delay. */
  wait(ms: number, task: () => void, options?: { keepAlive?: boolean }): void {
    this.cancel();
    const transition = this.changing();
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
    for (const audience of audiencesOf(this.members())) {
      const shown = audience.shown(this.kind, this.name);
      const where = this.kind === 'pattern' ? { channel: shown, pattern: shown } : { channel: shown };
      audience.reporter.report(error, { stage: 'subscribe', ...where });
    }
  }

  waiting(list: 'joining' | 'leaving'): Promise<void> {
    return new Promise((resolve, reject) => this.changing()[list].push({ resolve, reject }));
  }

  /** Answers everybody in `list`. */
  answer(list: 'joining' | 'leaving', error?: Error): void {
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
function cohortsOf(
  listening: Member | Crowd | Cohorts | undefined,
  entry: Entry,
  { reader, clock }: EntryHome,
  mixed: boolean,
): Cohorts {
  if (listening instanceof Cohorts) return listening;
  const cohorts = new Cohorts(entry, reader, () => clock.now());
  if (listening === undefined) return cohorts;
  cohorts.begin(listening instanceof Member ? new Crowd([listening]) : listening, mixed);
  if (entry.phase === 'active') cohorts.subscribed(undefined);
  else if (entry.transition?.gap !== undefined) cohorts.dropped();
  return cohorts;
}

function ageOf({ clock, began }: EntryHome): number {
  return clock.now() - began;
}
