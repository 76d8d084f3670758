import type { Clock, Timer } from '../../src/internal/clock.js';

interface Scheduled {
  readonly at: number;
  readonly task: () => void;
  keepAlive: boolean;
}

/** A clock that only a test advances. */
export class FakeClock implements Clock {
  /** What `random` returns: the middle, so that jitter changes nothing. */
  chance = 0.5;
  #elapsed = 0;
  readonly #scheduled = new Set<Scheduled>();
  readonly #epoch: number;

  constructor(epoch = Date.UTC(2026, 0, 1)) {
    this.#epoch = epoch;
  }

  /** How many timers are running. */
  get timers(): number {
    return this.#scheduled.size;
  }

  /** How many of them a process would wait for. */
  get keepingAlive(): number {
    return [...this.#scheduled].filter(({ keepAlive }) => keepAlive).length;
  }

  now(): number {
    return this.#epoch + this.#elapsed;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  random(): number {
    return this.chance;
  }

  after(ms: number, task: () => void, { keepAlive = true }: { keepAlive?: boolean } = {}): Timer {
    const scheduled: Scheduled = { at: this.#elapsed + ms, task, keepAlive };
    this.#scheduled.add(scheduled);
    return {
      cancel: () => void this.#scheduled.delete(scheduled),
      keepAlive: (keep) => {
        scheduled.keepAlive = keep;
      },
    };
  }

  /** Moves time on by `ms`, running each timer at its own moment, in order. */
  advance(ms: number): void {
    const end = this.#elapsed + ms;
    for (;;) {
      let next: Scheduled | undefined;
      for (const each of this.#scheduled) {
        if (each.at <= end && (next === undefined || each.at < next.at)) next = each;
      }
      if (next === undefined) break;
      this.#scheduled.delete(next);
      this.#elapsed = Math.max(this.#elapsed, next.at);
      next.task();
    }
    this.#elapsed = end;
  }
}

/** A batch is sent at the end of a turn of the event loop, and its result may request another. */
const TURNS = 4;

/** Resolves when everything that needs no timer and no socket has happened. */
export async function turn(): Promise<void> {
  for (let n = 0; n < TURNS; n++) await new Promise((resolve) => setImmediate(resolve));
}
