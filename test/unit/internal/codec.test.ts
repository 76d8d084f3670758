import { describe, expect, test } from 'vitest';
import { assertCodec, bufferCodec, encodeJson, jsonCodec } from '../../../src/internal/codec.js';
import { InvalidArgumentError } from '../../../src/internal/errors.js';
import { escapeId, unescapeId } from '../../../src/presence/ids.js';
import { fc } from '../../support/property.js';

const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: fc.constantFrom('"', '\\', '\n', '\0', '\u2028', '\u007f', '😀', 'a', 'n', 'u', '0') }),
);

describe('escapeId', () => {
  test('an escaped id is valid JSON text without a quote and can be unescaped', () => {
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

  test('different ids have different escaped forms', () => {
    fc.assert(
      fc.property(anyText, anyText, (one, two) => {
        expect(escapeId(one) === escapeId(two)).toBe(one === two);
      }),
    );
    // The text of an escape sequence is an id of its own.
    expect(escapeId('\n')).not.toBe(escapeId('\\n'));
    expect(escapeId('"')).not.toBe(escapeId('\\"'));
  });

  test('safe characters are not escaped', () => {
    expect(escapeId("user:42 {x} <a>'~")).toBe("user:42 {x} <a>'~");
  });

  test('line breaks and control characters become printable', () => {
    expect(escapeId('a\nb\0"')).toBe('a\\nb\\u0000\\u0022');
  });
});

describe('JSON', () => {
  test('JSON values survive encoding and decoding', () => {
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

  test('decoding invalid JSON throws', () => {
    for (const payload of ['', '{', 'undefined', "'a'"])
      expect(() => jsonCodec.decode(payload)).toThrow(SyntaxError);
  });
});

/** The same bytes as each type that holds bytes. */
function kindsOf(bytes: Uint8Array): [string, unknown][] {
  const around = new Uint8Array([9, ...bytes, 9]);
  const shared = new SharedArrayBuffer(bytes.length);
  new Uint8Array(shared).set(bytes);
  return [
    ['a Buffer', Buffer.from(bytes)],
    ['a Uint8Array', bytes],
    ['a Uint8Array within a larger buffer', around.subarray(1, -1)],
    ['an Int16Array', new Int16Array(bytes.slice().buffer)],
    ['a DataView', new DataView(around.buffer, 1, bytes.length)],
    ['an ArrayBuffer', bytes.slice().buffer],
    ['a SharedArrayBuffer', shared],
  ];
}
const someBytes = new Uint8Array([0, 1, 0x7f, 0x80, 0xff, 0xfe, 0xed, 0xa0]);

describe('bytes', () => {
  test.each(kindsOf(someBytes))('%s is decoded byte for byte to a Buffer', (_, message) => {
    const payload = Buffer.from(bufferCodec.encode(message));
    const decoded = bufferCodec.decode(payload);
    expect(Buffer.isBuffer(decoded)).toBe(true);
    expect(decoded).toEqual(Buffer.from(someBytes));
  });

  test.each(kindsOf(someBytes))('%s is rejected by the JSON codec', (_, message) => {
    expect(() => jsonCodec.encode(message)).toThrow(InvalidArgumentError);
    expect(() => jsonCodec.encode(message)).toThrow('use bufferCodec');
  });

  test('an empty Buffer is a valid payload', () => {
    expect(bufferCodec.encode(Buffer.alloc(0))).toHaveLength(0);
  });

  test('changing the message after encoding does not change the payload', () => {
    const message = Buffer.from('before');
    const payload = bufferCodec.encode(message);
    message.fill('x');
    expect(Buffer.from(payload).toString()).toBe('before');
  });

  test.each([undefined, null, 'text', 1, [1, 2], {}, { buffer: new ArrayBuffer(1) }, new Set([1])])(
    'values other than bytes are refused (%#)',
    (message) => {
      expect(() => bufferCodec.encode(message)).toThrow(InvalidArgumentError);
      expect(() => bufferCodec.encode(message)).toThrow(/^message: must be a Buffer/);
    },
  );

  test('bufferCodec is binary, and jsonCodec is not', () => {
    expect(bufferCodec.binary).toBe(true);
    expect(jsonCodec.binary).toBeUndefined();
  });
});

test('assertCodec', () => {
  const both = { encode: () => '', decode: () => {} };
  for (const codec of [jsonCodec, bufferCodec, both, { ...both, binary: false }]) assertCodec('codec', codec);
  const bad = [undefined, null, 'json', {}, { encode: both.encode }, { ...both, binary: 1 }, () => {}];
  for (const codec of bad) {
    expect(() => assertCodec('codec', codec)).toThrow(/^codec: must/);
    expect(() => assertCodec('codec', codec)).toThrow(InvalidArgumentError);
  }
});

test('an escaped id contains no double quote, which separates two ids', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('"', '\\', 'a', '\n', 'é') }), (id) => {
      expect(escapeId(id)).not.toContain('"');
      expect(unescapeId(escapeId(id))).toBe(id);
      expect(JSON.parse(`"${escapeId(id)}"`)).toBe(id);
    }),
  );
});

test.each([
  ['a Map', new Map([[1, 2]])],
  ['a Set', new Set([1])],
  ['a RegExp', /x/],
  ['an Error', new Error('x')],
  ['a Promise (await it)', Promise.resolve(1)],
  ['NaN', Number.NaN],
  ['-Infinity', Number.NEGATIVE_INFINITY],
  ['undefined', undefined],
  ['a function', () => {}],
  ['a symbol', Symbol('x')],
])('the JSON codec rejects %s as the message itself', (what, message) => {
  expect(() => jsonCodec.encode(message)).toThrow(
    `message: cannot be encoded as JSON: ${what} has no JSON form`,
  );
});

test.each([
  [null],
  [{}],
  [[]],
  [new (class Empty {})()],
  [Object.assign(new Map(), { toJSON: () => [1] })],
  [new Date(0)],
])('the JSON codec encodes %j', (message) => {
  expect(jsonCodec.encode(message)).toBe(JSON.stringify(message));
});
