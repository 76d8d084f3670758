import type { Clock, Timer } from '../internal/clock.js';
import type { ServerFrame } from '../protocol/frames.js';
import type { Peer } from '../rooms/peer-writer.js';
import { type FrameEncoder, jsonEncoder } from '../rooms/room-message.js';
import { type FrameWriter, OPEN } from './frame-writer.js';
import type { ServerWebSocketLike } from './ws-types.js';

/** Compressed messages would wait for zlib inside `ws`, where they count as unread by the peer. */
const TEXT_FRAME = { binary: false, compress: false };
/** Bytes of text that fit into a close frame (RFC 6455, section 5.5). */
const MAX_REASON_BYTES = 123;
/** Limit of the closing handshake, in ms: bounds how long a slow peer's buffers are kept. */
const CLOSE_TIMEOUT = 5_000;

/** Frames sent before `welcome` are held and follow it. */
export class WebSocketPeer implements Peer {
  readonly #socket: ServerWebSocketLike;
  readonly #clock: Clock;
  readonly #writer: FrameWriter | undefined;
  #held: (string | Buffer)[] | undefined = [];
  #heldBytes = 0;
  #closed = false;
  #closeDeadline: Timer | undefined;

  /** Without `writer`, `ws` sends the frames. */
  constructor(socket: ServerWebSocketLike, clock: Clock, writer?: FrameWriter) {
    this.#socket = socket;
    this.#clock = clock;
    this.#writer = writer;
  }

  get bufferedAmount(): number {
    return (this.#writer ?? this.#socket).bufferedAmount + this.#heldBytes;
  }

  get format(): FrameEncoder {
    return this.#writer?.encoder ?? jsonEncoder;
  }

  /** True if a frame waits for `welcome`. */
  get hasHeldFrames(): boolean {
    return this.#heldBytes > 0;
  }

  /** After `close`, nothing is sent, and incoming messages are ignored. */
  get closed(): boolean {
    return this.#closed;
  }

  send(frame: string | Buffer): void {
    if (this.#closed) return;
    if (this.#held === undefined) return this.#write(frame);
    this.#held.push(frame);
    this.#heldBytes += frame.length;
  }

  sendFrame(frame: ServerFrame): void {
    if (this.#socket.readyState !== OPEN) return;
    const text = JSON.stringify(frame);
    this.send(this.#writer === undefined ? text : this.#writer.encoder.encode(text));
  }

  /** Sends `frame`, then the held frames. */
  welcome(frame: ServerFrame): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#heldBytes = 0;
    this.sendFrame(frame);
    for (const each of held) this.send(each);
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#held = undefined;
    this.#heldBytes = 0;
    // Cuts off a client that does not complete the closing handshake, which frees its buffers.
    const onDeadline = () => this.#socket.terminate();
    this.#closeDeadline = this.#clock.after(CLOSE_TIMEOUT, onDeadline, { keepAlive: false });
    this.#writer?.flush();
    try {
      this.#socket.close(code, truncateReason(reason));
    } catch (error) {
      // `ws` throws for a code that cannot be sent.
      this.#socket.terminate();
      throw error;
    }
    // While reading is paused, the client's close frame would not be read.
    this.#socket.resume();
  }

  #write(frame: string | Buffer): void {
    if (this.#writer === undefined) return this.#socket.send(frame, TEXT_FRAME);
    this.#writer.write(frame as Buffer);
  }

  end(): void {
    this.#closed = true;
    this.#held = undefined;
    this.#closeDeadline?.cancel();
  }
}

function truncateReason(reason: string): string {
  let text = reason.slice(0, MAX_REASON_BYTES);
  while (Buffer.byteLength(text) > MAX_REASON_BYTES) text = text.slice(0, -1);
  return text;
}
