/**
 * Whether a failed call took effect. `failed`: it has no effect. `unknown`: Redis may have executed it before
 * the connection broke or the deadline passed.
 */
export type Outcome = 'failed' | 'unknown';

/** The literal codes of all rollcall errors, stable across releases. */
export type RollcallErrorCode =
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_CLOSED'
  | 'ERR_CONNECTION'
  | 'ERR_TIMEOUT'
  | 'ERR_COMMAND'
  | 'ERR_UNSUPPORTED'
  | 'ERR_CONFIGURATION'
  | 'ERR_LIMIT'
  | 'ERR_BANNED'
  | 'ERR_OVERFLOW'
  | 'ERR_DISCONTINUITY'
  | 'ERR_DECODE'
  | 'ERR_SCHEMA'
  | 'ERR_HANDLER';

/**
 * Base class of all rollcall errors. An aborted `signal` is an exception: the call rejects with its reason,
 * like platform functions.
 */
export abstract class RollcallError extends Error {
  /** A literal, so that minified code keeps it. */
  abstract override readonly name: string;
  /** Stable across releases, unlike the message. */
  abstract readonly code: RollcallErrorCode;
  /** Whether the call may have taken effect. */
  readonly outcome: Outcome = 'failed';
}

/** An argument or option is invalid; nothing was sent to Redis. */
export class InvalidArgumentError extends RollcallError {
  override readonly name = 'InvalidArgumentError';
  readonly code = 'ERR_INVALID_ARGUMENT';
  /** The name of the argument or option. */
  readonly argument: string;

  constructor(argument: string, message: string, options?: ErrorOptions) {
    super(`${argument}: ${message}`, options);
    this.argument = argument;
  }
}

/** A symbol of the registry: the same in all copies of the package. */
const CLIENT_DATA = Symbol.for('rollcall.clientData');

/** Marks an error that data of a client has caused, so that its reply may name the fault. Returns the error. */
export function markAsClientFault<E>(error: E): E {
  if (error instanceof InvalidArgumentError) Object.defineProperty(error, CLIENT_DATA, { value: true });
  return error;
}

/** Whether {@link markAsClientFault} has marked the error. */
export function isClientFault(error: unknown): boolean {
  return error instanceof Error && CLIENT_DATA in error;
}

/** The service was closed before or during the call. */
export class ClosedError extends RollcallError {
  override readonly name = 'ClosedError';
  readonly code = 'ERR_CLOSED';
  override readonly outcome: Outcome;

  constructor(message: string, options?: ErrorOptions & { outcome?: Outcome }) {
    super(message, options);
    this.outcome = options?.outcome ?? 'failed';
  }
}

/** Redis cannot be reached, or the connection broke during the call. */
export class ConnectionError extends RollcallError {
  override readonly name = 'ConnectionError';
  readonly code = 'ERR_CONNECTION';
  override readonly outcome: Outcome;

  constructor(message: string, options?: ErrorOptions & { outcome?: Outcome }) {
    super(message, options);
    this.outcome = options?.outcome ?? 'failed';
  }
}

/** The call's deadline passed. `cause` is the last connection error, if there was one. */
export class TimeoutError extends RollcallError {
  override readonly name = 'TimeoutError';
  readonly code = 'ERR_TIMEOUT';
  override readonly outcome: Outcome;

  constructor(message: string, options?: ErrorOptions & { outcome?: Outcome }) {
    super(message, options);
    this.outcome = options?.outcome ?? 'unknown';
  }
}

/** Redis replied with an error (no permission, out of memory, read-only replica, …). */
export class CommandError extends RollcallError {
  override readonly name = 'CommandError';
  readonly code = 'ERR_COMMAND';
}

/** This client or server lacks the feature, e.g. sharded channels on the embedded Redis. */
export class UnsupportedError extends RollcallError {
  override readonly name = 'UnsupportedError';
  readonly code = 'ERR_UNSUPPORTED';
}

/** The options of this service contradict the server, or those with which the data in Redis was written. */
export class ConfigurationError extends RollcallError {
  override readonly name = 'ConfigurationError';
  readonly code = 'ERR_CONFIGURATION';
}

/** A configured limit was reached, e.g. sockets per user. */
export class LimitError extends RollcallError {
  override readonly name = 'LimitError';
  readonly code = 'ERR_LIMIT';
  /**
   * Wait in ms before a retry can succeed: the count may include sockets of a dead process. Undefined when
   * retrying changes nothing.
   */
  readonly retryAfter: number | undefined;

