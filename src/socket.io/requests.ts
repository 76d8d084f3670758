import { type ErrorReporter, messageOf } from '../internal/diagnostics.js';
import {
  ClosedError,
  ConnectionError,
  InvalidArgumentError,
  LimitError,
  TimeoutError,
} from '../internal/errors.js';
import type { ProtocolErrorCode } from '../protocol/frames.js';
import type { SocketLike } from './socket-io-types.js';
import type { TrackedSocket } from './tracked-socket.js';

/** What a request that failed is answered with. */
export interface ErrorAck {
  /** Why. */
  error: {
    /** What to branch on. */
    code: ProtocolErrorCode;
    /** For developers. */
    message: string;
  };
}

/** What is said instead of messages that may name hosts and keys. */
const MESSAGES: ReadonlyMap<ProtocolErrorCode, string> = new Map([
  ['UNAVAILABLE', 'not available at the moment'],
  ['INTERNAL', 'the server failed'],
]);

/** How many requests of one socket may wait. */
const MAX_WAITING = 100;

/** A refusal that says itself what it is. */
export class RejectedRequest extends Error {
  constructor(
    readonly code: ProtocolErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** What an event of a client asks for; resolves with the answer. */
export type RequestAction<S extends SocketLike> = (
  tracked: TrackedSocket<S>,
  payload: unknown,
) => Promise<object>;

/** Answers the events in `actions` when they come; the returned function stops that. */
export function handleRequests<S extends SocketLike>(
  tracked: TrackedSocket<S>,
  actions: ReadonlyMap<string, RequestAction<S>>,
  reporter: ErrorReporter,
): () => void {
  const { socket } = tracked;
  const listeners = [...actions].map(([event, action]) => {
    const listener = (...args: unknown[]): void => {
      const last = args.at(-1);
      // Whoever wants no answer gives no function, and need not have one.
      const ack = typeof last === 'function' ? (last as (answer: object) => void) : undefined;
      const payload = args[0] === ack ? undefined : args[0];
      void runRequest(tracked, () => action(tracked, payload), reporter).then((answer) =>
        reporter.runHandler(() => ack?.(answer), {}),
      );
    };
    socket.on(event, listener);
    return [event, listener] as const;
  });
  return () => {
    for (const [event, listener] of listeners) socket.off(event, listener);
  };
}

async function runRequest<S extends SocketLike>(
  tracked: TrackedSocket<S>,
  action: () => Promise<object>,
  reporter: ErrorReporter,
): Promise<object> {
  try {
    if (tracked.waiting >= MAX_WAITING)
      throw new RejectedRequest('RATE_LIMITED', 'too many requests at once');
    return await tracked.runExclusive(action);
  } catch (error) {
    const code = toErrorCode(error);
    if (code === 'INTERNAL') reporter.reportHandlerError(error, {});
    const answer: ErrorAck = { error: { code, message: MESSAGES.get(code) ?? messageOf(error) } };
    return answer;
  }
}

function toErrorCode(error: unknown): ProtocolErrorCode {
  if (error instanceof RejectedRequest) return error.code;
  if (error instanceof InvalidArgumentError) return 'INVALID';
  if (error instanceof LimitError) return 'LIMIT';
  const away =
    error instanceof ConnectionError || error instanceof TimeoutError || error instanceof ClosedError;
  return away ? 'UNAVAILABLE' : 'INTERNAL';
}
