export interface WaitOptions {
  /** Give up after this many milliseconds (5000). */
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
  const end = performance.now() + timeout;
  let cause: unknown;
  for (;;) {
    const left = end - performance.now();
    // One more try at the deadline itself: the condition may have come true during the last pause.
    const last = left <= 0;
    try {
      cause = undefined;
      // A try that never settles must not outlive the deadline by much.
      const value = await withDeadline(Promise.resolve(fn()), Math.max(left, interval, 1), 'the last try');
      if (value) return value;
    } catch (error) {
      cause = error;
    }
    if (last) break;
    const pause = Math.min(interval, Math.max(end - performance.now(), 0));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  const what = typeof message === 'function' ? message() : message;
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  throw new Error(`timed out after ${timeout} ms waiting for ${what}${why}`, { cause });
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

/** `promise`, or an error naming `what` when it has not settled after `ms` milliseconds. */
export async function withDeadline<T>(promise: PromiseLike<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${Math.round(ms)} ms`)), ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
