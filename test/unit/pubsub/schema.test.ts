import * as valibot from 'valibot';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { InvalidArgumentError, SchemaError } from '../../../src/internal/errors.js';
import {
  assertSchema,
  type StandardResult,
  type StandardSchema,
  validate,
} from '../../../src/pubsub/schema.js';

function schemaOf<Output>(
  check: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>,
): StandardSchema<unknown, Output> {
  return { '~standard': { version: 1, vendor: 'test', validate: check } };
}

/** The SchemaError that `act` throws. */
function thrown(act: () => unknown): SchemaError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(SchemaError);
    return error as SchemaError;
  }
  throw new Error('nothing was thrown');
}

describe('validate', () => {
  test('the output of the schema is returned', () => {
    const doubled = schemaOf((value) => ({ value: Number(value) * 2 }));
    expect(validate(doubled, 2)).toBe(4);
    expect(
      validate(
        schemaOf(() => ({ value: undefined })),
        2,
      ),
    ).toBeUndefined();
  });

  test('issues become a SchemaError that lists them', () => {
    const error = thrown(() =>
      validate(
        schemaOf(() => ({
          issues: [
            { message: 'is odd' },
            { message: 'is short', path: ['a', { key: 0 }, Symbol.iterator] },
            { message: 'is long', path: undefined },
          ],
        })),
        1,
      ),
    );
    expect(error).toMatchObject({ name: 'SchemaError', code: 'ERR_SCHEMA', outcome: 'failed' });
    expect(error.issues).toEqual([
      { message: 'is odd', path: [] },
      { message: 'is short', path: ['a', 0, Symbol.iterator] },
      { message: 'is long', path: [] },
    ]);
    expect(error.message).toBe(
      'the message does not match the schema: is odd; a.0.Symbol(Symbol.iterator): is short; is long',
    );
    expect(Object.isFrozen(error.issues[0])).toBe(true);
  });

  test('only an asynchronous validator makes a promise', async () => {
    const later = validate(
      schemaOf(async (value) => ({ value })),
      1,
    );
    expect(later).toBeInstanceOf(Promise);
    expect(await later).toBe(1);
    await expect(
      validate(
        schemaOf(async () => ({ issues: [{ message: 'no' }] })),
        1,
      ),
    ).rejects.toMatchObject({ name: 'SchemaError', issues: [{ message: 'no', path: [] }] });
  });

  test('a validator that throws, rejects or returns an invalid result becomes a SchemaError', async () => {
    const cause = new Error('mine');
    const throwing = schemaOf(() => {
      throw cause;
    });
    expect(thrown(() => validate(throwing, 1))).toMatchObject({
      cause,
      issues: [],
      message: 'the schema failed: mine',
    });
    await expect(
      validate(
        schemaOf(() => Promise.reject(cause)),
        1,
      ),
    ).rejects.toMatchObject({ name: 'SchemaError', cause });
    for (const nonsense of [
      undefined,
      null,
      { issues: [null] },
      { issues: [{ message: 'm', path: [null] }] },
    ]) {
      expect(
        thrown(() =>
          validate(
            schemaOf(() => nonsense as never),
            1,
          ),
        ).issues,
      ).toEqual([]);
      await expect(
        validate(
          schemaOf(async () => nonsense as never),
          1,
        ),
      ).rejects.toBeInstanceOf(SchemaError);
    }
  });
});

describe('assertSchema', () => {
  test('accepts objects and functions', () => {
    const schema = schemaOf((value) => ({ value }));
    assertSchema('schema', schema);
    assertSchema(
      'schema',
      Object.assign(() => {}, schema),
    );
  });

  test.each([
    undefined,
    null,
    'string',
    () => {},
    {},
    { '~standard': null },
    { '~standard': { version: 1 } },
    { '~standard': { version: 2, validate: () => {} } },
  ])('a value that is not a schema is rejected (%#)', (value) => {
    expect(() => assertSchema('schema', value)).toThrow(InvalidArgumentError);
    expect(() => assertSchema('schema', value)).toThrow(/^schema: must be a Standard Schema/);
  });
});

// The same schema in three libraries: `at` becomes a number, `tags` has a default.
const zodSchema = z.object({ at: z.string().transform(Number), tags: z.array(z.string()).default([]) });
const valibotSchema = valibot.object({
  at: valibot.pipe(valibot.string(), valibot.transform(Number)),
  tags: valibot.optional(valibot.array(valibot.string()), []),
});

describe.each([
  ['zod', zodSchema],
  ['valibot', valibotSchema],
] as const)('%s', (vendor, schema) => {
  test('the schema is a Standard Schema', () => {
    assertSchema('schema', schema);
    expect(schema['~standard'].vendor).toBe(vendor);
  });

  test('the schema transforms values and applies defaults', () => {
    expect(validate(schema, { at: '5' })).toEqual({ at: 5, tags: [] });
  });

  test('reports what is wrong, and where', () => {
    const { issues, message } = thrown(() => validate(schema, { at: '5', tags: ['a', 1] }));
    expect(issues).toEqual([{ message: expect.any(String), path: ['tags', 1] }]);
    expect(message).toContain('tags.1: ');
    expect(thrown(() => validate(schema, 'text')).issues).toMatchObject([{ path: [] }]);
  });
});

test.each([
  ['zod', z.string().refine(async (text) => text !== 'bad', 'is bad')],
  [
    'valibot',
    valibot.pipeAsync(
      valibot.string(),
      valibot.checkAsync(async (text) => text !== 'bad', 'is bad'),
    ),
  ],
] as const)('%s, asynchronous', async (_, schema) => {
  expect(await validate(schema, 'good')).toBe('good');
  await expect(validate(schema, 'bad')).rejects.toMatchObject({ issues: [{ message: 'is bad', path: [] }] });
});
