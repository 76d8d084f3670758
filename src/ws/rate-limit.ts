import type { RateLimiter } from './options.js';

/** Wait in ms if a limiter rejects without `msBeforeNext`. */
const DEFAULT_RETRY_AFTER = 1_000;

/**
 * Resolves with the wait in ms, or `undefined` if the frame may pass. A limiter that fails lets every frame
 * pass, so that an outage of its store does not stop the chat.
 */
export function createRateLimit(
  limiter: RateLimiter,
  report: (error: unknown) => void,
): (key: string) => Promise<number | undefined> {
  return async (key) => {
    try {
      await limiter.consume(key);
      return undefined;
    } catch (rejection) {
      if (rejection instanceof Error) {
        report(rejection);
        return undefined;
      }
      const ms = (rejection as { msBeforeNext?: unknown } | undefined)?.msBeforeNext;
      return typeof ms === 'number' && ms >= 0 && ms < Number.POSITIVE_INFINITY ? ms : DEFAULT_RETRY_AFTER;
    }
  };
}
