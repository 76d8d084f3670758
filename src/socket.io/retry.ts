import { backoff, type Clock, type Timer } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError, ConnectionError, type RollcallError, TimeoutError } from '../internal/errors.js';
import { toRollcallError } from '../redis/replies.js';

/** The first and the longest pause between two attempts, in ms. */
const FIRST_DELAY = 500;
const MAX_DELAY = 30_000;

/** What {@link Retry} needs. */
export interface RetryOptions {
  readonly clock: Clock;
  readonly reporter: ErrorReporter;
}

/**
 * Something that is done again until it succeeds, or nobody wants it any more. Reported the first time it
 * fails: in an outage thousands of sockets try at the same time.
 */
export class Retry {
  readonly #options: RetryOptions;
  readonly #work: () => Promise<unknown>;
  #timer: Timer | undefined;
  #attempts = 0;
  #run = 0;

  constructor(options: RetryOptions, work: () => Promise<unknown>) {
    this.#options = options;
    this.#work = work;
  }

  /** Begins, or begins again. */
  start(): void {
    this.stop();
    this.#attempts = 0;
    this.#attempt(this.#run);
  }

  /** No attempt begins any more, and none is reported. */
  stop(): void {
    this.#run++;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #attempt(run: number): void {
    this.#work().catch((thrown: unknown) => {
      if (run !== this.#run) return;
      const { clock, reporter } = this.#options;
      const error = toRollcallError(thrown);
      if (this.#attempts === 0) reporter.report(error, { stage: 'repair' });
      if (!isRetryable(error)) return;
      const pause = FIRST_DELAY / 2 + backoff(clock, this.#attempts++, FIRST_DELAY, MAX_DELAY);
      this.#timer = clock.after(pause, () => this.#attempt(run), { keepAlive: false });
    });
  }
}

/** A bad argument stays bad, and a closed service closed. */
function isRetryable(error: RollcallError): boolean {
  return error instanceof ConnectionError || error instanceof TimeoutError || error instanceof CommandError;
}