  constructor(message: string, options?: ErrorOptions & { retryAfter?: number | undefined }) {
    super(message, options);
    this.retryAfter = options?.retryAfter;
  }
}

/** The user was put out of the room with a ban that has not ended. The message is the reason. */
export class BannedError extends RollcallError {
  override readonly name = 'BannedError';
  readonly code = 'ERR_BANNED';
}

/** A `messages()` queue with `overflow: 'close'` is full. */
export class OverflowError extends RollcallError {
  override readonly name = 'OverflowError';
  readonly code = 'ERR_OVERFLOW';
}

/** Messages may be missing. Ends an iterator of `rollcall/graphql`, unless its `discontinuities` say otherwise. */
export class DiscontinuityError extends RollcallError {
  override readonly name = 'DiscontinuityError';
  readonly code = 'ERR_DISCONTINUITY';
  /** Why messages may be missing: a `DiscontinuityReason`. */
  readonly reason: string;
  /** The last time at which no message was missing. */
  readonly since: Date;
  /** The channels or patterns whose messages may be missing. */
  readonly channels: readonly string[];

  constructor(
    { reason, since }: { readonly reason: string; readonly since: Date },
    channels: readonly string[],
    options?: ErrorOptions,
  ) {
    const names = channels.map((channel) => JSON.stringify(channel)).join(', ');
    super(`messages on ${names} since ${since.toISOString()} may be missing: ${reason}`, options);
    this.reason = reason;
    this.since = since;
    this.channels = channels;
  }
}

/** A payload from Redis cannot be decoded by the codec. Only passed to `onError`. */
export class DecodeError extends RollcallError {
  override readonly name = 'DecodeError';
  readonly code = 'ERR_DECODE';
}

/** One problem that a schema finds in a message. */
export interface SchemaIssue {
  /** The text of the schema library. */
  readonly message: string;
  /** The keys that lead to the value; empty for the message itself. */
  readonly path: readonly PropertyKey[];
}

/** A message does not match its channel's schema. */
export class SchemaError extends RollcallError {
  override readonly name = 'SchemaError';
  readonly code = 'ERR_SCHEMA';
  /** The problems found; empty when the schema itself threw, which is then the `cause`. */
  readonly issues: readonly SchemaIssue[];

  constructor(message: string, issues: readonly SchemaIssue[], options?: ErrorOptions) {
    super(message, options);
    this.issues = issues;
  }
}

/** A handler threw or rejected; `cause` is what it threw. Only passed to `onError`. */
export class HandlerError extends RollcallError {
  override readonly name = 'HandlerError';
  readonly code = 'ERR_HANDLER';
}

/** Literal names, which a minifier does not change. */
const names = new Map<unknown, string>([
  [InvalidArgumentError, 'InvalidArgumentError'],
  [ClosedError, 'ClosedError'],
  [ConnectionError, 'ConnectionError'],
  [TimeoutError, 'TimeoutError'],
  [CommandError, 'CommandError'],
  [UnsupportedError, 'UnsupportedError'],
  [ConfigurationError, 'ConfigurationError'],
  [LimitError, 'LimitError'],
  [BannedError, 'BannedError'],
  [OverflowError, 'OverflowError'],
  [DiscontinuityError, 'DiscontinuityError'],
  [DecodeError, 'DecodeError'],
  [SchemaError, 'SchemaError'],
  [HandlerError, 'HandlerError'],
]);

// `instanceof` compares literal names, to be true also for another copy of the package (the CommonJS build
// beside the ES modules).
Object.defineProperty(RollcallError, Symbol.hasInstance, {
  value(this: unknown, value: unknown): boolean {
    if (Function.prototype[Symbol.hasInstance].call(this as () => void, value)) return true;
    return hasErrorShape(value) && (this === RollcallError || names.get(this) === value.name);
  },
});

function hasErrorShape(error: unknown): error is RollcallError {
  return (
    error instanceof Error &&
    'outcome' in error &&
    'code' in error &&
    /^ERR_[A-Z_]+$/.test(String(error.code))
  );
}

/** True for every {@link RollcallError}, also of another copy of the package. */
export function isRollcallError(error: unknown): error is RollcallError {
  return error instanceof RollcallError;
}
