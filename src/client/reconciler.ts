import type { ClientFrame } from '../protocol/frames.js';
import { type ClientError, isRetryLater } from './client-error.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import { RetryDelay } from './retry-delay.js';

/** The next thing to tell the server. */
export interface ReconcileRequest {
  readonly frame: ClientFrame;
  /** It was carried out or, with an error, refused. */
  onReply(error: ClientError | undefined, data?: unknown): void;
  /** The server asks to try again later, which happens by itself. */
  onRetryLater?(): void;
}

/**
 * Brings the server to a state that is wanted of it: one request at a time, decided on when it is written, so
 * that only the latest wish counts; again when the server asks to wait, and over again with each connection.
 */
export class Reconciler {
  readonly #line: ReconnectingSocket;
  readonly #next: () => ReconcileRequest | undefined;
  readonly #pause: RetryDelay;
  #busy = false;

  constructor(line: ReconnectingSocket, next: () => ReconcileRequest | undefined) {
    this.#line = line;
    this.#next = next;
    this.#pause = new RetryDelay(line);
  }

  /** To be called whenever there may be something to do. */
  reconcile(): void {
    if (this.#busy || this.#pause.active || !this.#line.open) return;
    const step = this.#next();
    if (!step) return;
    this.#busy = true;
    this.#line.request(JSON.stringify(step.frame), (error, data) => {
      this.#busy = false;
      if (error?.code === 'CONNECTION_LOST') return;
      if (isRetryLater(error)) {
        step.onRetryLater?.();
        this.#pause.schedule(error, () => this.reconcile());
      } else {
        this.stop();
        step.onReply(error, data);
      }
      this.reconcile();
    });
  }

  /** No timer is left. */
  stop(): void {
    this.#pause.reset();
  }
}
