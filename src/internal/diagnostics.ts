import { runWithoutAsyncContext } from './async-context.js';
import { HandlerError, type RollcallError } from './errors.js';
import { assertFunction } from './validate.js';

/** The part of rollcall in which an error occurred that no caller awaits. */
export type ErrorStage =
  | 'handler'
  | 'decode'
  | 'discontinuity'
  | 'publish'
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

/** A function, `null` to silence errors, or nothing. */
export function assertErrorListener(value: unknown): void {
  if (value !== undefined && value !== null) assertFunction('onError', value);
}

/** Per stage and code, in ms. */
const WARNING_INTERVAL = 60_000;

/** By kind, on the monotonic clock, with the number of omitted warnings. */
const warned = new Map<string, { at: number; omitted: number }>();

/** Once per stage and code in a minute. */
function warn(error: RollcallError, { stage, channel, pattern }: ErrorContext): void {
  const kind = `${stage} ${error.code}`;
  const now = performance.now();
  const last = warned.get(kind);
  if (last !== undefined && now - last.at < WARNING_INTERVAL) {
    last.omitted++;
    return;
  }
  warned.set(kind, { at: now, omitted: 0 });
  const subject = pattern ?? channel;
  const where = subject === undefined ? stage : `${stage}, ${JSON.stringify(subject)}`;
  const omitted =
    last === undefined || last.omitted === 0 ? '' : ` (and ${last.omitted} more since the last warning)`;
  const message = `rollcall [${where}]: ${error.message}${omitted}. Pass onError to receive these errors, or onError: null to silence them.`;
  const { cause } = error;
  const detail = cause instanceof Error && error.code === 'ERR_HANDLER' ? cause.stack : undefined;
  process.emitWarning(message, { type: 'RollcallWarning', code: error.code, ...(detail && { detail }) });
}

/** Keeps errors of `onError` out of a client library's read loop. Warns without a listener. */
export class ErrorReporter {
  readonly #listener: ErrorListener | null | undefined;

  constructor(listener: ErrorListener | null | undefined) {
    this.#listener = listener;
  }

  report(error: RollcallError, context: ErrorContext): void {
    if (this.#listener === null) return;
    try {
      const listener = this.#listener;
      if (listener === undefined) return warn(error, context);
      const result: unknown = runWithoutAsyncContext(() => listener(error, context));
      if (isThenable(result)) result.then(undefined, () => {});
    } catch {
      // An error of the error listener has no other listener.
    }
  }

  /** Also reports a later rejection. */
  runHandler(call: () => unknown, where: Omit<ErrorContext, 'stage'>): void {
    try {
      const result = call();
      if (isThenable(result))
        result.then(undefined, (error: unknown) => this.reportHandlerError(error, where));
    } catch (error) {
      this.reportHandlerError(error, where);
    }
  }

  reportHandlerError(cause: unknown, where: Omit<ErrorContext, 'stage'>): void {
    const subject =
      where.channel === undefined ? 'a handler' : `a handler of channel ${JSON.stringify(where.channel)}`;
    this.report(new HandlerError(`${subject} failed: ${messageOf(cause)}`, { cause }), {
      stage: 'handler',
      ...where,
    });
  }
}

/** Never throws. */
export function messageOf(thrown: unknown): string {
  try {
    if (!(thrown instanceof Error)) return String(thrown);
    // The AggregateError of failed connection attempts has a code but no message.
    return thrown.message || String((thrown as { code?: unknown }).code ?? thrown.name);
  } catch {
    return 'a value that cannot be converted to text';
  }
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}
