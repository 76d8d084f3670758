import type { ClientFrame } from '../protocol/frames.js';
import { ClientError, type ClientErrorCode, isRetryLater } from './client-error.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import { createTimer } from './timer.js';
import type { CallOptions } from './types.js';

/** The call is written only while this room is joined. */
export interface JoinGate {
  joined(): boolean;
}

interface PendingRequest {
  /** Called again for each repetition, to carry the latest desired value. */
  frame(): ClientFrame;
  readonly room: JoinGate | undefined;
  /** The server may process it twice without a second effect. */
  repeatable(): boolean;
  /** On this connection. */
  written?: boolean;
  /** The server may have processed it. */
  unsure?: boolean;
  /** The latest error that asked for a retry. */
  cause?: ClientError;
  /** Also removes the call from the queue. */
  settle(error: unknown, data?: unknown): void;
}

export const NO_TIMEOUT: CallOptions = { timeout: Infinity };

export type RequestQueue = ReturnType<typeof createRequestQueue>;

/** Calls without a reply, waiting or written, in order. */
export function createRequestQueue(socket: ReconnectingSocket) {
  const { settings } = socket;
  const calls = new Set<PendingRequest>();
  /** Active until the server's `retryAfter` has passed. */
  const retryTimer = createTimer(settings);

  const isReady = ({ room }: PendingRequest): boolean =>
    socket.isOpen() && !retryTimer.isActive() && room?.joined() !== false;

  const write = (call: PendingRequest): void => {
    call.written = true;
    socket.request(call.frame(), (error, data) => {
      if (!calls.has(call)) return;
      if (isRetryLater(error) && (call.repeatable() || (call.room && error.outcome === 'failed'))) {
        call.written = false;
        call.unsure ||= error.outcome === 'unknown';
        call.cause = error;
        retryTimer.retry(flush, error.retryAfter);
      } else {
        if (!retryTimer.isActive()) retryTimer.clear();
        call.settle(error, data);
      }
    });
  };

  const flush = (): void => {
    for (const call of calls) {
      if (call.written || !isReady(call)) continue;
      // The room may have lost its history, which recognizes repetitions.
      if (call.unsure && !call.repeatable()) failLost(call);
      else write(call);
    }
  };

  return {
    flush,
    /**
     * Writes the call once the connection is open and `room` is joined. After a lost connection an idempotent
     * call is repeated; any other rejects as `unknown`.
     */
    request: (
      frame: () => ClientFrame,
      { timeout = settings.timeout, signal }: CallOptions,
      room?: JoinGate,
      repeatable: () => boolean = () => true,
    ): Promise<unknown> =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) throw signal.reason;
        if (socket.state() === 'closed') throw socket.closedError();
        const timer = createTimer(settings);
        const abort = () => call.settle(signal?.reason);
        const call: PendingRequest = {
          frame,
          room,
          repeatable,
          settle(error, data) {
            if (!calls.delete(call)) return;
            timer.clear();
            signal?.removeEventListener('abort', abort);
            if (error === undefined) resolve(data);
            else reject(error);
          },
        };
        timer.set(timeout, () =>
          fail(call, 'TIMEOUT', socket.isOpen() ? 'no reply' : `not connected: ${socket.lastReason()}`),
        );
        signal?.addEventListener('abort', abort);
        calls.add(call);
        if (isReady(call)) return write(call);
        const waiting = [...calls].filter(({ written }) => !written);
        if (waiting.length > settings.size) {
          fail((settings.overflow === 'drop-oldest' && waiting[0]) || call, 'QUEUE_FULL', 'queue full');
        }
      }),
    onLost(code: number): void {
      // The rate limit belongs to the connection.
      retryTimer.clear();
      for (const call of calls) {
        if (!call.written) continue;
        call.written = false;
        call.unsure = true;
        // 1009: a frame was too large, and would be again.
        if (code === 1009) fail(call, 'TOO_LARGE', 'too long');
        else if (!call.repeatable()) failLost(call);
      }
    },
    /** Without `room`: all calls. */
    close({ code, message }: ClientError, room?: JoinGate): void {
      if (!room) retryTimer.clear();
      for (const call of calls) if (!room || call.room === room) fail(call, code, message);
    },
  };
}

function fail(call: PendingRequest, code: ClientErrorCode, message: string): void {
  const outcome = call.written || call.unsure ? 'unknown' : 'failed';
  call.settle(new ClientError(code, message, { outcome, cause: call.cause }));
}

function failLost(call: PendingRequest): void {
  fail(call, 'CONNECTION_LOST', 'connection lost');
}
