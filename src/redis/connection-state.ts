import { ConnectionError, type RollcallError } from '../internal/errors.js';

/** Called with each change; see `connection` of {@link DriverListener}. */
export type StateListener = (state: 'ready' | 'lost' | 'ended', cause?: Error) => void;

/**
 * The state of a driver's connection for commands, kept by a client's adapter. Rejects commands in progress when the
 * connection breaks: client libraries keep them pending, some forever, and some send them again later.
 */
export class ConnectionState {
  readonly #client: string;
  readonly #pending = new Set<(error: ConnectionError) => void>();
  readonly #waiting = new Set<{ resolve: () => void; reject: (error: RollcallError) => void }>();
  #listener: StateListener | undefined;
  #state: 'new' | 'ready' | 'lost' | 'ended' = 'new';
  #lastError: Error | undefined;
  #closedByOwner = false;

  /** @param client The client's name, for messages. */
  constructor(client: string) {
    this.#client = client;
  }

  /** Commands can be sent at once. */
  get ready(): boolean {
    return this.#state === 'ready';
  }

  /** The client has stopped reconnecting. */
  get ended(): boolean {
    return this.#state === 'ended';
  }

  /** Only the owner may connect the client again. */
  get closedByOwner(): boolean {
    return this.#closedByOwner;
  }

  /** Undefined while connected. */
  get lastError(): Error | undefined {
    return this.#lastError;
  }

  /** `listener` receives the changes from then on. */
  attach(listener: StateListener): void {
    this.#listener = listener;
  }

  /** The reason of a loss that follows or lasts. */
  setError(error: unknown): void {
    this.#lastError = error instanceof Error ? error : new Error(String(error));
    if (this.#state !== 'ready') this.#listener?.('lost', this.#lastError);
  }

  /** Redis accepts connections but refuses this client's settings. Calls of `whenReady` reject; the client may go on trying. */
  refuse(error: RollcallError): void {
    this.setError(error);
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting.clear();
  }

  /** The connection is ready. Calls of `whenReady` resolve. */
  up(): void {
    if (this.#state === 'ready') return;
    this.#state = 'ready';
    this.#closedByOwner = false;
    this.#lastError = undefined;
    for (const { resolve } of this.#waiting) resolve();
    this.#waiting.clear();
    this.#listener?.('ready');
  }

  /** The client is reconnecting. Tracked calls reject. */
  down(): void {
    if (this.#state === 'ended') return;
    const previous = this.#state;
    this.#state = 'lost';
    this.#rejectPending('the connection to Redis broke');
    if (previous === 'ready') this.#listener?.('lost', this.#lastError);
  }

  /** The client does not reconnect. Tracked calls and those of `whenReady` reject. */
  end(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#rejectPending('the connection to Redis was closed');
    const error = this.createOfflineError();
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting.clear();
    this.#listener?.('ended', this.#lastError);
  }

  /** The owner has closed the client, and only they may connect it again. */
  endByOwner(): void {
    if (this.#state === 'ended') return;
    this.#closedByOwner = true;
    this.#lastError = new ConnectionError('its owner has closed it');
    this.end();
  }

  /** For calls that were not sent: outcome `failed`. */
  createOfflineError(): ConnectionError {
    const why = this.#state === 'ended' ? 'is closed' : 'is not connected';
    const reason = this.#lastError === undefined ? '' : `: ${this.#lastError.message}`;
    return new ConnectionError(`the ${this.#client} client ${why}${reason}`, { cause: this.#lastError });
  }

  /** Resolves once the connection is ready. Rejects when the client stops reconnecting. */
  whenReady(): Promise<void> {
    if (this.#state === 'ready') return Promise.resolve();
    if (this.#closedByOwner) return Promise.reject(this.createOfflineError());
    if (this.#state === 'ended') this.#state = 'lost';
    return new Promise((resolve, reject) => this.#waiting.add({ resolve, reject }));
  }

  /** The result of `work`. Rejects with outcome `unknown` as soon as the connection breaks. */
  track<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#pending.add(reject);
      work.then(
        (value) => {
          this.#pending.delete(reject);
          resolve(value);
        },
        (error: unknown) => {
          this.#pending.delete(reject);
          reject(error as Error);
        },
      );
    });
  }

  #rejectPending(message: string): void {
    const error = new ConnectionError(message, { cause: this.#lastError, outcome: 'unknown' });
    for (const reject of this.#pending) reject(error);
    this.#pending.clear();
  }
}
