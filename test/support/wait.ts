import { measureSlowness, timeLimit } from './machine.js';

export interface WaitOptions {
  /** Milliseconds on an idle machine after which the wait fails (5000). */
  timeout?: number;
  /** Milliseconds between tries (10). */
  interval?: number;
  /** What is waited for, for the error. */
  message?: string | (() => string);
}

/** Calls `fn` until it returns something truthy, and returns that. A throw counts as "not yet". */
export async function waitFor<T>(
  fn: () => T | Promise<T>,
  { timeout = 5_000, interval = 10, message = 'condition' }: WaitOptions = {},
): Promise<T> {
  const start = performance.now();
  let limit = timeLimit(timeout);
  let cause: unknown;
  for (;;) {
    let left = start + limit - performance.now();
    if (left <= 0) {
      // The machine may have become slower while waiting.
      measureSlowness();
      limit = timeLimit(timeout);
      left = start + limit - performance.now();
    }
    // One more try at the deadline itself: the condition may have come true during the last pause.
    const last = left <= 0;
    let settled = false;
    const attempt = async () => {
      try {
        return await fn();
      } finally {
        settled = true;
      }
    };
    try {
      // A try that never settles must not outlive the deadline by much.
      const value = await settledWithin(attempt(), Math.max(left, interval, 1), 'the last try');
      if (value) return value;
      cause = undefined;
    } catch (error) {
      // A last try that is cut short at the deadline must not hide what the tries before it found.
      if (settled || cause === undefined) cause = error;
    }
    if (last) break;
    const pause = Math.min(interval, Math.max(start + limit - performance.now(), 0));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  const what = typeof message === 'function' ? message() : message;
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  throw new Error(`timed out after ${limit} ms waiting for ${what}${why}`, { cause });
}

export interface Deferred<T> {
  promise: Promise<T>;
  resolve(value: T | PromiseLike<T>): void;
  reject(reason: unknown): void;
}

/** A promise settled from outside (Promise.withResolvers, which Node 20 lacks). */
export function deferred<T = void>(): Deferred<T> {
  let resolve!: Deferred<T>['resolve'];
  let reject!: Deferred<T>['reject'];
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

/**
 * `promise`, or an error naming `what` when it has not settled after `ms` milliseconds on an idle
 * machine, or as much longer as this machine is slower.
 */
export function withDeadline<T>(promise: PromiseLike<T>, ms: number, what: string): Promise<T> {
  return settledWithin(promise, timeLimit(ms), what, () => {
    measureSlowness();
    return timeLimit(ms);
  });
}

/** `extend` is asked at the deadline for the limit of now; the wait goes on if that is longer. */
async function settledWithin<T>(
  promise: PromiseLike<T>,
  limit: number,
  what: string,
  extend: () => number = () => limit,
): Promise<T> {
  const start = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    const expire = () => {
      const now = extend();
      const left = start + now - performance.now();
      if (left > 1) timer = setTimeout(expire, left);
      else reject(new Error(`${what} took longer than ${Math.round(now)} ms`));
    };
    timer = setTimeout(expire, limit);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
