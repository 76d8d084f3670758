import { isAnyArrayBuffer } from 'node:util/types';
import { messageOf } from './diagnostics.js';
import { InvalidArgumentError } from './errors.js';

/** Anything JSON can say. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/** Turns messages into payloads of text and back. */
export interface TextCodec {
  /** Payloads are text. */
  readonly binary?: false;
  /** Throws when `message` cannot be encoded. */
  encode(message: unknown): string;
  /** Throws when `payload` is not what this codec writes. */
  decode(payload: string): unknown;
}

/** Turns messages into payloads of bytes and back. */
export interface BinaryCodec {
  /** Payloads are bytes: they are never taken for UTF-8. */
  readonly binary: true;
  /** Throws when `message` cannot be encoded. Nobody may write to the result afterwards. */
  encode(message: unknown): Uint8Array;
  /** Throws when `payload` is not what this codec writes. Must not write to `payload`. */
  decode(payload: Buffer): unknown;
}

/** Turns messages into payloads and back. */
export type Codec = TextCodec | BinaryCodec;

/** Throws {@link InvalidArgumentError} unless `value` is a codec. */
export function assertCodec(argument: string, value: unknown): asserts value is Codec {
  const { encode, decode, binary } = (value ?? {}) as Partial<Codec>;
  if (typeof encode !== 'function' || typeof decode !== 'function') {
    throw new InvalidArgumentError(argument, 'must be a codec: an object with encode and decode');
  }
  if (binary !== undefined && typeof binary !== 'boolean') {
    throw new InvalidArgumentError(
      argument,
      'must say in `binary` whether payloads are bytes: true or false',
    );
  }
}

/**
 * Plain JSON, so that any other Redis client can join in. Messages that are bytes are refused, for
 * JSON would make lists of numbers of them; {@link bufferCodec} is for those.
 */
export const jsonCodec: TextCodec = {
  encode(message) {
    if (bytesOf(message) !== undefined) {
      throw new InvalidArgumentError('message', 'is bytes, which have no JSON form: use bufferCodec');
    }
    return encodeJson('message', message);
  },
  decode: (payload) => JSON.parse(payload),
};

/**
 * Bytes as they are: a Buffer, typed array, DataView or ArrayBuffer is published byte for byte and
 * arrives as a Buffer. Handlers of one channel share that Buffer: treat it as read-only.
 */
export const bufferCodec: BinaryCodec = {
  binary: true,
  encode(message) {
    const bytes = bytesOf(message);
    if (bytes === undefined) {
      throw new InvalidArgumentError(
        'message',
        'must be a Buffer, a typed array, a DataView or an ArrayBuffer for bufferCodec',
      );
    }
    // A copy: the payload may wait for a connection while the caller uses his memory again.
    return Buffer.from(bytes);
  },
  decode: (payload) => payload,
};

/** The memory of `value` if it is bytes of any kind, not copied. */
function bytesOf(value: unknown): Buffer | undefined {
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return isAnyArrayBuffer(value) ? Buffer.from(value) : undefined;
}

/** JSON text of `value`; throws {@link InvalidArgumentError} for what JSON cannot say. */
export function encodeJson(argument: string, value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new InvalidArgumentError(argument, `cannot be encoded as JSON: ${messageOf(cause)}`, { cause });
  }
  if (text === undefined) {
    throw new InvalidArgumentError(argument, `cannot be encoded as JSON: ${typeof value} has no JSON form`);
  }
  return text;
}
