import type { Clock } from '../internal/clock.js';

/** In ms: a larger correction means that the clock stepped back. */
const MAX_CORRECTION = 10_000;

/** Few: the clocks drift apart. */
const MAX_OBSERVATIONS = 8;

/** Clocks of hosts cannot be compared, so times in Redis are by Redis's clock. */
export class RedisClock {
  readonly #clock: Clock;
  /** Lead of Redis over this host, in ms: the last observations by partition. A Cluster has several hosts. */
  readonly #observed: number[][] = [];
  /** The largest of them: a reply that was handled late makes the lead look smaller. */
  readonly #offsets: number[] = [];
  readonly #last: number[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `now`: time of Redis in ms, from a reply that has just arrived. */
  observe(partition: number, now: number): void {
    if (!Number.isFinite(now) || now <= 0) return;
    const offset = now - this.#clock.now();
    const known = this.#offsets[partition] ?? offset;
    const previous = known - offset > MAX_CORRECTION ? [] : (this.#observed[partition] ?? []);
    const observed = [...previous, offset].slice(-MAX_OBSERVATIONS);
    this.#observed[partition] = observed;
    this.#offsets[partition] = Math.max(...observed);
  }

  isObserved(partition: number): boolean {
    return this.#offsets[partition] !== undefined;
  }

  /**
   * In ms; this host's time until Redis's was observed. Does not go back when the offset is measured slightly
   * smaller, so that sockets of this process stay in order.
   */
  now(partition: number): number {
    const now = Math.round(this.#clock.now() + (this.#offsets[partition] ?? 0));
    const last = this.#last[partition] ?? 0;
    if (now < last && last - now < MAX_CORRECTION) return last;
    this.#last[partition] = now;
    return now;
  }
}
