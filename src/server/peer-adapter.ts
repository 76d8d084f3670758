import type { Clock, Timer } from '../internal/clock.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { ServerFrame } from '../protocol/frames.js';
import type { SharedFrame } from '../protocol/shared-connection.js';
import type { Peer } from '../rooms/peer-writer.js';
import { type FrameEncoder, textEncoder } from '../rooms/room-message.js';
import type { ConnectionPeer } from './connection-peer.js';

/** Encodes the frames of a transport. Peers with the same encoder share encoded messages. */
export interface TransportEncoder extends FrameEncoder {
  /** Encodes the JSON of one frame. */
  encode(text: string): string | Buffer;
}

/** For transports that send text: every {@link ConnectionPeer}. */
export const plainEncoder: TransportEncoder = { ...textEncoder, encode: (text) => text };

/** `readyState` of an open WebSocket. */
const OPEN = 1;
/** RFC 6455, section 5.5. */
const MAX_REASON_BYTES = 123;
/** In ms: bounds how long a slow peer's buffers are kept. */
const CLOSE_TIMEOUT = 5_000;
/** "Message too big", RFC 6455, section 7.4.1. */
export const MESSAGE_TOO_BIG = 1009;

/** The connection of a peer. */
export interface PeerOwner {
  /** The closing handshake takes too long. */
  terminate(): void;
}

/** The room service's peer on a transport. Frames sent before `welcome` are held and follow it. */
export class PeerAdapter implements Peer {
  readonly format: TransportEncoder;
  readonly #transport: ConnectionPeer;
  readonly #clock: Clock;
  readonly #owner: PeerOwner;
  #held: (string | Buffer)[] | undefined = [];
  #heldBytes = 0;
  /** Used for a transport that only reports when its buffer is full. */
  #undrainedBytes = 0;
  /** By the clock's `monotonic`; only without pings. */
  #lastSent = 0;
  #closed = false;
  #closeDeadline: Timer | undefined;
  /** Callbacks of `confirm`, by the number in their ping. */
  #unconfirmed: Map<number, () => void> | undefined;
  #pings = 0;

  /** The transport sends what the encoder returns. */
  constructor(transport: ConnectionPeer, encoder: TransportEncoder, clock: Clock, owner: PeerOwner) {
    this.#transport = transport;
    this.format = encoder;
    this.#clock = clock;
    this.#owner = owner;
  }

  get bufferedAmount(): number {
    const transport = this.#transport;
    const { bufferedAmount } = transport;
    const bytes =
      typeof bufferedAmount === 'number'
        ? bufferedAmount
        : (transport.getBufferedAmount?.() ?? this.#undrainedBytes);
    return bytes + this.#heldBytes;
  }

  /** True if a frame waits for `welcome`. */
  get hasHeldFrames(): boolean {
    return this.#heldBytes > 0;
  }

  /** From `close` on, nothing is sent, and incoming messages are ignored. */
  get closed(): boolean {
    return this.#closed;
  }

  /** False: the client must show by itself that it is alive. */
  get canPing(): boolean {
    return this.#transport.ping !== undefined;
  }

  /** Time of the last frame, by the clock's `monotonic`; only without pings. */
  get lastSent(): number {
    return this.#lastSent;
  }

  /** Without pings `bufferedAmount` paces lists of members and missed messages. */
  get confirm(): ((done: () => void) => void) | undefined {
    return this.canPing ? this.#confirm : undefined;
  }

  send(frame: string | Buffer): void {
    if (this.#closed) return;
    if (this.#held === undefined) return this.#write(frame);
    this.#held.push(frame);
    this.#heldBytes += frame.length;
  }

  /** Sends a frame to this connection only. */
  sendFrame(frame: ServerFrame | SharedFrame): void {
    this.send(this.format.encode(JSON.stringify(frame)));
  }

  /** Sends the first frame, then the held ones. */
  welcome(frame: ServerFrame | SharedFrame): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#heldBytes = 0;
    this.sendFrame(frame);
    for (const each of held) this.send(each);
  }

  ping(): void {
    if (this.#isOpen()) this.#transport.ping?.();
  }

  /** `data`: of the ping that the client answers. */
  onPong(data: string): void {
    // A client may answer only the latest ping (RFC 6455, section 5.5.3), which may be a heartbeat's.
    const latest = data === '' ? this.#pings : Number(data);
    for (const [ping, done] of this.#unconfirmed ?? []) {
      if (!(ping <= latest)) return;
      this.#unconfirmed?.delete(ping);
      done();
    }
  }

  /** The transport's buffer is empty. */
  onDrain(): void {
    this.#undrainedBytes = 0;
  }

  pause(): void {
    this.#transport.pause?.();
  }

  resume(): void {
    this.#transport.resume?.();
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#unconfirmed = undefined;
    this.#held = undefined;
    this.#heldBytes = 0;
    // A client that does not complete the handshake is cut off, and its buffers are freed.
    const onDeadline = () => this.#owner.terminate();
    this.#closeDeadline = this.#clock.after(CLOSE_TIMEOUT, onDeadline, { keepAlive: false });
    try {
      this.#transport.close(code, truncateReason(reason));
    } catch (error) {
      // For example a code that the transport cannot send.
      this.#owner.terminate();
      throw error;
    }
    // While paused, the client's close frame would never be read.
    this.#transport.resume?.();
  }

  /**
   * Without a closing handshake. For rollcall the connection ends at once, even if the transport reports its end
   * later.
   */
  terminate(): void {
    this.end();
    const transport = this.#transport;
    if (transport.terminate === undefined) transport.close(CloseCode.UNAVAILABLE, 'not available now');
    else transport.terminate();
  }

  end(): void {
    this.#closed = true;
    this.#held = undefined;
    this.#unconfirmed = undefined;
    this.#closeDeadline?.cancel();
  }

  #isOpen(): boolean {
    const { readyState } = this.#transport;
    return !this.#closed && (readyState === undefined || readyState === OPEN);
  }

  #confirm(done: () => void): void {
    if (!this.#isOpen()) return;
    this.#unconfirmed ??= new Map();
    this.#unconfirmed.set(++this.#pings, done);
    this.#transport.ping?.(String(this.#pings));
  }

  #write(frame: string | Buffer): void {
    if (!this.#isOpen()) return;
    if (!this.canPing) this.#lastSent = this.#clock.monotonic();
    // The encoder and its transport belong together.
    const accepted = this.#transport.send(frame as string);
    if (accepted === false || this.#undrainedBytes > 0) this.#undrainedBytes += frame.length;
  }
}

function truncateReason(reason: string): string {
  let text = reason.slice(0, MAX_REASON_BYTES);
  while (Buffer.byteLength(text) > MAX_REASON_BYTES) text = text.slice(0, -1);
  return text;
}
