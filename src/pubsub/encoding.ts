import type { Codec } from '../internal/codec.js';
import { messageOf } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import type { Payload } from '../redis/driver.js';

/**
 * `message` as `codec` writes it.
 *
 * @throws {@link InvalidArgumentError} when it cannot, or when that is over `maxBytes` of UTF-8.
 */
export function encodePayload(message: unknown, codec: Codec, maxBytes: number): Payload {
  let payload: unknown;
  try {
    payload = codec.encode(message);
  } catch (cause) {
    if (cause instanceof InvalidArgumentError) throw cause;
    throw new InvalidArgumentError('message', `cannot be encoded: ${messageOf(cause)}`, { cause });
  }
  if (codec.binary === true) {
    if (!(payload instanceof Uint8Array)) {
      throw new InvalidArgumentError('message', `was not encoded as bytes but as ${typeof payload}`);
    }
    assertSize(payload.byteLength, maxBytes);
    const { buffer, byteOffset, byteLength } = payload;
    return Buffer.isBuffer(payload) ? payload : Buffer.from(buffer, byteOffset, byteLength);
  }
  if (typeof payload !== 'string') {
    throw new InvalidArgumentError('message', `was not encoded as a string but as ${typeof payload}`);
  }
  // A UTF-16 unit is at most three bytes: short payloads need no counting.
  if (payload.length * 3 > maxBytes) assertSize(Buffer.byteLength(payload), maxBytes);
  return payload;
}

function assertSize(bytes: number, maxBytes: number): void {
  if (bytes <= maxBytes) return;
  throw new InvalidArgumentError('message', `is ${bytes} bytes long; maxMessageBytes is ${maxBytes}`);
}
