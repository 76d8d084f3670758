import { ReadableStream, type ReadableStreamDefaultController } from 'node:stream/web';
import { onAbort } from '../internal/abort.js';
import type { Clock, Timer } from '../internal/clock.js';
import { FLUSH_TIMEOUT, type ResponseWriter } from './response-writer.js';

export class WebResponseWriter implements ResponseWriter {
  readonly body: ReadableStream<Uint8Array>;
  readonly #clock: Clock;
  readonly #removeAbortListener: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #ending = false;
  #flushTimer: Timer | undefined;
  /** Until the first read: a server that drops a response neither reads nor cancels its body. */
  #unreadTimer: Timer | undefined;
  #closed = false;
  #onClose: (() => void) | undefined;

  /** The signal of `request` reports that the client disconnects. */
  constructor(clock: Clock, request?: { readonly signal?: AbortSignal | null | undefined }) {
    let kept = request;
    const signal = kept?.signal ?? undefined;
    this.#clock = clock;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        // Called when the queue is empty.
        pull: () => this.#onDrained(),
        cancel: () => this.#onClientGone(),
      },
      { highWaterMark: 1, size: (bytes) => bytes.byteLength },
    );
    const onAborted = () => {
      // Not errored, because servers log an errored body.
      this.#controller?.close();
      this.#onClientGone();
    };
    const removeAbortListener = onAbort(signal, onAborted);
    this.#removeAbortListener = () => {
      removeAbortListener();
      // Until now the request is kept: Node's Request that was made with another signal does not pass on its abort
      // once the Request is garbage collected, even while its own signal is in use.
      kept = undefined;
    };
    if (signal?.aborted === true) onAborted();
    else this.#unreadTimer = clock.after(FLUSH_TIMEOUT, onAborted, { keepAlive: false });
  }

  get buffered(): number {
    return Math.max(0, 1 - (this.#controller?.desiredSize ?? 1));
  }

  /** At once: the body counts as unread only while bytes are queued. */
  begin(text: string): void {
    this.write(text);
  }

  write(data: Uint8Array | string): void {
    this.#controller?.enqueue(typeof data === 'string' ? Buffer.from(data) : data);
  }

  end(): void {
    if (this.#closed || this.#ending) return;
    this.#ending = true;
    this.#unreadTimer?.cancel();
    // A closed stream does not call `pull` once its queue was read.
    if (this.buffered === 0) return this.#close();
    this.#flushTimer = this.#clock.after(FLUSH_TIMEOUT, () => this.destroy(), { keepAlive: false });
  }

  /** An error discards the stream's queue. */
  destroy(): void {
    this.#finish();
    this.#controller?.error(new Error('the client reads too slowly'));
    this.#controller = undefined;
  }

  onClose(listener: () => void): void {
    this.#onClose = listener;
    if (this.#closed) listener();
  }

  #onDrained(): void {
    this.#unreadTimer?.cancel();
    if (this.#ending) this.#close();
  }

  #close(): void {
    this.#finish();
    this.#controller?.close();
    this.#controller = undefined;
  }

  #onClientGone(): void {
    this.#finish();
    this.#closed = true;
    this.#controller = undefined;
    this.#onClose?.();
  }

  #finish(): void {
    this.#flushTimer?.cancel();
    this.#unreadTimer?.cancel();
    this.#removeAbortListener();
  }
}
