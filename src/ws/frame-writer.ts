import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocketFrameEncoder } from './frame-encoder.js';
import type { ServerWebSocketLike } from './ws-types.js';

/** The `readyState` of an open WebSocket. */
export const OPEN = 1;
/** Frames of one tick up to this many bytes are copied into one buffer; more are written as they are. */
const MAX_COPIED_BYTES = 65_536;

/** Writers with frames of the current tick. */
let dirty: FrameWriter[] = [];

/**
 * Writes encoded frames to the TCP socket of a WebSocket: those of one tick in one write. `ws` writes its own frames
 * (ping, pong, close) to the same socket, each as a whole, so frames never interleave.
 */
export class FrameWriter {
  readonly encoder: WebSocketFrameEncoder;
  readonly #socket: ServerWebSocketLike;
  readonly #stream: Duplex;
  #frames: Buffer[] = [];
  #bytes = 0;

  private constructor(socket: ServerWebSocketLike, stream: Duplex, encoder: WebSocketFrameEncoder) {
    this.#socket = socket;
    this.#stream = stream;
    this.encoder = encoder;
  }

  /**
   * Returns `undefined` unless `request.socket` is the very stream that the WebSocket writes to. `ws` documents
   * nothing that tells, so its private field is read for the comparison only; otherwise frames go through `send`.
   */
  static create(
    socket: ServerWebSocketLike,
    request: IncomingMessage,
    encoder: WebSocketFrameEncoder | undefined,
  ): FrameWriter | undefined {
    const stream: Duplex | undefined = request?.socket;
    const { _socket } = socket as { _socket?: unknown };
    if (encoder === undefined || stream === undefined || stream !== _socket) return undefined;
    if (typeof stream.writableLength !== 'number' || typeof stream.cork !== 'function') return undefined;
    return new FrameWriter(socket, stream, encoder);
  }

  /** Bytes that the peer has not taken. */
  get bufferedAmount(): number {
    return this.#stream.writableLength + this.#bytes;
  }

  /** Writes a frame at the end of the tick. */
  write(frame: Buffer): void {
    if (this.#frames.length === 0) {
      if (dirty.length === 0) process.nextTick(flushAll);
      dirty.push(this);
    }
    this.#frames.push(frame);
    this.#bytes += frame.length;
  }

  /** Writes the frames of this tick now; before a close frame, for example. */
  flush(): void {
    const frames = this.#frames;
    const bytes = this.#bytes;
    if (frames.length === 0) return;
    this.#frames = [];
    this.#bytes = 0;
    const stream = this.#stream;
    // After a close frame of `ws`, as reply to the client's, no other frame may follow.
    if (this.#socket.readyState !== OPEN || stream.destroyed || !stream.writable) return;
    if (frames.length === 1) stream.write(frames[0]);
    else if (bytes <= MAX_COPIED_BYTES) stream.write(Buffer.concat(frames, bytes));
    else {
      stream.cork();
      for (const frame of frames) stream.write(frame);
      stream.uncork();
    }
  }
}

function flushAll(): void {
  const writers = dirty;
  dirty = [];
  for (const writer of writers) writer.flush();
}
