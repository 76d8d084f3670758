import { isThenable, messageOf } from '../internal/diagnostics.js';
import { InvalidArgumentError, SchemaError, type SchemaIssue } from '../internal/errors.js';

/**
 * A validator that implements Standard Schema, version 1 (https://standardschema.dev), as zod, valibot and
 * arktype do. Only the used parts are typed.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  /** The members the standard defines. */
  readonly '~standard': {
    /** The version of the standard. */
    readonly version: 1;
    /** The name of the library. */
    readonly vendor: string;
    /** Validates a value, synchronously or asynchronously. */
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    /** Never set at run time: carries the types. */
    readonly types?:
      | {
          /** Type of the value to validate. */
          readonly input: Input;
          /** Type of the validated value. */
          readonly output: Output;
        }
      | undefined;
  };
}

/** The validated value, or the issues found in it. */
export type StandardResult<Output> =
  | {
      /** The validated value. */
      readonly value: Output;
      /** Not set: the value is valid. */
      readonly issues?: undefined;
    }
  | {
      /** At least one issue. */
      readonly issues: readonly StandardIssue[];
    };

/** One issue found in a value. */
export interface StandardIssue {
  /** Text for developers. */
  readonly message: string;
  /** Path to the part of the value at fault: keys, or objects that hold one. */
  readonly path?: readonly (PropertyKey | StandardPathSegment)[] | undefined;
}

/** One segment of an issue's path. */
export interface StandardPathSegment {
  /** The key. */
  readonly key: PropertyKey;
}

/** Type of the values that `Schema` validates. */
export type InferInput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['input'];

/** Type of the values that `Schema` returns. */
export type InferOutput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['output'];

/** @throws {@link InvalidArgumentError} unless `value` is a Standard Schema, version 1. */
export function assertSchema(argument: string, value: unknown): asserts value is StandardSchema {
  // The schemas of some libraries are functions.
  const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function';
  const standard = isObject ? (value as Partial<StandardSchema>)['~standard'] : undefined;
  if (standard?.version !== 1 || typeof standard.validate !== 'function') {
    throw new InvalidArgumentError(argument, 'must be a Standard Schema of version 1');
  }
}

/**
 * Returns the schema's output; a promise only if its validator is asynchronous. @throws {@link SchemaError}
 * if the value does not match or the validator fails; a promise rejects with it.
 */
export function validate<Output>(
  schema: StandardSchema<unknown, Output>,
  value: unknown,
): Output | Promise<Output> {
  try {
    const result = schema['~standard'].validate(value);
    // Anything with a `then`, because some libraries have their own promises.
    return isThenable(result)
      ? validateAsync(result as Promise<StandardResult<Output>>)
      : unwrapResult(result);
  } catch (cause) {
    throw toSchemaError(cause);
  }
}

async function validateAsync<Output>(result: Promise<StandardResult<Output>>): Promise<Output> {
  try {
    return unwrapResult(await result);
  } catch (cause) {
    throw toSchemaError(cause);
  }
}

function unwrapResult<Output>(result: StandardResult<Output>): Output {
  if (!result.issues) return result.value;
  const issues = result.issues.map(toSchemaIssue);
  throw new SchemaError(
    `the message does not match the schema: ${issues.map(formatIssue).join('; ')}`,
    issues,
  );
}

function toSchemaIssue({ message, path = [] }: StandardIssue): SchemaIssue {
  const keys = path.map((step) => (typeof step === 'object' ? step.key : step));
  return Object.freeze({ message, path: Object.freeze(keys) });
}

function formatIssue({ message, path }: SchemaIssue): string {
  return path.length === 0 ? message : `${path.map(String).join('.')}: ${message}`;
}

/** The standard forbids validators to throw, but hand-written ones do. */
function toSchemaError(cause: unknown): SchemaError {
  if (cause instanceof SchemaError) return cause;
  return new SchemaError(`the schema failed: ${messageOf(cause)}`, [], { cause });
}
