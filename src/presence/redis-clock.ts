import type { Clock } from '../internal/clock.js';

/** By how much, in ms, the clock may seem to go back without having stepped. */
const MAX_CORRECTION = 10_000;

/** Redis's clock, as seen from here: clocks of different hosts cannot be compared with each other. */
export class RedisClock {
  readonly #clock: Clock;
  /** Partition → how far Redis is ahead of this host, in ms. The partitions of a Cluster are on several hosts. */
  readonly #offsets: number[] = [];
  readonly #last: number[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes the time of Redis, in ms, from a reply that has just arrived. */
  observe(partition: number, now: number): void {
    if (Number.isFinite(now) && now > 0) this.#offsets[partition] = now - this.#clock.now();
  }

  /**
   * The time in ms; this host's until Redis's was observed. It does not go back when the offset is measured a little
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
