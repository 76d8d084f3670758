/** In ms; doubled after each try, up to the maximum. */
const FIRST_DELAY = 1_000;
const MAX_DELAY = 30_000;

/** Repeats a failed read after a growing wait. */
export class RetryTimer {
  #delay = FIRST_DELAY;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Replaces a task that is waiting. */
  schedule(task: () => void): void {
    this.cancel();
    this.#timer = setTimeout(task, this.#delay);
    this.#delay = Math.min(this.#delay * 2, MAX_DELAY);
  }

  /** The next wait stays as long as it would have been. */
  cancel(): void {
    clearTimeout(this.#timer);
  }

  /** The read has succeeded: the next wait is the shortest. */
  reset(): void {
    this.#delay = FIRST_DELAY;
  }
}
