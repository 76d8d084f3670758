import type { ClientClock, ClientTimer } from './platform.js';

/** One timer, to be set again and again. */
export class ResettableTimer {
  readonly #clock: ClientClock;
  #timer: ClientTimer | undefined;

  constructor(clock: ClientClock) {
    this.#clock = clock;
  }

  /** It will go off. */
  get active(): boolean {
    return !!this.#timer;
  }

  /** Calls `task` in `ms`, and not what it was set to before. */
  set(ms: number, task: () => void): void {
    this.clear();
    this.#timer = this.#clock.after(ms, () => {
      this.clear();
      task();
    });
  }

  clear(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
