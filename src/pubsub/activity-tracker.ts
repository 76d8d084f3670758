import type { Clock } from '../internal/clock.js';

/** Already there: what is chained to it runs when the current turn of the event loop is over. */
const resolved = Promise.resolve();

/**
 * When a connection last proved to be there. Messages come many to a read of the socket, and asking the
 * time for each would cost as much as finding its handlers; so the time is asked once for all that come
 * in one go. It is that of the first of them: too early rather than too late.
 */
export class ActivityTracker {
  /** By the wall clock, for people. */
  wallTime = 0;
  /** By the clock that never steps. */
  monotonic = 0;
  readonly #clock: Clock;
  #beating = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something came. */
  record(): void {
    if (this.#beating) return;
    this.#beating = true;
    this.wallTime = this.#clock.now();
    this.monotonic = this.#clock.monotonic();
    void resolved.then(this.#over);
  }

  readonly #over = (): void => {
    this.#beating = false;
  };
}
