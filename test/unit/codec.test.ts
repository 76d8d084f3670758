import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeJson, escapeId, jsonCodec, unescapeId } from '../../src/codec.js';
import { InvalidArgumentError } from '../../src/errors.js';

const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: fc.constantFrom('"', '\\', '\n', '\0', '\u2028', '\u007f', '😀', 'a', 'n', 'u', '0') }),
);

describe('escapeId', () => {
  test('comes back as it was, from a form that is JSON and holds no quote', () => {
    fc.assert(
      fc.property(anyText, (id) => {
        const text = escapeId(id);
        expect(unescapeId(text)).toBe(id);
        expect(JSON.parse(`"${text}"`)).toBe(id);
        expect(text.replaceAll('\\"', '')).not.toContain('"');
      }),
      { numRuns: 1_000 },
    );
  });

  test('two ids never become one', () => {
    fc.assert(
      fc.property(anyText, anyText, (one, two) => {
        expect(escapeId(one) === escapeId(two)).toBe(one === two);
      }),
    );
    // What an escape looks like is not the same as what it stands for.
    expect(escapeId('\n')).not.toBe(escapeId('\\n'));
    expect(escapeId('"')).not.toBe(escapeId('\\"'));
  });

  test('what needs no escape is left alone', () => {
    expect(escapeId("user:42 {x} <a>'~")).toBe("user:42 {x} <a>'~");
  });

  test('line breaks and control characters become printable', () => {
    expect(escapeId('a\nb\0"')).toBe('a\\nb\\u0000\\u0022');
  });
});

describe('JSON', () => {
  test('what it can say comes back', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        const text = jsonCodec.encode(value);
        expect(JSON.stringify(jsonCodec.decode(text))).toBe(text);
      }),
    );
  });

  const cycle: Record<string, unknown> = {};
  cycle['self'] = cycle;
  const hostile = {
    toJSON() {
      throw new Error('mine');
    },
  };
  test.each([
    ['undefined', undefined],
    ['a function', () => {}],
    ['a symbol', Symbol('s')],
    ['a BigInt', 1n],
    ['a cycle', cycle],
    ['toJSON that throws', hostile],
    ['toJSON that returns nothing', { toJSON: () => undefined }],
  ])('%s is an invalid argument', (_, value) => {
    expect(() => encodeJson('message', value)).toThrow(InvalidArgumentError);
    expect(() => encodeJson('message', value)).toThrow(/^message: cannot be encoded as JSON/);
  });

  test('a payload that is no JSON throws', () => {
    for (const payload of ['', '{', 'undefined', "'a'"])
      expect(() => jsonCodec.decode(payload)).toThrow(SyntaxError);
  });
});

test('an escaped id holds no double quote, so that one can separate two ids', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('"', '\\', 'a', '\n', 'é') }), (id) => {
      expect(escapeId(id)).not.toContain('"');
      expect(unescapeId(escapeId(id))).toBe(id);
      expect(JSON.parse(`"${escapeId(id)}"`)).toBe(id);
    }),
  );
});
