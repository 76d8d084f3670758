import type { Clock } from '../internal/clock.js';

/** Redis's clock, as seen from here: clocks of different hosts cannot be compared with each other. */
export class RedisClock {
  readonly #clock: Clock;
  /** Partition → how far Redis is ahead of this host, in ms. The partitions of a Cluster are on several hosts. */
  readonly #offsets: number[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes the time of Redis, in ms, from a reply that has just arrived. */
  observe(partition: number, now: number): void {
    if (Number.isFinite(now) && now > 0) this.#offsets[partition] = now - this.#clock.now();
  }

  /** The time in ms; this host's until Redis's was observed. */
  now(partition: number): number {
    return Math.round(this.#clock.now() + (this.#offsets[partition] ?? 0));
  }
}
