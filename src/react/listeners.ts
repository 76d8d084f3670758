/** Quiet time that ends a burst of changes, in ms. */
const BURST_GAP = 8;
/** The same for a burst of more than `BULK` changes: a catch-up arrives in pages, with pauses between them. */
const BULK_GAP = 50;
const BULK = 50;
/** A longer burst also notifies in between, in ms. */
const MAX_DELAY = 200;

export class Listeners {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #burstBegan = 0;
  #changedAt = 0;
  #changes = 0;
  readonly #calls = new Set<{ readonly call: () => void }>();

  add(call: () => void): () => void {
    // A new object, so that the same function given twice is two listeners.
    const listener = { call };
    this.#calls.add(listener);
    return () => void this.#calls.delete(listener);
  }

  /** Once for a burst of changes: each event of a catch-up arrives in its own task. */
  notifySoon(): void {
    this.#changedAt = Date.now();
    this.#changes++;
    if (this.#timer !== undefined) return;
    this.#burstBegan = this.#changedAt;
    this.#wait(BURST_GAP);
  }

  #wait(ms: number): void {
    this.#timer = setTimeout(() => {
      const now = Date.now();
      const rest = this.#changedAt + (this.#changes > BULK ? BULK_GAP : BURST_GAP) - now;
      if (rest > 0 && now - this.#burstBegan < MAX_DELAY) this.#wait(rest);
      else this.notify();
    }, ms);
  }

  notify(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#changes = 0;
    for (const { call } of [...this.#calls]) call();
  }
}
