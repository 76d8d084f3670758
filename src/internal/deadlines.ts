import type { Clock, Timer } from './clock.js';

/** One call's deadline. */
export interface Deadline {
  /** True once the deadline has passed; the call has been told. */
  readonly expired: boolean;
  /** The call is over; its deadline is of no interest any more. */
  done(): void;
}

class PendingDeadline implements Deadline {
  over = false;
  expired = false;

  constructor(
    readonly at: number,
    public expire: () => void,
  ) {}

  done(): void {
    this.over = true;
    // The entry may stand in the queue for a while yet; what it was about need not.
    this.expire = noop;
  }
}

const noop = (): void => {};

/**
 * Deadlines of many calls that all have the same time to live, for the price of one coarse timer:
 * calls started later expire later, so the oldest stand in front and nothing needs sorting. A timer
 * per call costs more than the call itself (node-redis's own arms an AbortSignal, about 11 µs).
 *
 * A call is told at its deadline or up to an eighth of the time-out later.
 */
export class DeadlineQueue {
  readonly timeout: number;
  readonly #clock: Clock;
  #entries: PendingDeadline[] = [];
  #head = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, timeout: number) {
    this.#clock = clock;
    this.timeout = timeout;
  }

  /** Starts a deadline `timeout` ms from now; `expire` is called once unless `done()` came first. */
  start(expire: () => void): Deadline {
    const entry = new PendingDeadline(this.#clock.monotonic() + this.timeout, expire);
    this.#entries.push(entry);
    this.#timer ??= this.#arm();
    return entry;
  }

  #arm(): Timer {
    return this.#clock.after(Math.max(1, this.timeout / 8), () => this.#sweep());
  }

  #sweep(): void {
    const now = this.#clock.monotonic();
    const entries = this.#entries;
    let head = this.#head;
    for (; head < entries.length; head++) {
      const entry = entries[head] as PendingDeadline;
      if (entry.over) continue;
      if (entry.at > now) break;
      entry.over = true;
      entry.expired = true;
      entry.expire();
    }
    this.#head = head;
    // `expire` may have started new deadlines, so the length is read again.
    if (head >= this.#entries.length) {
      this.#entries = [];
      this.#head = 0;
      this.#timer = undefined;
      return;
    }
    if (head > 1024 && head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(head);
      this.#head = 0;
    }
    this.#timer = this.#arm();
  }
}
