import type { ProtocolErrorCode } from '../protocol/frames.js';

/** Why a call failed: a code of the protocol's, or one of the client's own. */
export type ClientErrorCode =
  | ProtocolErrorCode
  /** No answer in time. */
  | 'TIMEOUT'
  /** The connection broke before the answer came. */
  | 'CONNECTION_LOST'
  /** The client was closed or ended by the server, or the room was left. */
  | 'CLOSED'
  /** More calls than `queue.size` wait. */
  | 'QUEUE_FULL'
  /** Longer than the server takes. */
  | 'TOO_LARGE';

/** What is known about an error beside its code. */
export interface ClientErrorOptions {
  /** Whether it may have happened all the same. @default 'failed' */
  readonly outcome?: 'failed' | 'unknown' | undefined;
  /** After how many ms it may be tried again. */
  readonly retryAfter?: number | undefined;
  /** What led to it. */
  readonly cause?: unknown;
}

/** What calls of the client reject with. An aborted `signal` rejects with its own reason instead. */
export class ClientError extends Error {
  /** The class's name, literally, whatever a bundler does. */
  override readonly name = 'ClientError';
  /** What to branch on; message texts may change. */
  readonly code: ClientErrorCode;
  /** `failed`: it did not happen and will not. `unknown`: the server may have carried it out. */
  readonly outcome: 'failed' | 'unknown';
  /** After how many ms it may be tried again, where the server said so. */
  readonly retryAfter: number | undefined;

  constructor(code: ClientErrorCode, message: string, options: ClientErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.outcome = options.outcome ?? 'failed';
    this.retryAfter = options.retryAfter;
  }
}

/** The server asks to try again later. */
export function isRetryLater(error: ClientError | undefined): error is ClientError {
  return error?.code === 'RATE_LIMITED' || error?.code === 'UNAVAILABLE';
}

/** The error of whatever can't be done any more. */
export function closedError(): ClientError {
  return new ClientError('CLOSED', 'closed or left');
}
