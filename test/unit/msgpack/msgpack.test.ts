import { pack } from 'msgpackr';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { fc } from '../../support/property.js';

/** Each supported major version of the peer. */
const peers = {
  msgpackr: () => vi.importActual('msgpackr'),
  msgpackr1: () => import('msgpackr1'),
};

/** The codecs and error classes, loaded with that version. */
async function codecsOn(peer: keyof typeof peers) {
  vi.resetModules();
  vi.doMock('msgpackr', peers[peer]);
  // Errors are loaded again as well, because the earlier modules have other classes.
  return {
    ...(await import('../../../src/msgpack/index.js')),
    ...(await import('../../../src/internal/errors.js')),
  };
}

afterAll(() => {
  vi.doUnmock('msgpackr');
});

interface Nested {
  a: Buffer[];
  b: { c: Buffer }[];
  d: string;
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

// MessagePack integers encode `-0` as 0, and msgpackr renames the key `__proto__`.
const anyValue = fc.anything({
  key: fc.string().filter((key) => key !== '__proto__'),
  values: [
    fc.boolean(),
    fc.string({ unit: 'grapheme' }),
    fc.string({ minLength: 30, maxLength: 300 }),
    fc.integer(),
    fc.maxSafeInteger().map((value) => value + 0),
    fc.double().map((value) => value + 0),
    fc.bigInt({ min: 2n ** 53n + 1n, max: 2n ** 64n - 1n }),
    fc.constant(null),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  ],
});

describe.each(['msgpackr', 'msgpackr1'] as const)('on %s', async (peer) => {
  const { createMsgpackCodec, InvalidArgumentError, msgpackCodec } = await codecsOn(peer);
  const through = (message: unknown) => msgpackCodec.decode(Buffer.from(msgpackCodec.encode(message)));

  test('the codec is binary', () => {
    expect(msgpackCodec.binary).toBe(true);
  });

  test('messages survive encoding and decoding', () => {
    fc.assert(
      fc.property(anyValue, (message) => {
        expect(through(message)).toEqual(message);
      }),
      { numRuns: 500 },
    );
  });

  test('a payload inside a larger buffer is read in place, and not modified', () => {
    const message = { text: 'a text of more than a few bytes', bytes: Buffer.from([1, 2, 3]) };
    const packed = msgpackCodec.encode(message);
    const around = Buffer.concat([Buffer.from('before'), packed, Buffer.from('after')]);
    const payload = around.subarray(6, 6 + packed.length);
    const decoded = msgpackCodec.decode(payload) as typeof message;
    expect(decoded).toEqual(message);
    expect(Object.keys(payload)).toEqual(Object.keys(Buffer.from(packed)));
    // Bytes in the message are a copy, so that the message does not retain the buffer or change with it.
    around.fill(0);
    expect(decoded.bytes).toEqual(Buffer.from([1, 2, 3]));
  });

  test('bytes of every kind are encoded as MessagePack bin, at any depth', () => {
    for (const size of [0, 1, 2, 4, 8, 16, 0xfe, 0xff, 0x100, 0xfffe, 0xffff, 0x1_0000]) {
      const bytes = new Uint8Array(size).map((_, at) => at % 251);
      const buffer = Buffer.from(bytes);
      const kinds = [buffer, bytes, new Uint8ClampedArray(bytes), bytes.buffer, new DataView(bytes.buffer)];
      const plain = Buffer.from(msgpackCodec.encode(buffer));
      // `equals`, because comparing single bytes takes seconds.
      for (const kind of kinds) expect(plain.equals(msgpackCodec.encode(kind))).toBe(true);
      const nested = through({ a: kinds, b: [{ c: bytes }], d: 'end' }) as Nested;
      expect(nested.a.length).toBe(kinds.length);
      for (const each of [...nested.a, nested.b[0]?.c]) expect(each && buffer.equals(each)).toBe(true);
      expect(nested.d).toBe('end');
    }
    expect(through(new Uint8Array([1, 2, 3, 4]).subarray(1, 3))).toEqual(Buffer.from([2, 3]));
    expect(Buffer.isBuffer(through(new Uint8Array(2)))).toBe(true);
  });

  test.each([
    ['a Set', { a: new Set([1]) }, 'a Set has no form'],
    ['a RegExp', [/x/], 'a RegExp has no form'],
    ['an Error', new Error('x'), 'an Error has no form'],
    ['wider numbers', { a: new Float64Array([1.5]) }, 'a typed array other than of bytes'],
    ['signed bytes', new Int8Array([-1]), 'a typed array other than of bytes'],
    ['a BigInt that is too large', 2n ** 64n, 'a BigInt over 64 bits'],
    ['an invalid Date', new Date(Number.NaN), 'an invalid Date'],
    ['a function', { a: () => {} }, 'a function'],
    ['a symbol', { a: Symbol('s') }, 'symbol'],
    ['undefined', undefined, 'undefined'],
  ])('%s is an invalid argument', (_, message, text) => {
    expect(() => msgpackCodec.encode(message)).toThrow(InvalidArgumentError);
    expect(() => msgpackCodec.encode(message)).toThrow(/^message: cannot be encoded as MessagePack/);
    expect(() => msgpackCodec.encode(message)).toThrow(text);
  });

  test('a cycle is an InvalidArgumentError, and the codec stays usable', () => {
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    expect(() => msgpackCodec.encode(cycle)).toThrow(InvalidArgumentError);
    expect(through({ a: 1 })).toEqual({ a: 1 });
  });

  test('undefined is left out of objects and null in arrays, as in JSON; toJSON is called', () => {
    expect(through({ a: undefined, b: [undefined], c: 1 })).toStrictEqual({ b: [null], c: 1 });
    class Name {
      toJSON() {
        return 'b';
      }
    }
    expect(through({ a: new Name() })).toEqual({ a: 'b' });
  });

  test('payloads of other implementations are decoded', () => {
    // The examples of the specification, and numbers that other implementations write as 64 bits.
    expect(msgpackCodec.decode(hex('82 a7 636f6d70616374 c3 a6 736368656d61 00'))).toEqual({
      compact: true,
      schema: 0,
    });
    expect(msgpackCodec.encode({ compact: true, schema: 0 })).toEqual(
      hex('82 a7 636f6d70616374 c3 a6 736368656d61 00'),
    );
    expect(msgpackCodec.decode(hex('cf 0000000000000001'))).toBe(1);
    expect(msgpackCodec.decode(hex('d3 ffffffffffffffff'))).toBe(-1);
    expect(msgpackCodec.decode(hex('cf ffffffffffffffff'))).toBe(2n ** 64n - 1n);
    expect(msgpackCodec.decode(hex('d6 ff 00000001'))).toEqual(new Date(1_000));
    expect(msgpackCodec.decode(hex('81 01 02'))).toEqual({ 1: 2 });
    expect(msgpackCodec.decode(pack({ a: [1, 'b'] }))).toEqual({ a: [1, 'b'] });
  });

  test('a payload does not change while others are encoded', () => {
    const messages = Array.from({ length: 3_000 }, (_, n) => ({ n, text: 'x'.repeat(n % 50) }));
    const payloads = messages.map((message) => msgpackCodec.encode(message));
    expect(payloads.map((payload) => msgpackCodec.decode(Buffer.from(payload)))).toEqual(messages);
  });

  test('objects of the same shape are not encoded as records', () => {
    for (let n = 0; n < 5; n++) {
      expect(msgpackCodec.encode({ a: n, b: n })).toEqual(hex(`82 a1 61 0${n} a1 62 0${n}`));
    }
  });

  test("with maps: 'map', maps are decoded to Maps", () => {
    const codec = createMsgpackCodec({ maps: 'map' });
    const message = new Map<unknown, unknown>([
      ['__proto__', { a: 1 }],
      [1, [2]],
    ]);
    const decoded = codec.decode(Buffer.from(codec.encode(message)));
    expect(decoded).toEqual(
      new Map<unknown, unknown>([
        ['__proto__', new Map([['a', 1]])],
        [1, [2]],
      ]),
    );
    expect(() => createMsgpackCodec({ maps: 'both' as 'map' })).toThrow(InvalidArgumentError);
    expect(() => createMsgpackCodec(null as never)).toThrow(InvalidArgumentError);
  });

  describe('untrusted payloads', () => {
    test('`__proto__` sets no prototype', () => {
      for (const key of ['a9 5f5f70726f746f5f5f', 'd9 09 5f5f70726f746f5f5f', 'da 0009 5f5f70726f746f5f5f']) {
        // { __proto__: { admin: true } } in each encoding.
        const inner = '81 a5 61646d696e c3';
        for (const payload of [`81 ${key} ${inner}`, `de 0001 ${key} ${inner}`]) {
          // Repeated until msgpackr caches the keys.
          for (let n = 0; n < 4; n++) {
            const decoded = msgpackCodec.decode(hex(payload)) as Record<string, unknown>;
            expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype);
            expect(decoded['admin']).toBeUndefined();
          }
        }
      }
      const own = JSON.parse('{"__proto__": {"admin": true}}');
      expect((through(own) as Record<string, unknown>)['admin']).toBeUndefined();
      expect(({} as Record<string, unknown>)['admin']).toBeUndefined();
    });

    test('`constructor` and `prototype` are ordinary keys', () => {
      const message = { constructor: { prototype: { admin: true } } };
      expect(through(message)).toEqual(message);
      expect(({} as Record<string, unknown>)['admin']).toBeUndefined();
    });

    test.each([
      ['a record', 'd4 72 40 91 a1 61 01'],
      ['a record of two bytes', 'd5 72 40 01 91 a1 61 01'],
      ['a RegExp', 'd4 78 00 92 a1 78 a0'],
      ['a Set', 'd4 73 00 91 01'],
      ['an Error', 'd4 65 00 92 a1 78 a1 79'],
      ['a reference', 'd6 69 00000001 91 d6 70 00000001'],
      ['bundled strings', 'd6 62 00000001 01'],
      ['a typed array', 'c7 02 74 01 ff'],
      ['undefined', 'd4 00 00'],
      ['an unknown extension', 'c7 01 05 00'],
      ['a timestamp of no known length', 'd4 ff ff'],
      ['the unused token', 'c1'],
    ])('%s is rejected', (_, payload) => {
      expect(() => msgpackCodec.decode(hex(payload))).toThrow();
      expect(() => msgpackCodec.decode(hex(`91 ${payload}`))).toThrow();
    });

    test('a payload that ends early or has trailing bytes is rejected', () => {
      expect(() => msgpackCodec.decode(Buffer.alloc(0))).toThrow('ends within');
      fc.assert(
        fc.property(anyValue, fc.uint8Array({ minLength: 1, maxLength: 4 }), (message, rest) => {
          const payload = Buffer.from(msgpackCodec.encode(message));
          for (let end = 0; end < Math.min(payload.length, 200); end++) {
            // In a larger buffer, where the missing bytes follow.
            expect(() => msgpackCodec.decode(payload.subarray(0, end))).toThrow();
          }
          expect(() => msgpackCodec.decode(Buffer.concat([payload, rest]))).toThrow('goes on');
        }),
      );
    });

    test('claimed sizes cause no allocation', () => {
      for (const payload of ['dd ffffffff', 'df ffffffff', 'db ffffffff', 'c6 ffffffff', 'c9 ffffffff 05']) {
        expect(() => msgpackCodec.decode(hex(`${payload} 00`))).toThrow();
      }
    });

    test('a deeply nested payload is an error, not a crash', () => {
      expect(() => msgpackCodec.decode(Buffer.concat([Buffer.alloc(1_000_000, 0x91), hex('01')]))).toThrow();
      expect(through({ a: 1 })).toEqual({ a: 1 });
    });

    test('any payload decodes to plain data or throws', () => {
      const plain = (value: unknown): boolean =>
        typeof value !== 'object' ||
        value === null ||
        Buffer.isBuffer(value) ||
        value instanceof Date ||
        (Array.isArray(value) && value.every(plain)) ||
        (Object.getPrototypeOf(value) === Object.prototype && Object.values(value).every(plain));
      fc.assert(
        fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => {
          let decoded: unknown;
          try {
            decoded = msgpackCodec.decode(Buffer.from(bytes));
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
            return;
          }
          expect(plain(decoded)).toBe(true);
        }),
        { numRuns: 5_000 },
      );
      expect(through({ a: 1 })).toEqual({ a: 1 });
    });
  });
});
