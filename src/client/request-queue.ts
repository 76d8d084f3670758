import { connectionLostError } from './client-connection.js';
import { ClientError, type ClientErrorCode, closedError, isRetryLater } from './client-error.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import { ResettableTimer } from './resettable-timer.js';
import { RetryDelay } from './retry-delay.js';

/** What calls take. */
export interface CallOptions {
  /** For how long, in ms, to wait for the answer. @default the client's `timeout` */
  readonly timeout?: number | undefined;
  /** Stops the waiting; the call rejects with the signal's reason. What is written already stays so. */
  readonly signal?: AbortSignalLike | undefined;
}

/** The part of an `AbortSignal` that is used. */
export interface AbortSignalLike {
  /** It is over. */
  readonly aborted: boolean;
  /** What to reject with. */
  readonly reason: unknown;
  /** Calls `listener` when it is over. */
  addEventListener(type: 'abort', listener: () => void): void;
  /** Calls it no more. */
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** The room that a call has to be in before it can be written. */
export interface JoinGate {
  readonly joined: boolean;
}

interface PendingRequest {
  /** What to write: made anew each time, so that the latest wish counts. */
  body(): string;
  readonly room: JoinGate | undefined;
  /** May be carried out twice without harm. */
  isIdempotent(): boolean;
  /** Waits for its answer on this connection. */
  written?: boolean;
  /** It may have been carried out. */
  maybeProcessed?: boolean;
  /** Why it has not succeeded yet. */
  cause?: ClientError;
  /** Settles it and forgets it. */
  settle(error: unknown, data?: unknown): void;
}

/** For calls that nobody wants to give up. */
export const NO_TIMEOUT: CallOptions = { timeout: Infinity };

/** Calls without an answer, in the order in which they were made: those written, and those that wait. */
export class RequestQueue {
  readonly #line: ReconnectingSocket;
  readonly #calls = new Set<PendingRequest>();
  /** While the server asks to wait. */
  readonly #pause: RetryDelay;

  constructor(line: ReconnectingSocket) {
    this.#line = line;
    this.#pause = new RetryDelay(line);
  }

  /**
   * Makes a call, now or as soon as it can be written; in `place`, where it is given. One that is `repeatable`
   * is written again after a break, the others reject as `unknown` then.
   */
  request(
    frame: object | (() => object),
    { timeout, signal }: CallOptions,
    repeatable: () => boolean,
    place?: JoinGate,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      // Before anything is kept: throws for what is no JSON, and for what was aborted already.
      const text = typeof frame === 'function' ? undefined : JSON.stringify(frame);
      if (signal?.aborted) throw signal.reason;
      const { state, settings } = this.#line;
      if (state === 'closed') throw closedError();
      const alarm = new ResettableTimer(settings.clock);
      const abort = () => call.settle(signal?.reason);
      const call: PendingRequest = {
        body: () => text ?? JSON.stringify((frame as () => object)()),
        room: place,
        isIdempotent: repeatable,
        settle: (error, data) => {
          if (!this.#calls.delete(call)) return;
          alarm.clear();
          signal?.removeEventListener('abort', abort);
          if (error === undefined) resolve(data);
          else reject(error);
        },
      };
      alarm.set(timeout ?? settings.timeout, () => failRequest(call, 'TIMEOUT', 'no answer in time'));
      signal?.addEventListener('abort', abort);
      this.#calls.add(call);
      if (this.#ready(call)) this.#write(call);
      else this.#enforceLimit(call);
    });
  }

  /** Writes what can be written by now. */
  flush(): void {
    for (const call of this.#calls) {
      if (call.written || !this.#ready(call)) continue;
      // The room may have turned out to keep no history any more: nothing is said twice there.
      if (call.maybeProcessed && !call.isIdempotent()) call.settle(connectionLostError());
      else this.#write(call);
    }
  }

  /** The connection broke with `code`; to be called before its replies come. */
  onConnectionLost(code: number): void {
    // What this server asked for is no matter to the next one.
    this.#pause.reset();
    for (const call of this.#calls) {
      if (!call.written) continue;
      call.written = false;
      call.maybeProcessed = true;
      // 1009: one of them was too long, and would be again.
      if (code === 1009) failRequest(call, 'TOO_LARGE', 'too long');
      else if (!call.isIdempotent()) call.settle(connectionLostError());
    }
  }

  /** Rejects all calls, or those of one room. */
  fail({ code, message }: ClientError, place?: JoinGate): void {
    if (!place) this.#pause.reset();
    for (const call of this.#calls) if (!place || call.room === place) failRequest(call, code, message);
  }

  #ready({ room: place }: PendingRequest): boolean {
    return this.#line.open && !this.#pause.active && place?.joined !== false;
  }

  #write(call: PendingRequest): void {
    call.written = true;
    this.#line.request(call.body(), (error, data) => {
      if (error?.code === 'CONNECTION_LOST' || !this.#calls.has(call)) return;
      if (isRetryLater(error) && (call.isIdempotent() || (call.room && error.outcome === 'failed'))) {
        call.written = false;
        call.maybeProcessed ||= error.outcome === 'unknown';
        call.cause = error;
        this.#pause.schedule(error, () => this.flush());
      } else {
        if (!this.#pause.active) this.#pause.reset();
        call.settle(error, data);
      }
    });
  }

  /** Keeps the number of waiting calls within its limit, after `latest` has come. */
  #enforceLimit(latest: PendingRequest): void {
    const { size, dropOldest } = this.#line.settings;
    const waiting = [...this.#calls].filter((call) => !call.written);
    if (waiting.length <= size) return;
    failRequest((dropOldest && waiting[0]) || latest, 'QUEUE_FULL', 'too many wait');
  }
}

function failRequest(call: PendingRequest, code: ClientErrorCode, message: string): void {
  const outcome = call.written || call.maybeProcessed ? 'unknown' : 'failed';
  call.settle(new ClientError(code, message, { outcome, cause: call.cause }));
}
