import type { RateLimiter } from './options.js';

/** How long to wait where a limiter does not say. */
const DEFAULT_RETRY_AFTER = 1_000;

/**
 * `limiter` as a function that resolves with for how many ms to wait, or `undefined` for not at all. A
 * limiter that fails, because its store is away, lets everything pass: chat goes on.
 */
export function createRateLimit(
  limiter: RateLimiter,
  report: (error: unknown) => void,
): (key: string) => Promise<number | undefined> {
  return async (key) => {
    try {
      await limiter.consume(key);
      return undefined;
    } catch (refused) {
      if (refused instanceof Error) {
        report(refused);
        return undefined;
      }
      const ms = (refused as { msBeforeNext?: unknown } | undefined)?.msBeforeNext;
      return typeof ms === 'number' && ms >= 0 && ms < Number.POSITIVE_INFINITY ? ms : DEFAULT_RETRY_AFTER;
    }
  };
}
