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
import type { RedisClient } from './detect.js';
import type { Capabilities, Command, ExecuteOptions, Reply } from './driver.js';
import { toRollcallError } from './replies.js';
import {
  type ReadyCallback,
  type SharedClient,
  type SharedClientListener,
  sharedClientFor,
} from './shared-client.js';

/** Delay before undelivered commands are sent again, in ms. */
export const RETRY_DELAY = 20;

/**
 * One service's access to Redis: deadlines, calls in progress, and `close`, which rejects those calls. Every
 * call settles as done, failed or unknown within `timeout`. Services on one client share {@link shared}; its
 * driver is closed with the last handle.
 */
export class ClientHandle {
  readonly shared: SharedClient;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly #service: string;
  readonly #rejectOpenCalls = new Set<() => void>();
  #closed = false;

  constructor(service: string, shared: SharedClient, timeout: number, clock: Clock) {
    this.#service = service;
    this.shared = shared;
    this.clock = clock;
    this.deadlines = new DeadlineQueue(clock, timeout);
    shared.retain();
  }

  /** `service`: class name for error texts. */
  static open(service: string, client: RedisClient, timeout: number, clock: Clock): ClientHandle {
    return new ClientHandle(service, sharedClientFor(client), timeout, clock);
  }

  get closed(): boolean {
    return this.#closed;
  }

  get capabilities(): Capabilities {
    return this.shared.capabilities;
  }

  get database(): number {
    return this.shared.driver.database ?? 0;
  }

  get ready(): boolean {
    return this.shared.ready;
  }

  /** The client does not reconnect, or its owner has closed it; false again once connected. */
  get ended(): boolean {
    return this.shared.ended;
  }

  assertOpen(): void {
    if (this.closed) throw this.closedError();
  }

  closedError(outcome: Outcome = 'failed'): ClosedError {
    return new ClosedError(`this ${this.#service} is closed`, { outcome });
  }

  timeoutError(what: string, outcome: Outcome): TimeoutError {
    const cause = this.shared.lastError;
    const reason = cause === undefined ? '' : ` (${cause.message})`;
    return new TimeoutError(`${what} did not finish within ${this.deadlines.timeout} ms${reason}`, {
      cause,
      outcome,
    });
  }

  /** Rejects at the deadline; later results are ignored. */
  withDeadline<T>(
    what: string,
    work: () => Promise<T>,
    mayHaveHappened: () => boolean = () => true,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const finish = () => {
        deadline.done();
        this.#rejectOpenCalls.delete(close);
      };
      const fail = (error: RollcallError) => {
        finish();
        reject(error);
      };
      const outcome = (): Outcome => (mayHaveHappened() ? 'unknown' : 'failed');
      const close = () => fail(this.closedError(outcome()));
      const deadline = this.deadlines.start(() => fail(this.timeoutError(what, outcome())));
      this.#rejectOpenCalls.add(close);
      work().then(
        (value) => {
          finish();
          resolve(value);
        },
        (error: unknown) => fail(toRollcallError(error)),
      );
    });
  }

  /** Rejects with a {@link ConnectionError} at the deadline; the client may go on trying. */
  async connect(): Promise<void> {
    this.assertOpen();
    try {
      await this.withDeadline('connect', () => this.shared.connect());
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
      const reason = this.shared.lastError?.message ?? 'no answer';
      throw new ConnectionError(`Redis cannot be reached within ${this.deadlines.timeout} ms: ${reason}`, {
        cause: this.shared.lastError ?? error,
      });
    }
  }

  listen(listener: SharedClientListener): () => void {
    return this.shared.listen(listener);
  }

  /** See {@link SharedClient.whenReady}. */
  whenReady(callback: ReadyCallback): () => void {
    return this.shared.whenReady(callback);
  }

  /** Sends once, without a deadline; rejects at once without a connection. */
  send(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    return this.shared.execute(commands, options);
  }

  /**
   * Waits for the connection, within the deadline; rejects when Redis refuses one command. Commands must be
   * idempotent: they are sent again when the connection breaks before the replies.
   */
  async execute(what: string, commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    this.assertOpen();
    let sent = false;
    let settled = false;
    let stopWaiting = (): void => {};
    const attempt = (): Promise<Reply[]> =>
      new Promise<Reply[]>((resolve, reject) => {
        stopWaiting = this.shared.whenReady((error) => {
          if (settled) return;
          if (error !== undefined) return reject(error);
          sent = true;
          this.shared.execute(commands, options).then(resolve, (cause: unknown) => {
            if (settled || !(cause instanceof ConnectionError)) return reject(cause as Error);
            this.clock.after(RETRY_DELAY, () => attempt().then(resolve, reject));
          });
        });
      });
    try {
      const replies = await this.withDeadline(what, attempt, () => sent);
      assertNoErrorReply(what, replies);
      return replies;
    } finally {
      settled = true;
      stopWaiting();
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const reject of [...this.#rejectOpenCalls]) reject();
    await this.shared.release();
  }
}

export function assertNoErrorReply(what: string, replies: readonly Reply[]): void {
  for (const reply of replies) {
    if (reply instanceof Error) {
      throw new CommandError(`${what}: Redis refused: ${reply.message}`, { cause: reply });
    }
  }
}
