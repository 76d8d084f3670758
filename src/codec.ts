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

/** Turns messages into payloads and back. */
export interface Codec {
  /** Throws when `message` cannot be encoded. */
  encode(message: unknown): string;
  /** Throws when `payload` is not what this codec writes. */
  decode(payload: string): unknown;
}

/** Plain JSON, so that any other Redis client can join in. */
export const jsonCodec: Codec = {
  encode: (message) => encodeJson('message', message),
  decode: (payload) => JSON.parse(payload),
};

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

const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/**
 * JSON text of `id` without its quotes, with quotes inside it as `\\u0022`. Redis holds ids in this
 * form: scripts can splice them into JSON as they are, and a double quote, which never occurs in it,
 * can separate two of them.
 */
export function escapeId(id: string): string {
  return PLAIN.test(id) ? id : JSON.stringify(id).slice(1, -1).replaceAll('\\"', '\\u0022');
}

/** The id that {@link escapeId} made `text` of. */
export function unescapeId(text: string): string {
  return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
}
