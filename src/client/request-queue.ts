import { ClientError, type ClientErrorCode, isRetryLater } from './client-error.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import { createTimer } from './timer.js';
import type { CallOptions } from './types.js';

/** The room that must be joined before the call can be written. */
export interface JoinGate {
  joined(): boolean;
}

interface PendingRequest {
  /** The JSON of the frame, without `id`. Called for each repetition, so that it carries the latest desired value. */
  body(): string;
  readonly room: JoinGate | undefined;
  /** The server may process it twice without a second effect. */
  isIdempotent(): boolean;
  /** Waiting for the reply on this connection. */
  written?: boolean;
  /** The server may have processed it. */
  maybeProcessed?: boolean;
  /** The latest reply that asked to retry later. */
  cause?: ClientError;
  /** Settles the call and removes it from the queue. */
  settle(error: unknown, data?: unknown): void;
}

export const NO_TIMEOUT: CallOptions = { timeout: Infinity };

export type RequestQueue = ReturnType<typeof createRequestQueue>;

/** Calls without a reply, in the order in which they were made: both written and waiting ones. */
export function createRequestQueue(socket: ReconnectingSocket) {
  const { settings } = socket;
  const calls = new Set<PendingRequest>();
  /** Rate-limit back-off: active until the server's `retryAfter` has passed. */
  const retryTimer = createTimer(settings);

  const isReady = ({ room }: PendingRequest): boolean =>
    socket.isOpen() && !retryTimer.isActive() && room?.joined() !== false;

  const write = (call: PendingRequest): void => {
    call.written = true;
    socket.request(call.body(), (error, data) => {
      if (!calls.has(call)) return;
      if (isRetryLater(error) && (call.isIdempotent() || (call.room && error.outcome === 'failed'))) {
        call.written = false;
        call.maybeProcessed ||= error.outcome === 'unknown';
        call.cause = error;
        retryTimer.retry(flush, error.retryAfter);
      } else {
        if (!retryTimer.isActive()) retryTimer.clear();
        call.settle(error, data);
      }
    });
  };

  /** Writes every waiting call that can be written now. */
  const flush = (): void => {
    for (const call of calls) {
      if (call.written || !isReady(call)) continue;
      // The room may have lost its history in the meantime, and with it the recognition of repetitions.
      if (call.maybeProcessed && !call.isIdempotent()) failLost(call);
      else write(call);
    }
  };

  return {
    flush,
    /**
     * Writes a call as soon as the connection is open and `room`, if given, is joined. After a lost connection an
     * idempotent call is written again; any other one rejects as `unknown`.
     */
    request: (
      body: () => string,
      { timeout = settings.timeout, signal }: CallOptions,
      room?: JoinGate,
      isIdempotent: () => boolean = () => true,
    ): Promise<unknown> =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) throw signal.reason;
        if (socket.state() === 'closed') throw socket.closedError();
        const timer = createTimer(settings);
        const abort = () => call.settle(signal?.reason);
        const call: PendingRequest = {
          body,
          room,
          isIdempotent,
          settle(error, data) {
            if (!calls.delete(call)) return;
            timer.clear();
            signal?.removeEventListener('abort', abort);
            if (error === undefined) resolve(data);
            else reject(error);
          },
        };
        timer.set(timeout, () =>
          fail(
            call,
            'TIMEOUT',
            socket.isOpen() ? 'no reply in time' : `not connected: ${socket.lastReason()}`,
          ),
        );
        signal?.addEventListener('abort', abort);
        calls.add(call);
        if (isReady(call)) return write(call);
        const waiting = [...calls].filter(({ written }) => !written);
        if (waiting.length > settings.size) {
          fail((settings.dropOldest && waiting[0]) || call, 'QUEUE_FULL', 'the queue is full');
        }
      }),
    onConnectionLost(code: number): void {
      // The rate limit was one of this connection.
      retryTimer.clear();
      for (const call of calls) {
        if (!call.written) continue;
        call.written = false;
        call.maybeProcessed = true;
        // 1009: one of the frames was too large, and would be again.
        if (code === 1009) fail(call, 'TOO_LARGE', 'too long');
        else if (!call.isIdempotent()) failLost(call);
      }
    },
    /** Rejects all calls, or those of one room. */
    failAll({ code, message }: ClientError, room?: JoinGate): void {
      if (!room) retryTimer.clear();
      for (const call of calls) if (!room || call.room === room) fail(call, code, message);
    },
  };
}

function fail(call: PendingRequest, code: ClientErrorCode, message: string): void {
  const outcome = call.written || call.maybeProcessed ? 'unknown' : 'failed';
  call.settle(new ClientError(code, message, { outcome, cause: call.cause }));
}

function failLost(call: PendingRequest): void {
  fail(call, 'CONNECTION_LOST', 'connection lost');
}
