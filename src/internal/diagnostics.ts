import { HandlerError, type RollcallError } from './errors.js';

/** Where in rollcall something went wrong that no caller was waiting for. */
export type ErrorStage =
  | 'handler'
  | 'decode'
  | 'subscribe'
  | 'unsubscribe'
  | 'recovery'
  | 'probe'
  | 'renew'
  | 'sweep'
  | 'restore'
  | 'repair'
  | 'watch'
  | 'peer'
  | 'configuration'
  | 'close';

/** What `onError` is told beside the error. */
export interface ErrorContext {
  /** What was being done. */
  stage: ErrorStage;
  /** The channel of the message or subscription, where there is one. */
  channel?: string;
  /** The pattern, where the subscription is one. */
  pattern?: string;
}

/** Receives every failure that has no caller to go to. Whatever it throws is ignored. */
export type ErrorListener = (error: RollcallError, context: ErrorContext) => void;

/** Reports to `onError`, whose own failures must not reach a client library's read loop. */
export class ErrorReporter {
  readonly #listener: ErrorListener | undefined;

  constructor(listener: ErrorListener | undefined) {
    this.#listener = listener;
  }

  /** Hands `error` to the listener. */
  report(error: RollcallError, context: ErrorContext): void {
    try {
      const result: unknown = this.#listener?.(error, context);
      if (isThenable(result)) result.then(undefined, () => {});
    } catch {
      // There is nobody left to tell.
    }
  }

  /** Calls a handler whose failure, at once or later, is nobody else's business. */
  runHandler(call: () => unknown, where: Omit<ErrorContext, 'stage'>): void {
    try {
      const result = call();
      if (isThenable(result))
        result.then(undefined, (error: unknown) => this.reportHandlerError(error, where));
    } catch (error) {
      this.reportHandlerError(error, where);
    }
  }

  /** Reports what a handler threw or rejected with. */
  reportHandlerError(cause: unknown, where: Omit<ErrorContext, 'stage'>): void {
    const subject =
      where.channel === undefined ? 'a handler' : `a handler of channel ${JSON.stringify(where.channel)}`;
    this.report(new HandlerError(`${subject} failed: ${messageOf(cause)}`, { cause }), {
      stage: 'handler',
      ...where,
    });
  }
}

/** The text of whatever was thrown; never throws, whatever it is. */
export function messageOf(thrown: unknown): string {
  try {
    if (!(thrown instanceof Error)) return String(thrown);
    // An AggregateError of failed connections has a code and no message.
    return thrown.message || String((thrown as { code?: unknown }).code ?? thrown.name);
  } catch {
    return 'something without a text form';
  }
}

/** True for promises and whatever else has a `then`. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}
