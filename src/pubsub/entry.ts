import type { Clock, Timer } from '../clock.js';
import type { RollcallError } from '../errors.js';
import type { Link } from '../history/chain.js';
import type { PatientReader } from '../history/history-reader.js';
import type { SubscriptionKind } from '../redis/driver.js';
import { Cohort, type CohortHome, type Gap, type Start } from './cohort.js';
import type { Delivery, Member } from './delivery.js';
import type { Phase } from './subscriptions.js';

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

/** One (kind, name) and everybody who listens to it. */
export class Entry implements CohortHome {
  phase: Phase = 'idle';
  /** It has been active since its first handler came: a refusal then is no reason to give it up. */
  established = false;
  /** When it became active, by the clock that `since` is told by. */
  activeSince = 0;
  /** Payloads are wanted as bytes. */
  binary = false;
  /** What is missing while it is subscribed anew. */
  gap: Gap | undefined;
  /** Refusals in a row while it is subscribed anew. */
  refusals = 0;
  /** It was dropped while a SUBSCRIBE was under way: an answer that it is there comes too late. */
  overtaken = false;
  joining: Waiter[] | undefined;
  leaving: Waiter[] | undefined;
  readonly #reader: PatientReader;
  readonly #now: () => number;
  #timer: Timer | undefined;
  #main: Cohort | undefined;
  /** Cohorts that stand elsewhere in the channel's history, or read it at their own pace. */
  #others: Cohort[] = [];

  constructor(
    readonly kind: SubscriptionKind,
    readonly name: string,
    reader: PatientReader,
    now: () => number,
  ) {
    this.#reader = reader;
    this.#now = now;
  }

  /** How many handlers there are. */
  get active(): number {
    let active = this.#main?.size ?? 0;
    for (const { size } of this.#others) active += size;
    return active;
  }

  has(member: Member): boolean {
    return this.#cohorts().some((cohort) => cohort.has(member));
  }

  /** Adds `member`, who begins with the next message, or where `start` says. */
  add(member: Member, start?: Start): Cohort {
    let cohort: Cohort;
    if (start === undefined) {
      this.#main ??= new Cohort(this, this.#reader, this.#now);
      cohort = this.#main;
    } else {
      cohort = new Cohort(this, this.#reader, this.#now, start, member.gate);
      this.#others.push(cohort);
    }
    cohort.add(member);
    if (this.phase === 'active') {
      // Also where it outlived its last handler for a while.
      this.established = true;
      cohort.subscribed();
    }
    return cohort;
  }

  remove(member: Member): void {
    for (const cohort of this.#cohorts()) cohort.remove(member);
    this.#clear();
  }

  /** All members. */
  members(): Member[] {
    return this.#cohorts().flatMap((cohort) => [...cohort.members]);
  }

  receive(delivery: Delivery, link: Link | undefined): void {
    // It may come in before the confirmation of SUBSCRIBE is seen; the gap was before it.
    if (this.gap !== undefined) this.subscribed();
    this.#main?.receive(delivery, link);
    if (this.#others.length === 0) return;
    for (const cohort of [...this.#others]) cohort.receive(delivery, link);
  }

  /** The subscription is there, perhaps after a gap. */
  subscribed(): void {
    const { gap } = this;
    this.gap = undefined;
    this.refusals = 0;
    this.established = true;
    for (const cohort of this.#cohorts()) cohort.subscribed(gap);
  }

  /** The subscription is gone, for the time being. */
  dropped(gap: Gap): void {
    this.gap ??= gap;
    for (const cohort of this.#cohorts()) cohort.dropped();
  }

  /** Cohorts that have come to stand at one place become one. */
  level(cohort: Cohort): void {
    if (this.#main === undefined && !cohort.paced) {
      this.#main = cohort;
      this.#others = this.#others.filter((other) => other !== cohort);
    }
    for (const other of this.#others) this.#main?.absorb(other);
    this.#clear();
  }

  /** Calls `task` after `ms`: for another attempt, or for the end of the unsubscribe delay. */
  wait(clock: Clock, ms: number, task: () => void, options?: { keepAlive?: boolean }): void {
    this.#timer?.cancel();
    const over = () => {
      this.#timer = undefined;
      task();
    };
    this.#timer = clock.after(ms, over, options);
  }

  /** Ends the wait; false when there was none. */
  cancel(): boolean {
    const waited = this.#timer !== undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
    return waited;
  }

  /** Tells every service that listens that Redis refuses the subscription. */
  report(error: RollcallError): void {
    const audiences = new Set(this.members().map(({ audience }) => audience));
    for (const audience of audiences) {
      const shown = audience.shown(this.kind, this.name);
      const where = this.kind === 'pattern' ? { channel: shown, pattern: shown } : { channel: shown };
      audience.reporter.report(error, { stage: 'subscribe', ...where });
    }
  }

  waiting(list: 'joining' | 'leaving'): Promise<void> {
    return new Promise((resolve, reject) => {
      this[list] ??= [];
      this[list].push({ resolve, reject });
    });
  }

  /** Answers everybody in `list`. */
  answer(list: 'joining' | 'leaving', error?: Error): void {
    const waiters = this[list];
    if (waiters === undefined) return;
    this[list] = undefined;
    for (const waiter of waiters) {
      if (error === undefined) waiter.resolve();
      else waiter.reject(error);
    }
  }

  #cohorts(): Cohort[] {
    return this.#main === undefined ? this.#others : [this.#main, ...this.#others];
  }

  /** A cohort without handlers follows nothing, and would take up the chain in the wrong place. */
  #clear(): void {
    if (this.#main?.size === 0) this.#main = undefined;
    if (this.#others.length > 0) this.#others = this.#others.filter(({ size }) => size > 0);
    if (this.active > 0) return;
    this.established = false;
    // Whoever comes next misses nothing of it.
    this.gap = undefined;
  }
}
