import { isAnyArrayBuffer } from 'node:util/types';
import { messageOf } from './diagnostics.js';
import { InvalidArgumentError } from './errors.js';

/** Any value that JSON can represent. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/** Converts messages to text payloads and back. */
export interface TextCodec {
  /** Payloads are text. */
  readonly binary?: false;
  /** Throws when `message` cannot be encoded. */
  encode(message: unknown): string;
  /** Throws when `payload` was not written by this codec. */
  decode(payload: string): unknown;
}

/** Converts messages to byte payloads and back. */
export interface BinaryCodec {
  /** Payloads are bytes, never interpreted as UTF-8. */
  readonly binary: true;
  /** Throws when `message` cannot be encoded. The result must not be modified later. */
  encode(message: unknown): Uint8Array;
  /** Throws when `payload` was not written by this codec. Must not modify `payload`. */
  decode(payload: Buffer): unknown;
}

/** Converts messages to payloads and back. */
export type Codec = TextCodec | BinaryCodec;

/** @throws {@link InvalidArgumentError} */
export function assertCodec(argument: string, value: unknown): asserts value is Codec {
  const { encode, decode, binary } = (value ?? {}) as Partial<Codec>;
  if (typeof encode !== 'function' || typeof decode !== 'function') {
    throw new InvalidArgumentError(argument, 'must be a codec: an object with encode and decode');
  }
  if (binary !== undefined && typeof binary !== 'boolean') {
    throw new InvalidArgumentError(argument, 'must have a boolean `binary`: true if its payloads are bytes');
  }
}

/**
 * Plain JSON, for any other Redis client. Bytes are refused because JSON would make them lists of numbers;
 * use {@link bufferCodec}.
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
 * Publishes a Buffer, typed array, DataView or ArrayBuffer byte for byte; delivers a Buffer. Handlers of one
 * channel share it; do not modify it.
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
    // The caller may reuse the memory while the payload waits for a connection.
    return Buffer.from(bytes);
  },
  decode: (payload) => payload,
};

/** Shares the memory; undefined: not bytes. */
function bytesOf(value: unknown): Buffer | undefined {
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return isAnyArrayBuffer(value) ? Buffer.from(value) : undefined;
}

/** @throws {@link InvalidArgumentError} if JSON cannot represent `value`. */
export function encodeJson(argument: string, value: unknown): string {
  // A constant: JSON.stringify makes a new string, and many of them are kept.
  if (value === null) return 'null';
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new InvalidArgumentError(argument, `cannot be encoded as JSON: ${messageOf(cause)}`, { cause });
  }
  const lost = lostInJson(value, text);
  if (lost !== undefined || text === undefined) {
    const cure = value === undefined ? ': pass null' : '';
    throw new InvalidArgumentError(argument, `cannot be encoded as JSON: ${lost} has no JSON form${cure}`);
  }
  return text;
}

/**
 * Tests a value that is encoded within another one. Nested values are not tested.
 *
 * @throws {@link InvalidArgumentError} if JSON.stringify would omit `value`, or encode it as an empty object or as a list of bytes.
 */
export function assertJson(argument: string, value: unknown): void {
  if (typeof value === 'object' && value !== null) {
    if (bytesOf(value) !== undefined) {
      throw new InvalidArgumentError(argument, 'is bytes, which have no JSON form');
    }
    // Most values are plain, and are encoded only once.
    if (!EMPTY_IN_JSON.test(Object.prototype.toString.call(value))) return;
  }
  encodeJson(argument, value);
}

const EMPTY_IN_JSON = /^\[object (Map|Set|WeakMap|WeakSet|Promise|RegExp|Error)\]$/;

/** Returns what would be lost; undefined if nothing. Does not test nested values. */
function lostInJson(value: unknown, text: string | undefined): string | undefined {
  if (text === undefined) return value === undefined ? 'undefined' : `a ${typeof value}`;
  if (text === 'null') return typeof value === 'number' ? String(value) : undefined;
  if (text !== '{}') return undefined;
  const [, kind] = EMPTY_IN_JSON.exec(Object.prototype.toString.call(value)) ?? [];
  return kind === 'Promise' ? 'a Promise (await it)' : kind && `${kind === 'Error' ? 'an' : 'a'} ${kind}`;
}
