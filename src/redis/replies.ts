import { messageOf } from '../internal/diagnostics.js';
import { CommandError, ConnectionError, isRollcallError, type RollcallError } from '../internal/errors.js';
import type { Reply } from './driver.js';

/**
 * Error replies of Redis begin with a code in capitals ("ERR …", "OOM …", "NOPERM …"); socket errors of a
 * client do not. The text is tested because the clients' error classes cannot be imported here.
 */
const SERVER_ERROR = /^[A-Z]{2,}[A-Z0-9_]*(?: |$)/;

/** True for an error reply of the server. */
export function isServerError(error: unknown): error is Error {
  return error instanceof Error && SERVER_ERROR.test(error.message);
}

/** Converts what a client rejected with to a rollcall error. */
export function toRollcallError(cause: unknown): RollcallError {
  if (isRollcallError(cause)) return cause;
  if (isServerError(cause)) return new CommandError(`Redis refused: ${cause.message}`, { cause });
  return new ConnectionError(messageOf(cause), { cause, outcome: 'unknown' });
}

/**
 * Resolves with the replies of `calls`, with an `Error` for each that the server refused; rejects when the
 * connection failed. Written by hand because `catch` and `Promise.all` cost three promises per command.
 */
export function settleReplies(calls: readonly Promise<Reply>[]): Promise<Reply[]> {
  return new Promise((resolve, reject) => {
    const replies = new Array<Reply>(calls.length);
    let open = calls.length;
    if (open === 0) resolve(replies);
    calls.forEach((call, at) => {
      const settle = (reply: Reply): void => {
        replies[at] = reply;
        if (--open === 0) resolve(replies);
      };
      call.then(settle, (error: unknown) => (isServerError(error) ? settle(error) : reject(error)));
    });
  });
}
