import type { Codec } from '../internal/codec.js';
import { messageOf } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import type { Payload } from '../redis/driver.js';

/**
 * @throws {@link InvalidArgumentError} if the codec fails or the result is longer than `maxBytes` in UTF-8.
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
      throw new InvalidArgumentError(
        'message',
        `must be encoded as bytes by a binary codec, not as ${typeof payload}`,
      );
    }
    assertSize(payload.byteLength, maxBytes);
    const { buffer, byteOffset, byteLength } = payload;
    return Buffer.isBuffer(payload) ? payload : Buffer.from(buffer, byteOffset, byteLength);
  }
  if (typeof payload !== 'string') {
    throw new InvalidArgumentError('message', `must be encoded as a string, not as ${typeof payload}`);
  }
  // A UTF-16 unit takes at most three bytes, so that short payloads need not be measured.
  if (payload.length * 3 > maxBytes) assertSize(Buffer.byteLength(payload), maxBytes);
  return payload;
}

function assertSize(bytes: number, maxBytes: number): void {
  if (bytes <= maxBytes) return;
  throw new InvalidArgumentError('message', `is ${bytes} bytes long; maxMessageBytes is ${maxBytes}`);
}
