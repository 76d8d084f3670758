import type { ProtocolErrorCode } from '../protocol/frames.js';

/** Why a call failed. */
export type ClientErrorCode =
  | ProtocolErrorCode
  /** No reply in time. */
  | 'TIMEOUT'
  /** The connection was lost before the reply arrived. */
  | 'CONNECTION_LOST'
  /** The application or the server closed the client, or the room was left. */
  | 'CLOSED'
  /** More than `queue.size` calls are waiting. */
  | 'QUEUE_FULL'
  /** The frame is larger than the server accepts. */
  | 'TOO_LARGE';

/** Details of a {@link ClientError}. */
export interface ClientErrorOptions {
  /** Whether the call may have taken effect. @default 'failed' */
  readonly outcome?: 'failed' | 'unknown' | undefined;
  /** Wait before a retry, in ms. */
  readonly retryAfter?: number | undefined;
  /** The error that led to this one. */
  readonly cause?: unknown;
}

/** The error that calls of the client reject with. A call with an aborted `signal` rejects with the signal's reason. */
export class ClientError extends Error {
  // `declare`: the constructor assigns these, so no initial value is generated.
  /** A literal, because minifiers rename classes. */
  override readonly name = 'ClientError';
  /** Stable, unlike `message`. */
  declare readonly code: ClientErrorCode;
  /** `failed`: the call has no effect. `unknown`: the server may have processed it. */
  declare readonly outcome: 'failed' | 'unknown';
  /** Wait before a retry, in ms, if the server named it. */
  declare readonly retryAfter: number | undefined;

  constructor(code: ClientErrorCode, message: string, options: ClientErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.outcome = options.outcome ?? 'failed';
    this.retryAfter = options.retryAfter;
  }
}

export function isRetryLater(error: ClientError | undefined): error is ClientError {
  return /^(RATE_LIMITED|UNAVAILABLE)$/.test(error?.code ?? '');
}

export function assertValid(valid: unknown, message: string): asserts valid {
  if (!valid) throw new ClientError('INVALID', message);
}

/**
 * A copy as it will be received, in which later changes of `value` do not count.
 *
 * @throws {ClientError} `INVALID` for a value that JSON cannot represent, or would silently replace.
 */
export function copyJson(value: unknown, name: string): unknown {
  let json: string | undefined;
  let cause: unknown;
  try {
    json = JSON.stringify(value);
  } catch (error) {
    cause = error;
  }
  const isReplaced = (json === 'null' && value !== null) || value instanceof Map || value instanceof Set;
  if (json !== undefined && !isReplaced) return JSON.parse(json);
  throw new ClientError('INVALID', `${name}: not JSON`, { cause });
}
