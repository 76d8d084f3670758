import { ConnectionError, type RollcallError } from '../internal/errors.js';
import { driverFor, type RedisClient } from './detect.js';
import type { Capabilities, Command, Driver, DriverListener, ExecuteOptions, Reply } from './driver.js';
import { toRollcallError } from './replies.js';

/** What a session tells those who share it. */
export type SharedClientListener = Partial<DriverListener>;

/** Called once: without an error when commands can be sent, with one when the client has given up. */
export type ReadyCallback = (error?: RollcallError) => void;

/**
 * One Redis client as all services built on it share it: who uses it, whether commands can go out,
 * and a way to wait for that. Nothing is handed to a client that is not connected, so nothing lies
 * in a client's own queue to be executed long after its caller gave up.
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

  constructor(driver: Driver, forget: () => void) {
    this.driver = driver;
    this.#forget = forget;
    driver.attach({
      message: (kind, name, channel, payload) => {
        for (const listener of this.#listeners) listener.message?.(kind, name, channel, payload);
      },
      connection: (state, cause) => this.#changed(state, cause),
      dropped: (kind, names, cause) => {
        for (const listener of this.#listeners) listener.dropped?.(kind, names, cause);
      },
      nodeReturned: () => {
        for (const listener of this.#listeners) listener.nodeReturned?.();
      },
    });
  }

  /** What the client and its server can do. */
  get capabilities(): Capabilities {
    return this.driver.capabilities;
  }

  /** True once the last service has let go of it. */
  get closed(): boolean {
    return this.#closed;
  }

  /** True while commands go out at once. */
  get ready(): boolean {
    return this.driver.ready;
  }

  /** True once the client has given up, or was closed by its owner, until it is connected again. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The latest connection error, while the connection is away. */
  get lastError(): Error | undefined {
    return this.#lastError;
  }

  /** Counts a service in; the connection is closed when the last one has called `release`. */
  retain(): void {
    this.#users++;
  }

  /** Counts a service out. */
  async release(): Promise<void> {
    if (--this.#users > 0) return;
    this.#closed = true;
    this.#forget();
    await this.driver.close();
  }

  /** Messages and connection changes go to `listener` until the returned function is called. */
  listen(listener: SharedClientListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Connects the client unless it is connected; all callers share one attempt. */
  connect(): Promise<void> {
    this.#connecting ??= this.driver.connect().catch((error: unknown) => {
      this.#connecting = undefined;
      throw toUnreachableError(error);
    });
    return this.#connecting;
  }

  /**
   * Calls `callback` once commands can be sent; starts connecting if nobody has. The returned function
   * calls that off.
   */
  whenReady(callback: ReadyCallback): () => void {
    if (this.#closed) {
      // The client is its owner's alone again: nobody here may connect it.
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
      // An attempt that succeeded long ago says nothing about now.
      if (this.ready) once();
    }, once);
    return () => void this.#waiting.delete(once);
  }

  /** Sends `commands` now; rejects at once while the connection is away. */
  execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    return this.driver.execute(commands, options);
  }

  #changed(state: 'ready' | 'lost' | 'ended', cause: Error | undefined): void {
    this.#ended = state === 'ended';
    this.#lastError = state === 'ready' ? undefined : (cause ?? this.#lastError);
    if (state === 'ready') this.#notifyReady();
    if (state === 'ended') {
      this.#connecting = undefined;
      this.#notifyReady(
        new ConnectionError('the Redis client has given up its connection', { cause: this.#lastError }),
      );
    }
    for (const listener of this.#listeners) listener.connection?.(state, cause);
  }

  #notifyReady(error?: RollcallError): void {
    for (const callback of [...this.#waiting]) callback(error);
  }
}

function toUnreachableError(cause: unknown): RollcallError {
  const error = toRollcallError(cause);
  if (!(error instanceof ConnectionError)) return error;
  return new ConnectionError(`Redis cannot be reached: ${error.message}`, { cause: error.cause ?? error });
}

const sharedClients = new WeakMap<object, SharedClient>();

/** The session of `client`: one per client, however many services are built on it. */
export function sharedClientFor(client: RedisClient): SharedClient {
  let session = sharedClients.get(client);
  if (session === undefined) {
    session = new SharedClient(driverFor(client), () => sharedClients.delete(client));
    sharedClients.set(client, session);
  }
  return session;
}
