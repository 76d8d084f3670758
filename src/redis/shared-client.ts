import { runWithoutAsyncContext } from '../internal/async-context.js';
import { ConnectionError, type RollcallError } from '../internal/errors.js';
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
  #connecting: Promise<void> | undefined;
  #users = 0;
  #lastError: Error | undefined;
  #ended = false;
  #closed = false;

  /** `forget` is called after the last `release`. */
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

/** One per client. */
export function sharedClientFor(client: RedisClient): SharedClient {
  let shared = sharedClients.get(client);
  if (shared === undefined) {
    shared = new SharedClient(driverFor(client), () => sharedClients.delete(client));
    sharedClients.set(client, shared);
  }
  return shared;
}
