import { HandlerError, type RollcallError } from './errors.js';

/** The part of rollcall in which an error occurred that no caller awaits. */
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

/** The second argument of `onError`. */
export interface ErrorContext {
  /** The operation that failed. */
  stage: ErrorStage;
  /** The channel of the message or subscription, if there is one. */
  channel?: string;
  /** The pattern, if the subscription is one. */
  pattern?: string;
}

/** Receives every error that no caller awaits. Errors it throws are ignored. */
export type ErrorListener = (error: RollcallError, context: ErrorContext) => void;

/** Reports to `onError`, and keeps errors of `onError` itself out of a client library's read loop. */
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
      // An error of the error listener has no other listener.
    }
  }

  /** Calls a handler and reports what it throws, at once or later. */
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

/** The text of a thrown value of any type. Never throws. */
export function messageOf(thrown: unknown): string {
  try {
    if (!(thrown instanceof Error)) return String(thrown);
    // The AggregateError of failed connection attempts has a code and no message.
    return thrown.message || String((thrown as { code?: unknown }).code ?? thrown.name);
  } catch {
    return 'a value that cannot be converted to text';
  }
}

/** True for promises and other objects with a `then`. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}
