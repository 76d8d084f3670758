import { isRollcallError, type RollcallError } from '../internal/errors.js';
import type { ErrorFrame, ProtocolErrorCode } from '../protocol/frames.js';

/** The same in all copies of the package. */
const BRAND = Symbol.for('rollcall.RequestError');

/** Thrown in `authorize` or a request handler, it answers the client with this code and text. */
export class RequestError extends Error {
  /** The class's name. */
  override readonly name = 'RequestError';

  constructor(
    /** Code for the client to branch on. */
    readonly code: ProtocolErrorCode,
    /** Shown to the client. */
    message: string,
    /** Ms after which the client may try again. */
    readonly retryAfter?: number,
  ) {
    super(message);
    Object.defineProperty(this, BRAND, { value: true });
  }
}

// `instanceof` is also true for an error of another copy of the package (the CommonJS build beside the ES modules).
Object.defineProperty(RequestError, Symbol.hasInstance, {
  value(this: unknown, value: unknown): boolean {
    if (Function.prototype[Symbol.hasInstance].call(this as () => void, value)) return true;
    return this === RequestError && value instanceof Error && BRAND in value;
  },
});

/** In ms, while Redis is unavailable. */
export const UNAVAILABLE_RETRY_AFTER = 1_000;

/**
 * The client receives only `INTERNAL` for an error of the application's code, which is reported: no detail
 * leaks.
 */
export function toErrorFrame(
  error: unknown,
  id: number | undefined,
  report: (error: unknown) => void,
): ErrorFrame {
  const idField = id === undefined ? {} : { id };
  if (error instanceof RequestError) {
    const { code, message, retryAfter } = error;
    return { type: 'error', ...idField, code, message, ...(retryAfter === undefined ? {} : { retryAfter }) };
  }
  if (isRollcallError(error)) {
    switch (error.code) {
      case 'ERR_INVALID_ARGUMENT':
      case 'ERR_SCHEMA':
        return { type: 'error', ...idField, code: 'INVALID', message: error.message };
      case 'ERR_BANNED':
        return { type: 'error', ...idField, code: 'KICKED', message: error.message };
      case 'ERR_LIMIT':
        return { type: 'error', ...idField, code: 'LIMIT', message: error.message };
      case 'ERR_CONNECTION':
      case 'ERR_TIMEOUT':
      case 'ERR_COMMAND':
      case 'ERR_CLOSED':
        if (error.code !== 'ERR_CLOSED') report(error);
        return {
          type: 'error',
          ...idField,
          code: 'UNAVAILABLE',
          message: unavailableMessage(error),
          retryAfter: UNAVAILABLE_RETRY_AFTER,
        };
      case 'ERR_UNSUPPORTED':
        return { type: 'error', ...idField, code: 'INVALID', message: 'this server does not support that' };
    }
  }
  report(error);
  return { type: 'error', ...idField, code: 'INTERNAL', message: 'the server failed' };
}

function unavailableMessage({ outcome }: RollcallError): string {
  return outcome === 'failed'
    ? 'the server cannot do that now'
    : 'the server cannot tell whether that was done';
}
