import { messageOf } from '../internal/diagnostics.js';
import { CommandError, ConnectionError, isRollcallError, type RollcallError } from '../internal/errors.js';
import type { Reply } from './driver.js';

/**
 * Replies of Redis begin with a code in capitals ("ERR …"); a client's socket errors do not. The clients'
 * error classes cannot be imported here.
 */
const SERVER_ERROR = /^[A-Z]{2,}[A-Z0-9_]*(?: |$)/;

/** Whether the text begins with a code of Redis. */
export function isServerError(error: unknown): error is Error {
  return error instanceof Error && SERVER_ERROR.test(error.message);
}

/** Refusals of Redis become a `CommandError`, other errors a `ConnectionError` with outcome `unknown`. */
export function toRollcallError(cause: unknown): RollcallError {
  if (isRollcallError(cause)) return cause;
  if (isServerError(cause)) return new CommandError(`Redis refused: ${cause.message}`, { cause });
  return new ConnectionError(messageOf(cause), { cause, outcome: 'unknown' });
}

/**
 * Resolves with an `Error` for each refused call; rejects when the connection failed. Without `catch` and
 * `Promise.all`, which cost three promises per command.
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
