import type { Clock, Timer } from '../internal/clock.js';
import type { ServerFrame } from '../protocol/frames.js';
import type { Peer } from '../rooms/peer-writer.js';
import { type FrameEncoder, jsonEncoder } from '../rooms/room-message.js';
import { type FrameWriter, OPEN } from './frame-writer.js';
import type { ServerWebSocketLike } from './ws-types.js';

/** Compressed messages would wait for zlib inside `ws`, where they count as unread. */
const TEXT_FRAME = { binary: false, compress: false };
/** RFC 6455, section 5.5. */
const MAX_REASON_BYTES = 123;
/** In ms: bounds how long a slow peer's buffers are kept. */
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
  /** Callbacks of `confirm`, by the number in their ping. */
  readonly #unconfirmed = new Map<number, () => void>();
  #pings = 0;

  /** Without `writer`, `ws` sends the frames. */
  constructor(socket: ServerWebSocketLike, clock: Clock, writer?: FrameWriter) {
    this.#socket = socket;
    this.#clock = clock;
    this.#writer = writer;
    socket.on('pong', (data: Buffer) => this.#onPong(String(data ?? '')));
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

  /** From `close` on, nothing is sent, and incoming messages are ignored. */
  get closed(): boolean {
    return this.#closed;
  }

  send(frame: string | Buffer): void {
    if (this.#closed) return;
    if (this.#held === undefined) return this.#write(frame);
    this.#held.push(frame);
    this.#heldBytes += frame.length;
  }

  confirm(done: () => void): void {
    if (this.#closed || this.#socket.readyState !== OPEN) return;
    // `ws` writes the ping at once; earlier frames must not wait for the end of the tick.
    this.#writer?.flush();
    this.#unconfirmed.set(++this.#pings, done);
    this.#socket.ping(String(this.#pings));
  }

  /** Sends a frame to this connection only. */
  sendFrame(frame: ServerFrame): void {
    if (this.#socket.readyState !== OPEN) return;
    const text = JSON.stringify(frame);
    this.send(this.#writer === undefined ? text : this.#writer.encoder.encode(text));
  }

  /** Sends the first frame, then the held ones. */
  welcome(frame: ServerFrame): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#heldBytes = 0;
    this.sendFrame(frame);
    for (const each of held) this.send(each);
  }

  #onPong(data: string): void {
    // A client may answer only the latest ping (RFC 6455, section 5.5.3), which may be a heartbeat's.
    const latest = data === '' ? this.#pings : Number(data);
    for (const [ping, done] of this.#unconfirmed) {
      if (!(ping <= latest)) return;
      this.#unconfirmed.delete(ping);
      done();
    }
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#unconfirmed.clear();
    this.#held = undefined;
    this.#heldBytes = 0;
    // A client that does not complete the handshake is cut off, and its buffers are freed.
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
    // While paused, the client's close frame would never be read.
    this.#socket.resume();
  }

  #write(frame: string | Buffer): void {
    if (this.#writer === undefined) return this.#socket.send(frame, TEXT_FRAME);
    this.#writer.write(frame as Buffer);
  }

  end(): void {
    this.#closed = true;
    this.#held = undefined;
    this.#unconfirmed.clear();
    this.#closeDeadline?.cancel();
  }
}

function truncateReason(reason: string): string {
  let text = reason.slice(0, MAX_REASON_BYTES);
  while (Buffer.byteLength(text) > MAX_REASON_BYTES) text = text.slice(0, -1);
  return text;
}
