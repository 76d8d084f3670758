import type { Clock } from '../internal/clock.js';
import { DeadlineQueue } from '../internal/deadlines.js';
import {
  ClosedError,
  CommandError,
  ConnectionError,
  type Outcome,
  type RollcallError,
  TimeoutError,
} from '../internal/errors.js';
import type { Command, ExecuteOptions, Reply } from './driver.js';
import { toRollcallError } from './replies.js';
import type { SharedClient } from './shared-client.js';

/** How long to wait before sending again what a broken connection did not deliver, in ms. */
export const RETRY_DELAY = 20;

/**
 * A service's own way to Redis over a shared session: its deadlines, and its end. Every call
 * settles as done, failed or unknown within `timeout`.
 */
export class ClientHandle {
  readonly session: SharedClient;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly #service: string;
  /** Ends each call that is still open. */
  readonly #open = new Set<() => void>();
  #closed = false;

  constructor(service: string, session: SharedClient, timeout: number, clock: Clock) {
    this.#service = service;
    this.session = session;
    this.clock = clock;
    this.deadlines = new DeadlineQueue(clock, timeout);
    session.retain();
  }

  /** True once `close` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Throws when the service was closed. */
  assertOpen(): void {
    if (this.closed) throw this.closedError();
  }

  /** The error of a call that the service's end cut short. */
  closedError(outcome: Outcome = 'failed'): ClosedError {
    return new ClosedError(`this ${this.#service} is closed`, { outcome });
  }

  /** The error of a call whose deadline passed. */
  timeoutError(what: string, outcome: Outcome): TimeoutError {
    const cause = this.session.lastError;
    const why = cause === undefined ? '' : ` (${cause.message})`;
    return new TimeoutError(`${what} did not finish within ${this.deadlines.timeout} ms${why}`, {
      cause,
      outcome,
    });
  }

  /** The result of `work`, or our error at the deadline; late results are of no interest. */
  withDeadline<T>(
    what: string,
    work: () => Promise<T>,
    mayHaveHappened: () => boolean = () => true,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const finish = () => {
        deadline.done();
        this.#open.delete(close);
      };
      const fail = (error: RollcallError) => {
        finish();
        reject(error);
      };
      const outcome = (): Outcome => (mayHaveHappened() ? 'unknown' : 'failed');
      const close = () => fail(this.closedError(outcome()));
      const deadline = this.deadlines.start(() => fail(this.timeoutError(what, outcome())));
      this.#open.add(close);
      work().then(
        (value) => {
          finish();
          resolve(value);
        },
        (error: unknown) => fail(toRollcallError(error)),
      );
    });
  }

  /** Connects, or rejects with a {@link ConnectionError} at the deadline; the client may go on trying. */
  async connect(): Promise<void> {
    this.assertOpen();
    try {
      await this.withDeadline('connect', () => this.session.connect());
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
      const reason = this.session.lastError?.message ?? 'no answer';
      throw new ConnectionError(`Redis cannot be reached within ${this.deadlines.timeout} ms: ${reason}`, {
        cause: this.session.lastError ?? error,
      });
    }
  }

  /**
   * Sends `commands` once the connection is ready, within the deadline; a refused command rejects.
   * The commands must be idempotent: they are sent again when the connection breaks under them.
   */
  async execute(what: string, commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    this.assertOpen();
    let sent = false;
    let over = false;
    let forget = (): void => {};
    const attempt = (): Promise<Reply[]> =>
      new Promise<Reply[]>((resolve, reject) => {
        forget = this.session.whenReady((error) => {
          if (over) return;
          if (error !== undefined) return reject(error);
          sent = true;
          this.session.execute(commands, options).then(resolve, (cause: unknown) => {
            if (over || !(cause instanceof ConnectionError)) return reject(cause as Error);
            this.clock.after(RETRY_DELAY, () => attempt().then(resolve, reject));
          });
        });
      });
    try {
      const replies = await this.withDeadline(what, attempt, () => sent);
      assertNoErrorReply(what, replies);
      return replies;
    } finally {
      over = true;
      forget();
    }
  }

  /** Fails what is still open and lets go of the session. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const close of [...this.#open]) close();
    await this.session.release();
  }
}

/** Throws if Redis refused any of the commands. */
export function assertNoErrorReply(what: string, replies: readonly Reply[]): void {
  for (const reply of replies) {
    if (reply instanceof Error) {
      throw new CommandError(`${what}: Redis refused: ${reply.message}`, { cause: reply });
    }
  }
}
