import { ReadableStream, type ReadableStreamDefaultController } from 'node:stream/web';
import { onAbort } from '../internal/abort.js';
import type { Clock, Timer } from '../internal/clock.js';
import { FLUSH_TIMEOUT, type ResponseWriter } from './response-writer.js';

/** A stream over the body of a Web-standard `Response`. */
export class WebResponseWriter implements ResponseWriter {
  /** The body. */
  readonly body: ReadableStream<Uint8Array>;
  readonly #clock: Clock;
  readonly #forget: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #waiting: (() => void)[] = [];
  #ending = false;
  #cut: Timer | undefined;
  #left = false;
  #gone: (() => void) | undefined;

  /** `signal` is the request's: it aborts when the client goes. */
  constructor(clock: Clock, signal?: AbortSignal) {
    this.#clock = clock;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        // Called whenever nothing waits.
        pull: () => this.#empty(),
        cancel: () => this.#leave(),
      },
      { highWaterMark: 1, size: (bytes) => bytes.byteLength },
    );
    const aborted = () => {
      // Not an error, of which servers would make much: nobody reads on.
      this.#controller?.close();
      this.#leave();
    };
    this.#forget = onAbort(signal, aborted);
    if (signal?.aborted === true) aborted();
  }

  get buffered(): number {
    return Math.max(0, 1 - (this.#controller?.desiredSize ?? 1));
  }

  write(bytes: Uint8Array): void {
    this.#controller?.enqueue(bytes);
  }

  end(): void {
    if (this.#left || this.#ending) return;
    this.#ending = true;
    // Closed only when it is empty, for a closed one does not tell when it has been read.
    if (this.buffered === 0) return this.#close();
    this.#cut = this.#clock.after(FLUSH_TIMEOUT, () => this.#fail(), { keepAlive: false });
  }

  drained(): Promise<void> {
    if (this.#left || this.buffered === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  onClose(gone: () => void): void {
    this.#gone = gone;
    if (this.#left) gone();
  }

  #empty(): void {
    this.#release();
    if (this.#ending) this.#close();
  }

  #close(): void {
    this.#finish();
    this.#controller?.close();
    this.#controller = undefined;
  }

  /** Lets go of what waits. */
  #fail(): void {
    this.#finish();
    this.#controller?.error(new Error('read too slowly'));
    this.#controller = undefined;
  }

  #leave(): void {
    this.#finish();
    this.#left = true;
    this.#controller = undefined;
    this.#gone?.();
  }

  #finish(): void {
    this.#cut?.cancel();
    this.#forget();
    this.#release();
  }

  #release(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
