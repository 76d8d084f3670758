/** A timer that can be cancelled. */
export interface Timer {
  /** Prevents the call of the task. */
  cancel(): void;
}

/**
 * Source of time and randomness, so that timeouts can be tested without waiting. Services take it as the
 * `clock` option.
 */
export interface Clock {
  /** Wall-clock time in ms since the epoch. Only shown, never compared. */
  now(): number;
  /** Monotonic time in ms; used for durations. */
  monotonic(): number;
  /** A number in [0, 1), for jitter. */
  random(): number;
  /** Calls `task` once after `ms` milliseconds; with `keepAlive: false` the timer does not keep the process alive. */
  after(ms: number, task: () => void, options?: { keepAlive?: boolean }): Timer;
}

/** The real clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  random: () => Math.random(),
  after(ms, task, options) {
    const timeout = setTimeout(task, ms);
    if (options?.keepAlive === false) timeout.unref();
    return { cancel: () => clearTimeout(timeout) };
  },
};

/** `ms`, changed at random by up to `spread` of it, so that processes do not act at the same time. */
export function jitter(clock: Clock, ms: number, spread = 0.1): number {
  return ms * (1 + spread * (2 * clock.random() - 1));
}

/**
 * Delay before attempt number `attempt` (from 0) is repeated: exponential, with full jitter, so that
 * many clients that lost their connection together do not reconnect together.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoff(clock: Clock, attempt: number, first: number, max: number): number {
  return clock.random() * Math.min(max, first * 2 ** Math.min(attempt, 30));
}

/** Settles as `work` does, or rejects with the error of `late` after `ms`. */
export function withTimeout<T>(
  clock: Clock,
  ms: number,
  work: Promise<T>,
  late: () => Error,
  options?: { keepAlive?: boolean },
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => reject(late()), options);
    work.then(resolve, reject).finally(() => timer.cancel());
  });
}
