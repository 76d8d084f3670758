import type { Clock, Timer } from '../internal/clock.js';

/** Keys expire unless set again. */
export class ExpiringSet<K> {
  readonly #clock: Clock;
  readonly #onChange: () => void;
  readonly #timers = new Map<K, Timer>();

  /** `onChange`: a key was added, removed or has expired, but not extended. */
  constructor(clock: Clock, onChange: () => void) {
    this.#clock = clock;
    this.#onChange = onChange;
  }

  get keys(): K[] {
    return [...this.#timers.keys()];
  }

  /** 0 ms removes the key. */
  set(key: K, ms: number): void {
    const previous = this.#timers.get(key);
    previous?.cancel();
    if (ms > 0) {
      const expire = () => {
        this.#timers.delete(key);
        this.#onChange();
      };
      this.#timers.set(key, this.#clock.after(ms, expire, { keepAlive: false }));
    } else {
      this.#timers.delete(key);
    }
    if ((previous === undefined) === ms > 0) this.#onChange();
  }

  /** Does not call `onChange`. */
  clear(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }
}
