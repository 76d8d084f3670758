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

/** Acknowledgement of a failed request. */
export interface ErrorAck {
  /** Why the request failed: a stable code and a text. */
  error: {
    /** For programs. */
    code: ProtocolErrorCode;
    /** For developers. */
    message: string;
  };
}

/** Error messages may contain host names and Redis keys. */
const MESSAGES: ReadonlyMap<ProtocolErrorCode, string> = new Map([
  ['UNAVAILABLE', 'not available now'],
  ['INTERNAL', 'the server failed'],
]);

/** Per socket, queued or in progress. */
const MAX_WAITING = 100;

export class RejectedRequest extends Error {
  constructor(
    readonly code: ProtocolErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** Resolves with the acknowledgement. */
export type RequestAction<S extends SocketLike> = (
  tracked: TrackedSocket<S>,
  payload: unknown,
  options: unknown,
) => Promise<object>;

/** The returned function removes the listeners. */
export function handleRequests<S extends SocketLike>(
  tracked: TrackedSocket<S>,
  actions: ReadonlyMap<string, RequestAction<S>>,
  reporter: ErrorReporter,
): () => void {
  const { socket } = tracked;
  const listeners = [...actions].map(([event, action]) => {
    const listener = (...args: unknown[]): void => {
      const last = args.at(-1);
      // The callback is optional.
      const ack = typeof last === 'function' ? (last as (response: object) => void) : undefined;
      const [payload, options] = ack === undefined ? args : args.slice(0, -1);
      void runRequest(tracked, () => action(tracked, payload, options), reporter).then((response) =>
        reporter.runHandler(() => ack?.(response), {}),
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
    const response: ErrorAck = { error: { code, message: MESSAGES.get(code) ?? messageOf(error) } };
    return response;
  }
}

function toErrorCode(error: unknown): ProtocolErrorCode {
  if (error instanceof RejectedRequest) return error.code;
  if (error instanceof InvalidArgumentError) return 'INVALID';
  if (error instanceof LimitError) return 'LIMIT';
  const isUnavailable =
    error instanceof ConnectionError || error instanceof TimeoutError || error instanceof ClosedError;
  return isUnavailable ? 'UNAVAILABLE' : 'INTERNAL';
}
