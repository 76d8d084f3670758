/** A burst of changes ends after so many ms without another one. */
const BURST_GAP = 8;
/** A longer burst is shown in between, after so many ms. */
const MAX_DELAY = 200;

/** The components that render again when a snapshot changes. */
export class Listeners {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #burstBegan = 0;
  #changedAt = 0;
  readonly #calls = new Set<{ readonly call: () => void }>();

  add(call: () => void): () => void {
    // An object of its own, so that the same function given twice is two listeners.
    const listener = { call };
    this.#calls.add(listener);
    return () => void this.#calls.delete(listener);
  }

  /** Notifies once for a burst of changes, such as the events of a catch-up: they arrive in a task each. */
  notifySoon(): void {
    this.#changedAt = Date.now();
    if (this.#timer !== undefined) return;
    this.#burstBegan = this.#changedAt;
    this.#wait(BURST_GAP);
  }

  #wait(ms: number): void {
    this.#timer = setTimeout(() => {
      const now = Date.now();
      const rest = this.#changedAt + BURST_GAP - now;
      if (rest > 0 && now - this.#burstBegan < MAX_DELAY) this.#wait(rest);
      else this.notify();
    }, ms);
  }

  notify(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { call } of [...this.#calls]) call();
  }
}
