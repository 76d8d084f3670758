import type { ClientClock, ClientTimer } from './platform.js';

export interface TimerSettings {
  readonly clock: ClientClock;
  readonly random: () => number;
  readonly first: number;
  readonly max: number;
}

export type BackoffTimer = ReturnType<typeof createTimer>;

/** A timer that also counts retries, for exponential back-off with full jitter. */
export function createTimer({ clock, random, first, max }: TimerSettings) {
  let timer: ClientTimer | undefined;
  let retries = 0;

  /** Replaces the present task. */
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
    /** After the server's `retryAfter`, or the next back-off. */
    retry(task: () => void, retryAfter?: number) {
      const delay = retryAfter ?? random() * Math.min(max, first * 2 ** retries++);
      set(delay, task);
      return { attempt: retries, delay };
    },
    /** Also resets the back-off. */
    clear(): void {
      timer?.cancel();
      timer = undefined;
      retries = 0;
    },
  };
}
