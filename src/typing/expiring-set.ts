import type { Clock, Timer } from '../internal/clock.js';

/** Keys that are there for a while, and go by themselves unless they are kept. */
export class ExpiringSet<K> {
  readonly #clock: Clock;
  readonly #changed: () => void;
  readonly #timers = new Map<K, Timer>();

  /** `changed` is called after a key has come or gone, not when one is kept for longer. */
  constructor(clock: Clock, changed: () => void) {
    this.#clock = clock;
    this.#changed = changed;
  }

  /** Those that are there, in the order in which they came. */
  get keys(): K[] {
    return [...this.#timers.keys()];
  }

  /** `key` is there for `ms` from now on; with 0 it goes at once. */
  set(key: K, ms: number): void {
    const before = this.#timers.get(key);
    before?.cancel();
    if (ms > 0) {
      const gone = () => {
        this.#timers.delete(key);
        this.#changed();
      };
      this.#timers.set(key, this.#clock.after(ms, gone, { keepAlive: false }));
    } else {
      this.#timers.delete(key);
    }
    if ((before === undefined) === ms > 0) this.#changed();
  }

  /** Takes all away; nobody is told. */
  clear(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }
}
