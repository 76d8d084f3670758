import { runWithoutAsyncContext } from '../internal/async-context.js';
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
import { driverFor, type RedisClient } from './detect.js';
import type { Capabilities, Command, Driver, DriverListener, ExecuteOptions, Reply } from './driver.js';
import { toRollcallError } from './replies.js';

export type SharedClientListener = Partial<DriverListener>;

/** Called once: without an error when commands can be sent, with one when the client stopped reconnecting. */
export type ReadyCallback = (error?: RollcallError) => void;

/**
 * Shared by all services on one Redis client. Commands reach the driver only while it is connected, so none
 * waits in the client's queue and runs after its caller timed out.
 */
export class SharedClient {
  readonly driver: Driver;
  readonly #forget: () => void;
  readonly #listeners = new Set<SharedClientListener>();
  readonly #waiting = new Set<ReadyCallback>();
  /** Called before commands are sent. */
  beforeCommands: () => void = () => {};
  #connecting: Promise<void> | undefined;
  #users = 0;
  #lastError: Error | undefined;
  #ended = false;
  #closed = false;

  constructor(driver: Driver, forget: () => void) {
    this.driver = driver;
    this.#forget = forget;
    driver.attach({
      message: (kind, name, channel, payload) => {
        for (const listener of this.#listeners) listener.message?.(kind, name, channel, payload);
      },
      // The owner may have connected the client in some async context.
      connection: (state, cause) => runWithoutAsyncContext(() => this.#handleConnection(state, cause)),
      dropped: (kind, names, cause) => {
        runWithoutAsyncContext(() => {
          for (const listener of this.#listeners) listener.dropped?.(kind, names, cause);
        });
      },
      nodeReturned: () => {
        runWithoutAsyncContext(() => {
          for (const listener of this.#listeners) listener.nodeReturned?.();
        });
      },
    });
  }

  get capabilities(): Capabilities {
    return this.driver.capabilities;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get ready(): boolean {
    return this.driver.ready;
  }

  /** The client does not reconnect, or its owner has closed it; false again once connected. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Undefined while connected. */
  get lastError(): Error | undefined {
    return this.#lastError;
  }

  /** The last `release` closes the driver. */
  retain(): void {
    this.#users++;
  }

  async release(): Promise<void> {
    if (--this.#users > 0) return;
    this.#closed = true;
    this.#forget();
    await this.driver.close();
  }

  listen(listener: SharedClientListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** All callers share one attempt. */
  connect(): Promise<void> {
    this.#connecting ??= runWithoutAsyncContext(() => this.driver.connect()).catch((error: unknown) => {
      this.#connecting = undefined;
      throw toUnreachableError(error);
    });
    return this.#connecting;
  }

  /** Connects the client if necessary. The returned function cancels the call. */
  whenReady(callback: ReadyCallback): () => void {
    if (this.#closed) {
      // Only the owner may connect the client after this.
      callback(new ConnectionError('the last service on this client was closed'));
      return () => {};
    }
    if (this.ready) {
      callback();
      return () => {};
    }
    const once: ReadyCallback = (error) => {
      if (this.#waiting.delete(once)) callback(error);
    };
    this.#waiting.add(once);
    this.connect().then(() => {
      // `connect` may be an attempt that succeeded before the connection was lost again.
      if (this.ready) once();
    }, once);
    return () => void this.#waiting.delete(once);
  }

  /** Rejects at once without a connection. */
  execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    this.beforeCommands();
    return this.driver.execute(commands, options);
  }

  #handleConnection(state: 'ready' | 'lost' | 'ended', cause: Error | undefined): void {
    this.#ended = state === 'ended';
    this.#lastError = state === 'ready' ? undefined : (cause ?? this.#lastError);
    if (state === 'ready') this.#notifyWaiting();
    if (state === 'ended') {
      this.#connecting = undefined;
      this.#notifyWaiting(
        new ConnectionError(
          this.#lastError === undefined
            ? 'the Redis client has stopped reconnecting'
            : `the Redis client is closed: ${this.#lastError.message}`,
          { cause: this.#lastError },
        ),
      );
    }
    for (const listener of this.#listeners) listener.connection?.(state, cause);
  }

  #notifyWaiting(error?: RollcallError): void {
    for (const callback of [...this.#waiting]) callback(error);
  }
}

function toUnreachableError(cause: unknown): RollcallError {
  const error = toRollcallError(cause);
  if (!(error instanceof ConnectionError)) return error;
  return new ConnectionError(`Redis cannot be reached: ${error.message}`, { cause: error.cause ?? error });
}

const sharedClients = new WeakMap<object, SharedClient>();

export function sharedClientFor(client: RedisClient): SharedClient {
  let shared = sharedClients.get(client);
  if (shared === undefined) {
    shared = new SharedClient(driverFor(client), () => sharedClients.delete(client));
    sharedClients.set(client, shared);
  }
  return shared;
}

/** Operations that no caller waits for, by the names in their error texts. */
const BACKGROUND = new Set(['connect', 'sweep', 'restore', 'close']);

/** Delay before undelivered commands are sent again, in ms. */
export const RETRY_DELAY = 20;

/**
 * One service's access to Redis: deadlines, calls in progress, and `close`, which rejects those calls. Every call
 * settles as done, failed or unknown within `timeout`. The last handle on a client closes the driver.
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

  /** See {@link SharedClient.ended}. */
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
          const background = BACKGROUND.has(what);
          this.shared
            .execute(commands, background ? { ...options, background } : options)
            .then(throwConnectionError)
            .then(resolve, (cause: unknown) => {
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

/** One node of a Cluster may have been unreachable while others replied. */
function throwConnectionError(replies: Reply[]): Reply[] {
  for (const reply of replies) if (reply instanceof ConnectionError) throw reply;
  return replies;
}

export function assertNoErrorReply(what: string, replies: readonly Reply[]): void {
  for (const reply of replies) {
    if (reply instanceof Error) {
      throw new CommandError(`${what}: Redis refused: ${reply.message}`, { cause: reply });
    }
  }
}
