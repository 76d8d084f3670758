import { messageOf } from '../diagnostics.js';
import { CommandError, ConnectionError, isRollcallError, type RollcallError } from '../errors.js';

/**
 * Redis's own errors begin with a code in capitals ("ERR …", "OOM …", "NOPERM …"); what a client
 * reports of its socket does not. The clients' error classes cannot be imported to tell.
 */
const SERVER_ERROR = /^[A-Z]{2,}[A-Z0-9_]*(?: |$)/;

/** True for an error that the server answered. */
export function isServerError(error: unknown): error is Error {
  return error instanceof Error && SERVER_ERROR.test(error.message);
}

/** The rollcall error for whatever a client rejected with. */
export function toRollcallError(cause: unknown): RollcallError {
  if (isRollcallError(cause)) return cause;
  if (isServerError(cause)) return new CommandError(`Redis refused: ${cause.message}`, { cause });
  return new ConnectionError(messageOf(cause), { cause, outcome: 'unknown' });
}
