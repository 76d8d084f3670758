import { isRollcallError, type RollcallError } from '../internal/errors.js';
import type { ErrorFrame, ProtocolErrorCode } from '../protocol/frames.js';

/** Throw it in `authorize` or a request's handler to answer a client with a code and text of yours. */
export class RequestError extends Error {
  /** The class's name. */
  override readonly name = 'RequestError';

  constructor(
    /** What the client is to branch on. */
    readonly code: ProtocolErrorCode,
    /** Shown to the client. */
    message: string,
    /** After how many ms it may try again. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

/** For how long a client is to wait when Redis is away, in ms. */
const UNAVAILABLE_RETRY_AFTER = 1_000;

/**
 * The frame that tells a client of `error`. What the server's own code threw is none of its business:
 * then only that it failed is told, and `report` gets the error.
 */
export function toErrorFrame(
  error: unknown,
  id: number | undefined,
  report: (error: unknown) => void,
): ErrorFrame {
  const about = id === undefined ? {} : { id };
  if (error instanceof RequestError) {
    const { code, message, retryAfter } = error;
    return { type: 'error', ...about, code, message, ...(retryAfter === undefined ? {} : { retryAfter }) };
  }
  if (isRollcallError(error)) {
    switch (error.code) {
      case 'ERR_INVALID_ARGUMENT':
      case 'ERR_SCHEMA':
        return { type: 'error', ...about, code: 'INVALID', message: error.message };
      case 'ERR_LIMIT':
        return { type: 'error', ...about, code: 'LIMIT', message: error.message };
      case 'ERR_CONNECTION':
      case 'ERR_TIMEOUT':
      case 'ERR_COMMAND':
      case 'ERR_CLOSED':
        if (error.code !== 'ERR_CLOSED') report(error);
        return {
          type: 'error',
          ...about,
          code: 'UNAVAILABLE',
          message: unavailableMessage(error),
          retryAfter: UNAVAILABLE_RETRY_AFTER,
        };
      case 'ERR_UNSUPPORTED':
        return { type: 'error', ...about, code: 'INVALID', message: 'this server does not offer that' };
    }
  }
  report(error);
  return { type: 'error', ...about, code: 'INTERNAL', message: 'the server failed' };
}

function unavailableMessage({ outcome }: RollcallError): string {
  return outcome === 'failed'
    ? 'the server cannot do that now'
    : 'the server cannot tell whether that was done';
}
