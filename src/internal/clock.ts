/** A timer that can be called off. */
export interface Timer {
  /** The task is not called any more. */
  cancel(): void;
}

/**
 * Where rollcall gets time and chance from: one small port, so that every rule that waits can be
 * tested without waiting. Services take it as the `clock` option.
 */
export interface Clock {
  /** Wall-clock time in milliseconds since the epoch; only ever shown to people, never compared. */
  now(): number;
  /** Milliseconds on a clock that never steps; what durations are measured with. */
  monotonic(): number;
  /** A number in [0, 1), for jitter. */
  random(): number;
  /** Calls `task` once after `ms` milliseconds; `keepAlive: false` lets the process exit meanwhile. */
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

/** `ms` changed by up to `spread` of itself in either direction, so that processes do not march in step. */
export function jitter(clock: Clock, ms: number, spread = 0.1): number {
  return ms * (1 + spread * (2 * clock.random() - 1));
}

/**
 * How long to wait before attempt number `attempt` (from 0) is repeated: exponential, with full jitter,
 * so that many who were cut off at one moment do not come back at one moment.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoff(clock: Clock, attempt: number, first: number, max: number): number {
  return clock.random() * Math.min(max, first * 2 ** Math.min(attempt, 30));
}

/** `work`, or the error that `late` makes, once `ms` have passed. */
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
