import { systemClock, withTimeout } from '../internal/clock.js';
import { messageOf } from '../internal/diagnostics.js';
import { TimeoutError } from '../internal/errors.js';
import { assertName, numberOption } from '../internal/validate.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';

/** A `HealthIndicatorResult` of `@nestjs/terminus`. */
export type RollcallHealthResult = Record<
  string,
  {
    /** `up` if Redis has replied. */
    status: 'up' | 'down';
    /** Why it is down. */
    message?: string;
  }
>;

/** A health indicator for `HealthCheckService.check` of `@nestjs/terminus`, which is not imported. */
export class RollcallHealthIndicator {
  readonly #pubsub: PubSubService;

  /** @internal */
  constructor(pubsub: PubSubService) {
    this.#pubsub = pubsub;
  }

  /**
   * Sends TIME to Redis, which the ACL rules of rollcall allow. Resolves with the status `down` after `timeout` ms without a reply; it never rejects.
   *
   * @example
   * ```ts
   * this.health.check([() => this.rollcall.isHealthy('redis')]);
   * ```
   * @throws `InvalidArgumentError` for a bad key or timeout.
   */
  async isHealthy(key = 'rollcall', options: { timeout?: number } = {}): Promise<RollcallHealthResult> {
    assertName('key', key);
    const timeout = numberOption('timeout', options.timeout, 1_000, { unit: 'ms', min: 1, max: 3_600_000 });
    try {
      const late = () => new TimeoutError(`Redis has not replied within ${timeout} ms`);
      await withTimeout(systemClock, timeout, this.#pubsub.execute('TIME', [['TIME']]), late);
      return { [key]: { status: 'up' } };
    } catch (error) {
      return { [key]: { status: 'down', message: messageOf(error) } };
    }
  }
}
