import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../../src/internal/errors.js';
import {
  assertFunction,
  assertName,
  assertOptions,
  assertSignal,
  choiceOption,
  MAX_NAME_BYTES,
  numberOption,
  prefixOption,
} from '../../../src/internal/validate.js';
import { assertStatus } from '../../../src/presence/validate.js';
import { fc } from '../../support/property.js';

/** The argument named by the error of `act`, or undefined without an error. */
function rejectedArgument(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return (error as InvalidArgumentError).argument;
  }
}

const strange = [undefined, null, 0, 1n, true, Symbol('s'), {}, [], () => {}, Number.NaN];

describe('assertName', () => {
  test.each(['x', '__proto__', 'constructor', 'a{b}c', 'a b', 'a\nb', '\0', '😀', ' ', '*?[]^-\\'])(
    'accepts %j',
    (name) => {
      expect(rejectedArgument(() => assertName('channel', name))).toBeUndefined();
    },
  );

  test.each(strange)('assertName rejects values other than strings (%#)', (value) => {
    expect(rejectedArgument(() => assertName('channel', value))).toBe('channel');
  });

  test('assertName rejects the empty string and String objects', () => {
    expect(rejectedArgument(() => assertName('channel', ''))).toBe('channel');
    expect(rejectedArgument(() => assertName('channel', new String('x')))).toBe('channel');
  });

  test('assertName counts bytes of UTF-8, not characters', () => {
    for (const [unit, bytes] of [
      ['a', 1],
      ['é', 2],
      ['€', 3],
      ['😀', 4],
    ] as const) {
      const fits = unit.repeat(Math.floor(MAX_NAME_BYTES / bytes));
      expect(rejectedArgument(() => assertName('id', fits))).toBeUndefined();
      expect(rejectedArgument(() => assertName('id', fits + unit))).toBe('id');
    }
    expect(() => assertName('id', 'a'.repeat(600))).toThrow('at most 512 bytes long, not 600');
  });

  test('assertName rejects lone surrogates, and only those', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }), fc.nat(19), (text, at) => {
        expect(rejectedArgument(() => assertName('id', text))).toBeUndefined();
        for (const lone of ['\ud800', '\udfff']) {
          const points = [...text];
          const broken = [...points.slice(0, at), lone, 'x', ...points.slice(at)].join('');
          if (Buffer.from(broken).toString() === broken) continue;
          expect(rejectedArgument(() => assertName('id', broken))).toBe('id');
        }
      }),
    );
  });

  test('a long value is not repeated in full', () => {
    try {
      assertName('id', { toString: () => 'x'.repeat(1_000) });
    } catch (error) {
      expect((error as Error).message.length).toBeLessThan(200);
    }
    expect.assertions(1);
  });
});

test('assertFunction and assertOptions', () => {
  expect(rejectedArgument(() => assertFunction('handler', () => {}))).toBeUndefined();
  expect(rejectedArgument(() => assertFunction('handler', class {}))).toBeUndefined();
  expect(rejectedArgument(() => assertOptions('options', undefined))).toBeUndefined();
  expect(rejectedArgument(() => assertOptions('options', {}))).toBeUndefined();
  for (const value of [null, 'text', 1, true, Symbol('s')]) {
    expect(rejectedArgument(() => assertFunction('handler', value))).toBe('handler');
    expect(rejectedArgument(() => assertOptions('options', value))).toBe('options');
  }
});

describe('numberOption', () => {
  test('undefined gives the fallback, which is not checked', () => {
    expect(numberOption('n', undefined, -1, { min: 0 })).toBe(-1);
  });

  test.each([1, 1.5, 10])('accepts %d from 1 to 10', (value) => {
    expect(numberOption('n', value, 5, { min: 1, max: 10 })).toBe(value);
  });

  test.each([0, 10.1, Number.NaN, Number.POSITIVE_INFINITY, '5', null, 5n, {}])(
    'numberOption rejects %s',
    (value) => {
      expect(rejectedArgument(() => numberOption('n', value, 5, { min: 1, max: 10 }))).toBe('n');
    },
  );

  test('integer accepts whole numbers only', () => {
    expect(numberOption('n', 2, 5, { min: 1, integer: true })).toBe(2);
    expect(() => numberOption('n', 1.5, 5, { min: 1, integer: true })).toThrow(
      'a whole number of at least 1',
    );
  });
});

test('choiceOption', () => {
  expect(choiceOption('c', undefined, 'a', ['a', 'b'])).toBe('a');
  expect(choiceOption('c', 'b', 'a', ['a', 'b'])).toBe('b');
  for (const value of ['c', '', null, 1, 'toString']) {
    expect(rejectedArgument(() => choiceOption('c', value, 'a', ['a', 'b']))).toBe('c');
  }
});

describe('assertSignal', () => {
  test('accepts undefined and a signal that is not aborted', () => {
    assertSignal(undefined);
    assertSignal(new AbortController().signal);
  });

  test.each([null, {}, { aborted: false }, 'signal', new AbortController()])('refuses %j', (value) => {
    expect(rejectedArgument(() => assertSignal(value))).toBe('signal');
  });

  test('an aborted signal throws its own reason', () => {
    const reason = { my: 'reason' };
    let thrown: unknown;
    try {
      assertSignal(AbortSignal.abort(reason));
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBe(reason);
    expect(() => assertSignal(AbortSignal.abort())).toThrow(expect.objectContaining({ name: 'AbortError' }));
  });
});

test('assertStatus', () => {
  for (const status of ['online', 'in-call', 'a.b:c_d', 'Away', '1', 'x'.repeat(64)])
    assertStatus('status', status);
  for (const status of ['', 'offline', 'a b', 'é', 'a\n', 'x'.repeat(65), 1, null, undefined, ['online']]) {
    expect(rejectedArgument(() => assertStatus('status', status))).toBe('status');
  }
});

test('prefixOption', () => {
  expect(prefixOption('prefix', undefined, 'fallback')).toBe('fallback');
  expect(prefixOption('prefix', 'app-1.a:b_c', '')).toBe('app-1.a:b_c');
  for (const value of ['', 'a b', 'a{b', '*', 'x'.repeat(65), 'a\n', 1, null]) {
    expect(rejectedArgument(() => prefixOption('prefix', value, ''))).toBe('prefix');
  }
});

describe('assertOptions with known names', () => {
  const known = { timeout: true, prefix: true, maxBufferedBytes: true };
  const textOf = (options: object) => {
    try {
      assertOptions('options', options, known);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  };

  test.each([
    [{ timout: 1 }, 'has an unknown option "timout"; did you mean "timeout"?'],
    [{ timeOut: 1 }, 'did you mean "timeout"?'],
    [{ prefx: undefined }, 'did you mean "prefix"?'],
    [{ maxBuffered: 1 }, 'did you mean "maxBufferedBytes"?'],
    [{ constructor: 1 }, 'known are timeout, prefix, maxBufferedBytes'],
    [{ zzz: 1 }, 'known are timeout, prefix, maxBufferedBytes'],
  ])('refuses %j', (options, text) => {
    expect(textOf(options)).toContain(text);
  });

  test('known names and inherited properties are accepted', () => {
    expect(textOf({ timeout: 1, prefix: undefined })).toBeUndefined();
    expect(textOf(Object.create({ other: 1 }))).toBeUndefined();
  });
});
