import type { Clock, Timer } from '../internal/clock.js';
import type { NodeResponse } from './options.js';
import { FLUSH_TIMEOUT, type ResponseWriter } from './response-writer.js';

/** A stream over a response of `node:http`, or of `node:http2`. */
export class NodeResponseWriter implements ResponseWriter {
  readonly #response: NodeResponse;
  readonly #clock: Clock;
  #waiting: (() => void)[] = [];
  #full = false;
  #gone = false;
  #cut: Timer | undefined;

  constructor(response: NodeResponse, clock: Clock) {
    this.#response = response;
    this.#clock = clock;
    // `close` follows, and that is all there is to know.
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
    if (this.#gone) return;
    this.#cut = this.#clock.after(FLUSH_TIMEOUT, () => this.#response.destroy(), { keepAlive: false });
    this.#response.end();
  }

  drained(): Promise<void> {
    if (this.#gone || !this.#full) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  onClose(gone: () => void): void {
    const closed = () => {
      if (this.#gone) return;
      this.#gone = true;
      this.#cut?.cancel();
      this.#release();
      gone();
    };
    this.#response.once('close', closed);
    // It may have gone while somebody looked up who it is.
    if (this.#response.destroyed) closed();
  }

  #release(): void {
    this.#full = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
