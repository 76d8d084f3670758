import { runWithoutAsyncContext } from './async-context.js';
import { InvalidArgumentError } from './errors.js';

/** A timer that can be cancelled. */
export interface Timer {
  /** Prevents the call of the task. */
  cancel(): void;
  /** Whether the process waits for the task. A clock without it keeps what `after` was told. */
  keepAlive?(keep: boolean): void;
}

/** Source of time and randomness: the `clock` option of services, for tests. */
export interface Clock {
  /** Wall-clock ms since the epoch, for display. */
  now(): number;
  /** Monotonic ms, for durations. */
  monotonic(): number;
  /** A number in [0, 1), for jitter. */
  random(): number;
  /** Calls `task` once after `ms`; with `keepAlive: false` the process may end first. */
  after(ms: number, task: () => void, options?: { keepAlive?: boolean }): Timer;
}

/** The real clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  random: () => Math.random(),
  after(ms, task, options) {
    const timeout = runWithoutAsyncContext(() => setTimeout(task, ms));
    if (options?.keepAlive === false) timeout.unref();
    return {
      cancel: () => clearTimeout(timeout),
      keepAlive: (keep) => void (keep ? timeout.ref() : timeout.unref()),
    };
  },
};

const CLOCK_METHODS = ['now', 'monotonic', 'random', 'after'] as const;

/** @throws {@link InvalidArgumentError} for an object without the methods of a clock. */
export function clockOption(clock: Clock | undefined): Clock {
  if (clock === undefined) return systemClock;
  const missing = CLOCK_METHODS.filter((method) => typeof clock?.[method] !== 'function');
  if (missing.length > 0) throw new InvalidArgumentError('clock', `lacks the methods ${missing.join(', ')}`);
  return clock;
}

/** Random by up to `spread`, so that processes do not act together. */
export function jitter(clock: Clock, ms: number, spread = 0.1): number {
  return ms * (1 + spread * (2 * clock.random() - 1));
}

/**
 * Exponential with full jitter, so that many clients do not reconnect together; `attempt` counts from 0.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoff(clock: Clock, attempt: number, first: number, max: number): number {
  return clock.random() * Math.min(max, first * 2 ** Math.min(attempt, 30));
}

/** Resolves after `ms`. */
export function sleep(clock: Clock, ms: number, options?: { keepAlive?: boolean }): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve, options);
  });
}

/** The longest delay of a timer, in ms. */
const MAX_DELAY = 2 ** 31 - 1;

/** Calls `task` once at `time`, in ms since the epoch, at any distance. Does not keep the process alive. */
export function callAt(clock: Clock, time: number, task: () => void): Timer {
  let timer: Timer;
  const wait = (): void => {
    const left = Math.max(0, time - clock.now());
    timer = clock.after(Math.min(MAX_DELAY, left), left > MAX_DELAY ? wait : task, { keepAlive: false });
  };
  wait();
  return { cancel: () => timer.cancel() };
}

/** Rejects with the error of `late` after `ms`. */
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
