import { messageOf } from '../internal/diagnostics.js';
import { CommandError, ConnectionError, isRollcallError, type RollcallError } from '../internal/errors.js';
import type { Reply } from './driver.js';

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

/**
 * The replies of `calls`, an `Error` in the place of each that the server refused; rejects when the
 * connection failed one. By hand, for `catch` and `Promise.all` cost three promises per command.
 */
export function settleReplies(calls: readonly Promise<Reply>[]): Promise<Reply[]> {
  return new Promise((resolve, reject) => {
    const replies = new Array<Reply>(calls.length);
    let open = calls.length;
    if (open === 0) resolve(replies);
    calls.forEach((call, at) => {
      const answered = (reply: Reply): void => {
        replies[at] = reply;
        if (--open === 0) resolve(replies);
      };
      call.then(answered, (error: unknown) => (isServerError(error) ? answered(error) : reject(error)));
    });
  });
}
