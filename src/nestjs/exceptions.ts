import type { ProtocolErrorCode } from '../protocol/frames.js';
import { RequestError } from '../server/request-error.js';

const CODES: Readonly<Record<ProtocolErrorCode, true>> = {
  INVALID: true,
  FORBIDDEN: true,
  NOT_JOINED: true,
  REMOVED: true,
  KICKED: true,
  UNKNOWN_METHOD: true,
  LIMIT: true,
  RATE_LIMITED: true,
  UNAVAILABLE: true,
  INTERNAL: true,
};

/** The messages of Nest's own exceptions. */
const FORBIDDEN = 'Forbidden resource';
const UNKNOWN = 'Internal server error';

/** @param payload what Nest would send as event `exception`, or the content of a `WsException` */
export function toRequestError(payload: unknown): RequestError {
  const given = (typeof payload === 'object' && payload !== null ? payload : { message: payload }) as {
    code?: unknown;
    message?: unknown;
  };
  const message =
    typeof given.message === 'string' ? given.message : JSON.stringify(given.message ?? payload);
  // Nest has logged the error.
  if (message === UNKNOWN) return new RequestError('INTERNAL', 'the server failed');
  if (typeof given.code === 'string' && Object.hasOwn(CODES, given.code)) {
    return new RequestError(given.code as ProtocolErrorCode, message);
  }
  return new RequestError(message === FORBIDDEN ? 'FORBIDDEN' : 'INVALID', message);
}
