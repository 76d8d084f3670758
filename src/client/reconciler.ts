import type { ClientFrame } from '../protocol/frames.js';
import { type ClientError, isRetryLater } from './client-error.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import { createTimer } from './timer.js';

export interface ReconcileRequest {
  readonly frame: ClientFrame;
  /** The server has processed or, with an error, refused it. */
  onReply(error: ClientError | undefined, data?: unknown): void;
  /** The reconciler repeats the request. */
  onRetry?(): void;
}

export type Reconciler = ReturnType<typeof createReconciler>;

/**
 * Brings the server's state to the desired one, with one request at a time. A request is created when it is
 * written, so that only the latest desired state counts.
 */
export function createReconciler(
  socket: ReconnectingSocket,
  nextRequest: () => ReconcileRequest | undefined,
) {
  const retryTimer = createTimer(socket.settings);
  let pending = false;

  /** Call it whenever the desired state may have changed. */
  const reconcile = (): void => {
    if (pending || retryTimer.isActive() || !socket.isOpen()) return;
    const next = nextRequest();
    if (!next) return;
    pending = true;
    socket.request(next.frame, (error, data) => {
      pending = false;
      // INTERNAL is temporary: a failure of the database behind `authorize`, for example.
      const isInternal = error?.code === 'INTERNAL';
      if (isInternal) socket.report(error);
      if (isInternal || isRetryLater(error)) {
        next.onRetry?.();
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
    /** The connection is lost: the request in flight gets no reply. */
    clear(): void {
      pending = false;
      retryTimer.clear();
    },
  };
}
