import { backoff, type Clock, type Timer } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError, ConnectionError, type RollcallError, TimeoutError } from '../internal/errors.js';
import { toRollcallError } from '../redis/replies.js';

/** In ms. */
const FIRST_DELAY = 500;
const MAX_DELAY = 30_000;

export interface RetryOptions {
  readonly clock: Clock;
  readonly reporter: ErrorReporter;
}

/**
 * Repeats an operation with back-off. Reports only the first failure, because thousands of sockets retry in an
 * outage.
 */
export class Retry {
  readonly #options: RetryOptions;
  readonly #operation: () => Promise<unknown>;
  #timer: Timer | undefined;
  #attempts = 0;
  #run = 0;

  constructor(options: RetryOptions, operation: () => Promise<unknown>) {
    this.#options = options;
    this.#operation = operation;
  }

  /** Starts, or starts over. Resolves after the first attempt, even if it failed. */
  start(): Promise<void> {
    this.stop();
    this.#attempts = 0;
    return this.#attempt(this.#run);
  }

  /** Also silences the attempt in progress. */
  stop(): void {
    this.#run++;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  async #attempt(run: number): Promise<void> {
    try {
      await this.#operation();
    } catch (thrown) {
      if (run !== this.#run) return;
      const { clock, reporter } = this.#options;
      const error = toRollcallError(thrown);
      if (this.#attempts === 0) reporter.report(error, { stage: 'repair' });
      if (!isRetryable(error)) return;
      const delay = FIRST_DELAY / 2 + backoff(clock, this.#attempts++, FIRST_DELAY, MAX_DELAY);
      this.#timer = clock.after(delay, () => void this.#attempt(run), { keepAlive: false });
    }
  }
}

/** Invalid arguments and closed services fail every time. */
function isRetryable(error: RollcallError): boolean {
  return error instanceof ConnectionError || error instanceof TimeoutError || error instanceof CommandError;
}
