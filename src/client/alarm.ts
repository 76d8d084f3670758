import type { ClientClock, Timer } from './platform.js';

/** One timer, to be set again and again. */
export class Alarm {
  readonly #clock: ClientClock;
  #timer: Timer | undefined;

  constructor(clock: ClientClock) {
    this.#clock = clock;
  }

  /** It will go off. */
  get on(): boolean {
    return !!this.#timer;
  }

  /** Calls `task` in `ms`, and not what it was set to before. */
  set(ms: number, task: () => void): void {
    this.off();
    this.#timer = this.#clock.after(ms, () => {
      this.off();
      task();
    });
  }

  off(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
