// The format: https://github.com/msgpack/msgpack/blob/master/spec.md

/** The only extension of the specification. Extension types are signed. */
export const TIMESTAMP: { readonly type: number; readonly lengths: readonly number[] } = {
  type: -1,
  lengths: [4, 8, 12],
};

/** msgpackr's byte arrays: a kind byte (Uint8Array, clamped, ArrayBuffer, DataView), then the bytes. */
export const BYTES: { readonly type: number; readonly kinds: readonly number[] } = {
  type: 0x74,
  kinds: [1, 2, 16, 17],
};

/** Offsets: header, and data from `from` to `to`. */
export interface Extension {
  readonly type: number;
  readonly header: number;
  readonly from: number;
  readonly to: number;
}

/** Bytes after each number token, 0xca to 0xd3. */
const NUMBERS = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8];

/**
 * Calls `extension` for each extension. Throws unless `bytes` are exactly one value. Not recursive: deep
 * values cannot overflow the stack.
 */
export function scanValue(bytes: Buffer, extension: (found: Extension) => void): void {
  let at = 0;
  /** Values not scanned yet. */
  let open = 1;
  const skip = (size: number): void => {
    at += size;
  };
  /** Reading past the end throws. */
  const length = (size: number): number => {
    skip(size);
    return bytes.readUIntBE(at - size, size);
  };
  const foundExtension = (header: number, size: number): void => {
    const type = bytes.readInt8(at);
    skip(1 + size);
    if (at <= bytes.length) extension({ type, header, from: at - size, to: at });
  };
  while (open > 0) {
    if (at >= bytes.length) throw new Error('the payload ends within a value');
    const header = at;
    const token = bytes[at++] as number;
    open--;
    if (token < 0x80 || token >= 0xe0 || token === 0xc0 || token === 0xc2 || token === 0xc3) continue;
    if (token < 0x90) open += 2 * (token & 0x0f);
    else if (token < 0xa0) open += token & 0x0f;
    else if (token < 0xc0) skip(token & 0x1f);
    else if (token === 0xc1) throw new Error('0xc1 is not used in MessagePack');
    else if (token <= 0xc6) skip(length(1 << (token - 0xc4)));
    else if (token <= 0xc9) foundExtension(header, length(1 << (token - 0xc7)));
    else if (token <= 0xd3) skip(NUMBERS[token - 0xca] as number);
    else if (token <= 0xd8) foundExtension(header, 1 << (token - 0xd4));
    else if (token <= 0xdb) skip(length(1 << (token - 0xd9)));
    else if (token <= 0xdd) open += length(2 << (token - 0xdc));
    else open += 2 * length(2 << (token - 0xde));
  }
  if (at > bytes.length) throw new Error('the payload ends within a value');
  if (at < bytes.length) throw new Error('the payload goes on after its value');
}

export function encodeBinHeader(length: number): Buffer {
  if (length < 0x100) return Buffer.from([0xc4, length]);
  const header = Buffer.alloc(length < 0x1_0000 ? 3 : 5);
  header[0] = length < 0x1_0000 ? 0xc5 : 0xc6;
  header.writeUIntBE(length, 1, header.length - 1);
  return header;
}
