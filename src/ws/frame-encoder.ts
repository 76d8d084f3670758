import type { IncomingMessage } from 'node:http';
import { constants, deflateRawSync, type ZlibOptions } from 'node:zlib';
import { type FrameEncoder, jsonEncoder } from '../rooms/room-message.js';
import type { TransportEncoder } from '../server/peer-adapter.js';
import type { ServerWebSocketLike, WebSocketServerLike } from './ws-types.js';

/** RFC 6455, section 5.2: FIN and opcode text. RSV1 marks compression (RFC 7692). */
const TEXT = 0x81;
const COMPRESSED_TEXT = TEXT | 0x40;
const MAX_HEADER = 10;
/** 00 00 ff ff at the end of a sync flush is left out (RFC 7692, section 7.2.1). */
const FLUSH_TAIL = 4;
/** Compressing longer messages would block the event loop. */
const MAX_COMPRESSED_BYTES = 1_048_576;
/** Default of `ws`, and the windows that raw deflate supports. */
const DEFAULT_THRESHOLD = 1_024;
const MIN_WINDOW_BITS = 9;
const MAX_WINDOW_BITS = 15;

/** Of permessage-deflate, for one window size. */
export interface DeflateSettings {
  /** In bytes; shorter messages are sent uncompressed. */
  readonly threshold: number;
  readonly zlib: ZlibOptions;
}

/**
 * Encodes whole frames, header included: a message to many peers is compressed once, and each peer costs one
 * write. Compression without the context of earlier messages is valid for every receiver.
 */
export class WebSocketFrameEncoder implements TransportEncoder {
  readonly #deflate: DeflateSettings | undefined;

  constructor(deflate?: DeflateSettings) {
    this.#deflate = deflate;
  }

  message(message: Parameters<FrameEncoder['message']>[0]): Buffer {
    return this.encode(jsonEncoder.message(message) as Buffer);
  }

  notice(notice: Parameters<FrameEncoder['notice']>[0]): Buffer {
    return this.encode(jsonEncoder.notice(notice) as Buffer);
  }

  encode(text: string | Buffer): Buffer {
    const payload = typeof text === 'string' ? Buffer.from(text) : text;
    const deflate = this.#deflate;
    if (
      deflate === undefined ||
      payload.length < deflate.threshold ||
      payload.length > MAX_COMPRESSED_BYTES
    ) {
      return encodeFrame(TEXT, payload);
    }
    const compressed = deflateRawSync(payload, { ...deflate.zlib, finishFlush: constants.Z_SYNC_FLUSH });
    return encodeFrame(COMPRESSED_TEXT, compressed.subarray(0, compressed.length - FLUSH_TAIL));
  }
}

function encodeFrame(firstByte: number, payload: Buffer): Buffer {
  const { length } = payload;
  const frame = Buffer.allocUnsafe(length + MAX_HEADER);
  frame[0] = firstByte;
  let header = 2;
  if (length < 126) frame[1] = length;
  else if (length < 65_536) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
    header = 4;
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
    header = 10;
  }
  payload.copy(frame, header);
  return frame.subarray(0, header + length);
}

const plainEncoder = new WebSocketFrameEncoder();

/** Connections with equal parameters share an encoder. */
export class FrameEncoders {
  readonly #server: WebSocketServerLike;
  readonly #byWindow = new Map<number, WebSocketFrameEncoder>();

  constructor(server: WebSocketServerLike) {
    this.#server = server;
  }

  /** `undefined` for unknown extensions or a window that zlib does not support. */
  for(socket: ServerWebSocketLike, request: IncomingMessage): WebSocketFrameEncoder | undefined {
    const { extensions } = socket;
    if (extensions === '') return plainEncoder;
    if (extensions !== 'permessage-deflate') return undefined;
    const options = this.#server.options.perMessageDeflate;
    const settings = typeof options === 'object' && options !== null ? options : {};
    const windowBits = readWindowBits(request, settings.serverMaxWindowBits);
    if (windowBits < MIN_WINDOW_BITS) return undefined;
    let encoder = this.#byWindow.get(windowBits);
    if (encoder === undefined) {
      const { threshold = DEFAULT_THRESHOLD, zlibDeflateOptions } = settings;
      encoder = new WebSocketFrameEncoder({ threshold, zlib: { ...zlibDeflateOptions, windowBits } });
      this.#byWindow.set(windowBits, encoder);
    }
    return encoder;
  }
}

/** The smallest that either side requests: a smaller window than negotiated is always valid. */
function readWindowBits(request: IncomingMessage, serverMaxWindowBits: unknown): number {
  const offers = String(request?.headers['sec-websocket-extensions'] ?? '');
  let bits = typeof serverMaxWindowBits === 'number' ? serverMaxWindowBits : MAX_WINDOW_BITS;
  for (const [, offered] of offers.matchAll(/server_max_window_bits\s*=\s*"?(\d+)/g)) {
    bits = Math.min(bits, Number(offered));
  }
  return bits;
}
