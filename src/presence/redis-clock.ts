import type { Clock } from '../internal/clock.js';

/** In ms: a larger correction means that the clock stepped back. */
const MAX_CORRECTION = 10_000;

/** Clocks of hosts cannot be compared, so times in Redis are by Redis's clock. */
export class RedisClock {
  readonly #clock: Clock;
  /** Lead of Redis over this host, in ms. A Cluster has several hosts. */
  readonly #offsets: number[] = [];
  readonly #last: number[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `now`: time of Redis in ms, from a reply that has just arrived. */
  observe(partition: number, now: number): void {
    if (Number.isFinite(now) && now > 0) this.#offsets[partition] = now - this.#clock.now();
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
