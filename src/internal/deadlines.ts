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
    // The entry stays until the next sweep; this releases its closure.
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
  #head = 0;
  #timer: Timer | undefined;
  /** Calls that have not settled. */
  #pending = 0;
  readonly #onDone = (): void => {
    this.#pending--;
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
    const entries = this.#entries;
    let head = this.#head;
    for (; head < entries.length; head++) {
      const entry = entries[head] as PendingDeadline;
      if (entry.settled) continue;
      if (entry.at > now) break;
      entry.settled = true;
      entry.expired = true;
      this.#pending--;
      entry.expire();
    }
    this.#head = head;
    // `expire` may start new deadlines.
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
