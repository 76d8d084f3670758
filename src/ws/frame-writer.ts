import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ConnectionPeer } from '../server/connection-peer.js';
import type { WebSocketFrameEncoder } from './frame-encoder.js';
import type { ServerWebSocketLike } from './ws-types.js';

/** `readyState` of an open WebSocket. */
export const OPEN = 1;
/** In bytes. Frames of one tick up to this size are copied into one buffer. */
const MAX_COPIED_BYTES = 65_536;

/** With frames of the current tick. */
let dirty: FrameWriter[] = [];

/**
 * Writes the frames of one tick to the TCP socket in one write. `ws` writes its own frames (ping, pong, close)
 * there as a whole, so frames never interleave.
 */
export class FrameWriter implements ConnectionPeer {
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
   * `undefined` unless the WebSocket writes to `request.socket`: frames then go through `send`. `ws` has no
   * documented way to compare them; its private field is only read.
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

  send(encoded: string | Buffer): void {
    const frame = encoded as Buffer;
    if (this.#frames.length === 0) {
      if (dirty.length === 0) process.nextTick(flushAll);
      dirty.push(this);
    }
    this.#frames.push(frame);
    this.#bytes += frame.length;
  }

  /** `ws` writes the ping at once; earlier frames must not wait for the end of the tick. */
  ping(data?: string): void {
    this.flush();
    this.#socket.ping(data);
  }

  close(code: number, reason: string): void {
    this.flush();
    this.#socket.close(code, reason);
  }

  terminate(): void {
    this.#socket.terminate();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  flush(): void {
    const frames = this.#frames;
    const bytes = this.#bytes;
    if (frames.length === 0) return;
    this.#frames = [];
    this.#bytes = 0;
    const stream = this.#stream;
    // No frame may follow a close frame, which `ws` sends as reply to the client's.
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
