import type { ClientClock, ClientTimer } from './platform.js';

export interface TimerSettings {
  readonly clock: ClientClock;
  readonly random: () => number;
  /** The longest first delay, in ms. */
  readonly first: number;
  /** The longest delay, in ms. */
  readonly max: number;
}

export type ResettableTimer = ReturnType<typeof createTimer>;

/** One timer that can be set again, and that counts retries for an exponential back-off with full jitter. */
export function createTimer({ clock, random, first, max }: TimerSettings) {
  let timer: ClientTimer | undefined;
  let retries = 0;

  /** Calls `task` in `ms`, instead of the task set before. */
  const set = (ms: number, task: () => void): void => {
    timer?.cancel();
    timer = clock.after(ms, () => {
      timer = undefined;
      task();
    });
  };

  return {
    isActive: () => !!timer,
    set,
    /** Calls `task` after the delay that the server named, or else after the next back-off. */
    retry(task: () => void, retryAfter?: number) {
      const delay = retryAfter ?? random() * Math.min(max, first * 2 ** retries++);
      set(delay, task);
      return { attempt: retries, delay };
    },
    /** Cancels the task, and starts the back-off again from `first`. */
    clear(): void {
      timer?.cancel();
      timer = undefined;
      retries = 0;
    },
  };
}
