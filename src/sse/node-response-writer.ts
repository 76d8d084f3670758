import type { Clock, Timer } from '../internal/clock.js';
import type { NodeResponse } from './options.js';
import { FLUSH_TIMEOUT, type ResponseWriter } from './response-writer.js';

/** Writes to a response of `node:http` or `node:http2`. */
export class NodeResponseWriter implements ResponseWriter {
  readonly #response: NodeResponse;
  readonly #clock: Clock;
  #drainWaiters: (() => void)[] = [];
  #full = false;
  #closed = false;
  #flushTimer: Timer | undefined;

  constructor(response: NodeResponse, clock: Clock) {
    this.#response = response;
    this.#clock = clock;
    // `close` follows every error, and handles it.
    response.on('error', () => {});
    response.on('drain', () => this.#release());
  }

  get buffered(): number {
    return this.#response.writableLength;
  }

  write(bytes: Uint8Array): void {
    if (!this.#response.write(bytes)) this.#full = true;
  }

  end(): void {
    if (this.#closed) return;
    this.#flushTimer = this.#clock.after(FLUSH_TIMEOUT, () => this.#response.destroy(), { keepAlive: false });
    this.#response.end();
  }

  drained(): Promise<void> {
    if (this.#closed || !this.#full) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  onClose(listener: () => void): void {
    const onClose = () => {
      if (this.#closed) return;
      this.#closed = true;
      this.#flushTimer?.cancel();
      this.#release();
      listener();
    };
    this.#response.once('close', onClose);
    // The client may have gone before the application called us; `close` is not emitted again.
    if (this.#response.destroyed) onClose();
  }

  #release(): void {
    this.#full = false;
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const resolve of waiters) resolve();
  }
}
