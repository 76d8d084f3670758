import type { ChainLink } from '../history/chain.js';
import type { RetryingReader } from '../history/history-reader.js';
import type { Position } from '../history/position.js';
import { Cohort, type CohortHome, type Gap, type Start } from './cohort.js';
import type { Crowd } from './crowd.js';
import type { Delivery, Gate, Member } from './delivery.js';

/**
 * Everybody who listens to one channel with history: most of them in one cohort, others where they
 * stand elsewhere in it, or read it at their own pace.
 */
export class Cohorts {
  readonly #home: CohortHome;
  readonly #reader: RetryingReader;
  readonly #now: () => number;
  #main: Cohort | undefined;
  #others: Cohort[] = [];

  constructor(home: CohortHome, reader: RetryingReader, now: () => number) {
    this.#home = home;
    this.#reader = reader;
    this.#now = now;
  }

  /** How many members there are. */
  get size(): number {
    let size = this.#main?.size ?? 0;
    for (const other of this.#others) size += other.size;
    return size;
  }

  *[Symbol.iterator](): Generator<Member> {
    for (const cohort of this.#all()) yield* cohort.members;
  }

  has(member: Member): boolean {
    return this.#all().some((cohort) => cohort.has(member));
  }

  /** Those who have listened so far; `mixed`: to messages without history, too. */
  begin(crowd: Crowd, mixed: boolean): void {
    this.#main = new Cohort(this.#home, this.#reader, this.#now, { crowd, mixed });
  }

  /** Adds `member`, who begins with the next message, or where `start` says. */
  add(member: Member, start: Start | undefined, gate: Gate | undefined): Cohort {
    let cohort = gate === undefined ? this.#fitting(start) : undefined;
    if (cohort === undefined) {
      cohort = new Cohort(this.#home, this.#reader, this.#now, { start, gate });
      this.#others.push(cohort);
    }
    cohort.add(member);
    return cohort;
  }

  /** One that is there already, so that a thousand who come back after one message are one reading. */
  #fitting(start: Start | undefined): Cohort | undefined {
    if (typeof start === 'object') return this.#all().find((cohort) => cohort.standsAt(start.after));
    if (start !== undefined || this.#main?.missing === true) return undefined;
    this.#main ??= new Cohort(this.#home, this.#reader, this.#now);
    return this.#main;
  }

  /** Where `member` stands in the history, as far as that is known. */
  positionOf(member: Member): Position | undefined {
    return this.#all().find((cohort) => cohort.has(member))?.position;
  }

  delete(member: Member): void {
    for (const cohort of this.#all()) cohort.remove(member);
    this.#clear();
  }

  receive(delivery: Delivery, link: ChainLink | undefined): void {
    this.#main?.receive(delivery, link);
    if (this.#others.length === 0) return;
    for (const cohort of [...this.#others]) cohort.receive(delivery, link);
    if (link !== undefined) this.#merge();
  }

  /** The subscription is there, perhaps after a gap. */
  subscribed(gap: Gap | undefined): void {
    for (const cohort of this.#all()) cohort.subscribed(gap);
  }

  /** The subscription is gone, for the time being. */
  dropped(): void {
    for (const cohort of this.#all()) cohort.dropped();
  }

  /** Cohorts that have come to stand at one place become one. */
  level(cohort: Cohort): void {
    if (this.#main === undefined && !cohort.paced) {
      this.#main = cohort;
      this.#others = this.#others.filter((other) => other !== cohort);
    }
    this.#merge();
  }

  #merge(): void {
    if (this.#main === undefined) return;
    for (const other of this.#others) this.#main.absorb(other);
    this.#clear();
  }

  #all(): Cohort[] {
    return this.#main === undefined ? this.#others : [this.#main, ...this.#others];
  }

  /** A cohort without handlers follows nothing, and would take up the chain in the wrong place. */
  #clear(): void {
    if (this.#main?.size === 0) this.#main = undefined;
    if (this.#others.length > 0) this.#others = this.#others.filter(({ size }) => size > 0);
  }
}
