import type { ClientFrame } from '../protocol/frames.js';
import { type ClientError, isRetryLater } from './client-error.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import { createTimer } from './timer.js';

export interface ReconcileRequest {
  readonly frame: ClientFrame;
  /** The server has carried it out or, with an error, refused it. */
  onReply(error: ClientError | undefined, data?: unknown): void;
  /** The server fails or asks to retry later, which the reconciler does. */
  onRetryLater?(): void;
}

export type Reconciler = ReturnType<typeof createReconciler>;

/**
 * Brings the server's state to the desired one with one request at a time. Each request is decided when it is written,
 * so that only the latest desired state counts. Requests are repeated while the server fails or asks to retry later.
 */
export function createReconciler(
  socket: ReconnectingSocket,
  nextRequest: () => ReconcileRequest | undefined,
) {
  const retryTimer = createTimer(socket.settings);
  let pending = false;

  /** To be called whenever the desired state may have changed. */
  const reconcile = (): void => {
    if (pending || retryTimer.isActive() || !socket.isOpen()) return;
    const next = nextRequest();
    if (!next) return;
    pending = true;
    socket.request(JSON.stringify(next.frame), (error, data) => {
      pending = false;
      // INTERNAL is a passing failure, for example of the database that `authorize` asks.
      const isInternal = error?.code === 'INTERNAL';
      if (isInternal) socket.report(error);
      if (isInternal || isRetryLater(error)) {
        next.onRetryLater?.();
        retryTimer.retry(reconcile, error.retryAfter);
      } else {
        retryTimer.clear();
        next.onReply(error, data);
      }
      reconcile();
    });
  };

  return {
    reconcile,
    /** To be called when the connection is lost: the request in flight gets no reply, and no timer is left. */
    reset(): void {
      pending = false;
      retryTimer.clear();
    },
  };
}
