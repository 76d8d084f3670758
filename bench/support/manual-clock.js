// @ts-check

/**
 * A clock that moves only in `advance`, so that no timer fires during a count.
 */
export class ManualClock {
  #now = 0;
  /** @type {Set<{ at: number, ms: number, task: () => void }>} */
  #timers = new Set();

  now() {
    return 1_780_000_000_000 + this.#now;
  }

  monotonic() {
    return this.#now;
  }

  random() {
    return 0.5;
  }

  /**
   * @param {number} ms
   * @param {() => void} task
   */
  after(ms, task) {
    const timer = { at: this.#now + ms, ms, task };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** @param {number} ms */
  advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = next.at;
      next.task();
    }
    this.#now = end;
  }

  /**
   * Resolves when a timer of `ms` is set: the task of the last one has ended and scheduled the next.
   *
   * @param {number} ms
   */
  async armed(ms) {
    for (let turn = 0; turn < 5_000; turn++) {
      if ([...this.#timers].some((timer) => timer.ms === ms)) return;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error(`no timer of ${ms} ms was set again`);
  }
}
