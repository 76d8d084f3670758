import type { ChainLink } from '../history/chain.js';
import type { RetryingReader } from '../history/history-reader.js';
import type { Position } from '../history/position.js';
import type { Backpressure, Delivery } from './delivery.js';
import type { HandlerList } from './handler-list.js';
import type { HandlerSubscription } from './handler-subscription.js';
import { type CursorOwner, type Gap, HistoryCursor, type StartPosition } from './history-cursor.js';

/**
 * Everybody who listens to one channel with history: most of them in one cohort, others where they
 * stand elsewhere in it, or read it at their own pace.
 */
export class HistoryCursors {
  readonly #home: CursorOwner;
  readonly #reader: RetryingReader;
  readonly #now: () => number;
  #main: HistoryCursor | undefined;
  #others: HistoryCursor[] = [];

  constructor(home: CursorOwner, reader: RetryingReader, now: () => number) {
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

  *[Symbol.iterator](): Generator<HandlerSubscription> {
    for (const cohort of this.#all()) yield* cohort.members;
  }

  has(member: HandlerSubscription): boolean {
    return this.#all().some((cohort) => cohort.has(member));
  }

  /** Those who have listened so far; `mixed`: to messages without history, too. */
  adopt(crowd: HandlerList, mixed: boolean): void {
    this.#main = new HistoryCursor(this.#home, this.#reader, this.#now, { crowd, mixed });
  }

  /** Adds `member`, who begins with the next message, or where `start` says. */
  add(
    member: HandlerSubscription,
    start: StartPosition | undefined,
    gate: Backpressure | undefined,
  ): HistoryCursor {
    let cohort = gate === undefined ? this.#findReusable(start) : undefined;
    if (cohort === undefined) {
      cohort = new HistoryCursor(this.#home, this.#reader, this.#now, { start, gate });
      this.#others.push(cohort);
    }
    cohort.add(member);
    return cohort;
  }

  /** One that is there already, so that a thousand who come back after one message are one reading. */
  #findReusable(start: StartPosition | undefined): HistoryCursor | undefined {
    if (typeof start === 'object') return this.#all().find((cohort) => cohort.isAt(start.after));
    if (start !== undefined || this.#main?.isIncomplete === true) return undefined;
    this.#main ??= new HistoryCursor(this.#home, this.#reader, this.#now);
    return this.#main;
  }

  /** Where `member` stands in the history, as far as that is known. */
  positionOf(member: HandlerSubscription): Position | undefined {
    return this.#all().find((cohort) => cohort.has(member))?.position;
  }

  delete(member: HandlerSubscription): void {
    for (const cohort of this.#all()) cohort.remove(member);
    this.#removeEmpty();
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
  level(cohort: HistoryCursor): void {
    if (this.#main === undefined && !cohort.hasBackpressure) {
      this.#main = cohort;
      this.#others = this.#others.filter((other) => other !== cohort);
    }
    this.#merge();
  }

  #merge(): void {
    if (this.#main === undefined) return;
    for (const other of this.#others) this.#main.merge(other);
    this.#removeEmpty();
  }

  #all(): HistoryCursor[] {
    return this.#main === undefined ? this.#others : [this.#main, ...this.#others];
  }

  /** A cohort without handlers follows nothing, and would take up the chain in the wrong place. */
  #removeEmpty(): void {
    if (this.#main?.size === 0) this.#main = undefined;
    if (this.#others.length > 0) this.#others = this.#others.filter(({ size }) => size > 0);
  }
}
