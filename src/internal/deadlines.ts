import type { Clock, Timer } from './clock.js';

export interface Deadline {
  readonly expired: boolean;
  /** The call has settled. */
  done(): void;
}

class PendingDeadline implements Deadline {
  settled = false;
  expired = false;

  constructor(
    readonly at: number,
    public expire: () => void,
    readonly onDone: () => void,
  ) {}

  done(): void {
    if (this.settled) return;
    this.settled = true;
    this.onDone();
    // The entry stays as long as an older one is pending; this releases its closure.
    this.expire = noop;
  }
}

const noop = (): void => {};

/**
 * With one timeout the oldest deadline is always first, so one coarse timer suffices; a timer per call costs more
 * than the call (about 11 µs for node-redis's AbortSignal). `expire` is called up to an eighth of the timeout late.
 */
export class DeadlineQueue {
  readonly timeout: number;
  readonly #clock: Clock;
  #entries: PendingDeadline[] = [];
  /** Index of the oldest entry that may be pending. */
  #head = 0;
  #timer: Timer | undefined;
  /** Calls that have not settled. */
  #pending = 0;
  readonly #onDone = (): void => {
    this.#pending--;
    // Now, and not at the next sweep: an entry that lives so long is copied twice by the garbage collector.
    this.#dropSettled();
    // A process without calls ends at once: not after the next sweep.
    if (this.#pending === 0) this.#timer?.keepAlive?.(false);
  };

  constructor(clock: Clock, timeout: number) {
    this.#clock = clock;
    this.timeout = timeout;
  }

  start(expire: () => void): Deadline {
    const entry = new PendingDeadline(this.#clock.monotonic() + this.timeout, expire, this.#onDone);
    this.#entries.push(entry);
    this.#pending++;
    if (this.#timer === undefined) this.#timer = this.#arm();
    else if (this.#pending === 1) this.#timer.keepAlive?.(true);
    return entry;
  }

  #arm(): Timer {
    return this.#clock.after(Math.max(1, this.timeout / 8), () => this.#sweep(), {
      keepAlive: this.#pending > 0,
    });
  }

  #sweep(): void {
    const now = this.#clock.monotonic();
    for (;;) {
      this.#dropSettled();
      const entry = this.#entries[this.#head];
      if (entry === undefined || entry.at > now) break;
      entry.settled = true;
      entry.expired = true;
      this.#pending--;
      // May end other calls, and start new ones.
      entry.expire();
    }
    this.#timer = this.#entries.length === 0 ? undefined : this.#arm();
  }

  /** Those before the oldest pending one. */
  #dropSettled(): void {
    const entries = this.#entries;
    let head = this.#head;
    while (entries[head]?.settled === true) head++;
    if (head === entries.length) {
      this.#entries = [];
      head = 0;
    } else if (head > 1024 && head * 2 > entries.length) {
      this.#entries = entries.slice(head);
      head = 0;
    }
    this.#head = head;
  }
}
