/**
 * Did a failed call happen or not? `failed`: it did not and will not. `unknown`: Redis may have
 * executed it before the connection or the deadline gave out.
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
  | 'ERR_OVERFLOW'
  | 'ERR_DECODE'
  | 'ERR_SCHEMA'
  | 'ERR_HANDLER';

/**
 * The family of every error rollcall creates. An aborted `signal` is not in it: the call rejects
 * with the signal's own reason, as the platform's functions do.
 */
export abstract class RollcallError extends Error {
  /** The class's name, literally, whatever a bundler does. */
  abstract override readonly name: string;
  /** What to branch on; message texts may change. */
  abstract readonly code: RollcallErrorCode;
  /** Whether the call may have happened all the same. */
  readonly outcome: Outcome = 'failed';
}

/** An argument or option breaks a rule; nothing was sent to Redis. */
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

/** The call's deadline passed. `cause` is the last connection error, where there was one. */
export class TimeoutError extends RollcallError {
  override readonly name = 'TimeoutError';
  readonly code = 'ERR_TIMEOUT';
  override readonly outcome: Outcome;

  constructor(message: string, options?: ErrorOptions & { outcome?: Outcome }) {
    super(message, options);
    this.outcome = options?.outcome ?? 'unknown';
  }
}

/** Redis answered with an error (no permission, out of memory, read-only replica, …). */
export class CommandError extends RollcallError {
  override readonly name = 'CommandError';
  readonly code = 'ERR_COMMAND';
}

/** This client or server cannot do what was asked, e.g. sharded channels on the embedded Redis. */
export class UnsupportedError extends RollcallError {
  override readonly name = 'UnsupportedError';
  readonly code = 'ERR_UNSUPPORTED';
}

/** What is stored in Redis was written under options that contradict this service's. */
export class ConfigurationError extends RollcallError {
  override readonly name = 'ConfigurationError';
  readonly code = 'ERR_CONFIGURATION';
}

/** A configured limit was reached, e.g. sockets per user. */
export class LimitError extends RollcallError {
  override readonly name = 'LimitError';
  readonly code = 'ERR_LIMIT';
}

/** A `messages()` queue with `overflow: 'close'` ran full. */
export class OverflowError extends RollcallError {
  override readonly name = 'OverflowError';
  readonly code = 'ERR_OVERFLOW';
}

/** A payload from Redis is not what the codec writes. Only ever passed to `onError`. */
export class DecodeError extends RollcallError {
  override readonly name = 'DecodeError';
  readonly code = 'ERR_DECODE';
}

/** One thing that a schema finds wrong with a message. */
export interface SchemaIssue {
  /** What is wrong, in the words of the schema's library. */
  readonly message: string;
  /** Where: the keys that lead to the value; empty for the message itself. */
  readonly path: readonly PropertyKey[];
}

/** A message is not what the schema of its channel asks for. */
export class SchemaError extends RollcallError {
  override readonly name = 'SchemaError';
  readonly code = 'ERR_SCHEMA';
  /** What the schema found; empty when the schema itself failed, which is then the `cause`. */
  readonly issues: readonly SchemaIssue[];

  constructor(message: string, issues: readonly SchemaIssue[], options?: ErrorOptions) {
    super(message, options);
    this.issues = issues;
  }
}

/** A handler threw or rejected; `cause` is what it threw. Only ever passed to `onError`. */
export class HandlerError extends RollcallError {
  override readonly name = 'HandlerError';
  readonly code = 'ERR_HANDLER';
}

/** True for every error of the {@link RollcallError} family, also from another copy of the package. */
export function isRollcallError(error: unknown): error is RollcallError {
  return (
    error instanceof RollcallError ||
    (error instanceof Error &&
      'outcome' in error &&
      'code' in error &&
      /^ERR_[A-Z_]+$/.test(String(error.code)))
  );
}
