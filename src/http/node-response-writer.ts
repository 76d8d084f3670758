import type { Clock, Timer } from '../internal/clock.js';
import type { NodeRequest, NodeResponse, NodeSocket } from './node-types.js';
import { FLUSH_TIMEOUT, type ResponseWriter } from './response-writer.js';

/**
 * `Http2ServerResponse` has no `destroyed`. A response queued behind others is not destroyed when its
 * connection closes.
 */
export function isClosed({ socket }: NodeRequest, { destroyed, stream }: NodeResponse): boolean {
  return destroyed === true || stream?.destroyed === true || socket?.destroyed === true;
}

const noop = (): void => {};

export class NodeResponseWriter implements ResponseWriter {
  readonly #request: NodeRequest;
  readonly #response: NodeResponse;
  readonly #clock: Clock;
  #closed = false;
  #flushTimer: Timer | undefined;
  /** Not yet written. */
  #beginning = '';

  constructor(request: NodeRequest, response: NodeResponse, clock: Clock) {
    this.#request = request;
    this.#response = response;
    this.#clock = clock;
    // `close` follows every error, and handles it.
    response.on('error', noop);
  }

  get buffered(): number {
    return this.#response.writableLength + this.#beginning.length;
  }

  /** One write to the connection costs more than all of rollcall's work for a new event stream. */
  begin(text: string): void {
    this.#beginning = text;
    // A tick that is requested in a microtask runs after all other microtasks.
    queueMicrotask(() => process.nextTick(() => this.#writeBeginning()));
  }

  write(data: Uint8Array | string): void {
    const beginning = this.#beginning;
    this.#beginning = '';
    this.#response.write(prepend(beginning, data));
  }

  end(): void {
    if (this.#closed) return;
    this.#writeBeginning();
    this.#flushTimer = this.#clock.after(FLUSH_TIMEOUT, () => this.#response.destroy(), { keepAlive: false });
    this.#response.end();
  }

  destroy(): void {
    this.#beginning = '';
    this.#response.destroy();
  }

  onClose(listener: () => void): void {
    const socket = this.#queuedOn();
    const onClose = () => {
      if (this.#closed) return;
      this.#closed = true;
      socket?.off('close', onClose);
      this.#flushTimer?.cancel();
      listener();
    };
    this.#response.once('close', onClose);
    socket?.once('close', onClose);
    // It may be closed already; `close` is not emitted again.
    if (isClosed(this.#request, this.#response)) onClose();
  }

  #writeBeginning(): void {
    if (this.#beginning !== '' && !this.#closed) this.write('');
  }

  /**
   * The connection on which a response to a pipelined HTTP/1 request waits for earlier ones. Such a response
   * does not emit `close` with its connection.
   */
  #queuedOn(): NodeSocket | undefined {
    const { httpVersionMajor, socket } = this.#request;
    return httpVersionMajor < 2 && this.#response.socket === null ? (socket ?? undefined) : undefined;
  }
}

function prepend(text: string, data: Uint8Array | string): Uint8Array {
  if (typeof data === 'string') return Buffer.from(text + data);
  return text === '' ? data : Buffer.concat([Buffer.from(text), data]);
}
