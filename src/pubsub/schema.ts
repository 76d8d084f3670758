import { isThenable, messageOf } from '../internal/diagnostics.js';
import { InvalidArgumentError, SchemaError, type SchemaIssue } from '../internal/errors.js';

/**
 * A validator of the Standard Schema kind, version 1 (https://standardschema.dev): zod, valibot,
 * arktype and others make them. Only what rollcall uses is typed here.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  /** What the standard says; all else belongs to the library. */
  readonly '~standard': {
    /** The version of the standard. */
    readonly version: 1;
    /** The name of the library. */
    readonly vendor: string;
    /** Checks a value, at once or later. */
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    /** Never set: carries the types. */
    readonly types?:
      | {
          /** What the schema takes. */
          readonly input: Input;
          /** What it makes of that. */
          readonly output: Output;
        }
      | undefined;
  };
}

/** What a {@link StandardSchema} says about a value: the value as it is to be used, or what is wrong. */
export type StandardResult<Output> =
  | {
      /** The value as it is to be used. */
      readonly value: Output;
      /** None. */
      readonly issues?: undefined;
    }
  | {
      /** What is wrong. */
      readonly issues: readonly StandardIssue[];
    };

/** One thing that is wrong with a value. */
export interface StandardIssue {
  /** What is wrong. */
  readonly message: string;
  /** Where: keys, or objects that hold one. */
  readonly path?: readonly (PropertyKey | StandardPathSegment)[] | undefined;
}

/** One step on the way to a value. */
export interface StandardPathSegment {
  /** The key. */
  readonly key: PropertyKey;
}

/** What `Schema` takes. */
export type InferInput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['input'];

/** What `Schema` makes of it. */
export type InferOutput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['output'];

/** Throws {@link InvalidArgumentError} unless `value` is a Standard Schema of version 1. */
export function assertSchema(argument: string, value: unknown): asserts value is StandardSchema {
  // Some libraries' schemas are functions.
  const held = (typeof value === 'object' && value !== null) || typeof value === 'function';
  const standard = held ? (value as Partial<StandardSchema>)['~standard'] : undefined;
  if (standard?.version !== 1 || typeof standard.validate !== 'function') {
    throw new InvalidArgumentError(argument, 'must be a Standard Schema of version 1');
  }
}

/**
 * What `schema` makes of `value`: a promise only if its validator is asynchronous.
 *
 * @throws {@link SchemaError} when the value does not match, or when the validator itself fails; the
 * promise rejects with it.
 */
export function validate<Output>(
  schema: StandardSchema<unknown, Output>,
  value: unknown,
): Output | Promise<Output> {
  try {
    const result = schema['~standard'].validate(value);
    // Whatever has a `then` counts: some libraries bring promises of their own.
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

/** Validators must not throw, but those written by hand do. */
function toSchemaError(cause: unknown): SchemaError {
  if (cause instanceof SchemaError) return cause;
  return new SchemaError(`the schema failed: ${messageOf(cause)}`, [], { cause });
}
