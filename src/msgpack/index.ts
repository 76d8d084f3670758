import { Packr } from 'msgpackr';
import type { BinaryCodec } from '../internal/codec.js';
import { messageOf } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertOptions, choiceOption } from '../internal/validate.js';
import { BYTES, encodeBinHeader, scanValue, TIMESTAMP } from './format.js';

export type { BinaryCodec } from '../internal/codec.js';

/** Options of {@link createMsgpackCodec}. */
export interface MsgpackOptions {
  /**
   * Type of decoded maps. `object`: number keys become strings, `__proto__` becomes `__proto_` (sets no
   * prototype), other keys that are not strings are refused. `map`: any key, unchanged. @default 'object'
   */
  maps?: 'object' | 'map';
}

/**
 * A MessagePack codec on the optional peer `msgpackr`. It writes and reads only the MessagePack specification
 * (timestamps as Dates), not msgpackr's extensions, so other implementations can read its payloads. Decoding an
 * untrusted payload can only fail.
 *
 * - Written: Maps, Dates, Buffers, Uint8Arrays, ArrayBuffers, classes with `toJSON`. Refused: Sets, RegExps, Errors,
 *   functions, BigInts over 64 bits, and typed arrays of numbers wider than bytes.
 * - `undefined` is left out of objects, and null elsewhere, as in JSON.
 * - Integers beyond 2^53 are decoded as BigInts, bytes as Buffers with their own memory.
 *
 * @throws `InvalidArgumentError` for a bad option.
 */
export function createMsgpackCodec(options?: MsgpackOptions): BinaryCodec {
  assertOptions('options', options, { maps: true });
  const maps = choiceOption('maps', options?.maps, 'object', ['object', 'map']);
  const settings = {
    useRecords: false,
    mapsAsObjects: maps === 'object',
    // Makes values without a MessagePack form extensions, which we refuse. Without it, msgpackr writes a
    // Float64Array as wrong bytes.
    moreTypes: true,
    skipValues: [undefined],
    encodeUndefinedAsNil: true,
    writeFunction: refuseFunction,
    int64AsType: 'auto' as 'bigint',
    copyBuffers: true,
  };
  const packr = new Packr(settings);
  return {
    binary: true,
    encode(message) {
      if (message === undefined) throw unsupported('undefined');
      let packed: Buffer;
      try {
        packed = packr.pack(message);
      } catch (cause) {
        if (cause instanceof InvalidArgumentError) throw cause;
        throw new InvalidArgumentError('message', `cannot be encoded as MessagePack: ${messageOf(cause)}`, {
          cause,
        });
      }
      return toPortable(packed);
    },
    decode(payload) {
      scanValue(payload, ({ type, from, to }) => {
        if (!isTimestamp(type, to - from)) throw new Error(`extension type ${type} is not supported`);
      });
      // msgpackr sets a property on the Buffer it reads.
      return packr.unpack(Buffer.from(payload.buffer, payload.byteOffset, payload.length));
    },
  };
}

/** MessagePack with the default options of {@link createMsgpackCodec}. */
export const msgpackCodec: BinaryCodec = createMsgpackCodec();

/** Converts msgpackr's byte arrays to the bin format; refuses other extensions. */
function toPortable(packed: Buffer): Buffer {
  const parts: Uint8Array[] = [];
  let done = 0;
  scanValue(packed, ({ type, header, from, to }) => {
    if (isTimestamp(type, to - from)) return;
    if (type !== BYTES.type || !BYTES.kinds.includes(packed[from] as number)) throw unsupported(nameOf(type));
    // The first byte is the kind of array.
    parts.push(packed.subarray(done, header), encodeBinHeader(to - from - 1), packed.subarray(from + 1, to));
    done = to;
  });
  return parts.length === 0 ? packed : Buffer.concat([...parts, packed.subarray(done)]);
}

function isTimestamp(type: number, length: number): boolean {
  return type === TIMESTAMP.type && TIMESTAMP.lengths.includes(length);
}

/** For error messages. */
const EXTENSION_NAMES = new Map([
  [TIMESTAMP.type, 'an invalid Date'],
  [BYTES.type, 'a typed array other than of bytes'],
  [0x42, 'a BigInt over 64 bits'],
  [0x65, 'an Error'],
  [0x73, 'a Set'],
  [0x78, 'a RegExp'],
]);

function nameOf(type: number): string {
  return EXTENSION_NAMES.get(type) ?? `extension type ${type}`;
}

function unsupported(what: string): InvalidArgumentError {
  return new InvalidArgumentError('message', `cannot be encoded as MessagePack: ${what} has no form there`);
}

function refuseFunction(): never {
  throw unsupported('a function');
}
