import type { Clock, Timer } from '../internal/clock.js';
import type { ServerFrame } from '../protocol/frames.js';
import type { Peer } from '../rooms/peer.js';
import type { ServerWebSocketLike } from './ws-types.js';

/** The `readyState` of a WebSocket that is open. */
export const OPEN = 1;
const TEXT_FRAME = { binary: false };
/** A close frame holds so many bytes of text. */
const MAX_REASON_BYTES = 123;
/** For how long, in ms, the closing handshake may take: a slow peer's buffers are kept no longer. */
const CLOSE_TIMEOUT = 5_000;

/** A WebSocket as a peer. What it is sent before `welcome` comes after it. */
export class WebSocketPeer implements Peer {
  readonly #socket: ServerWebSocketLike;
  readonly #clock: Clock;
  #held: (string | Buffer)[] | undefined = [];
  #heldBytes = 0;
  #closed = false;
  #deadline: Timer | undefined;

  constructor(socket: ServerWebSocketLike, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount + this.#heldBytes;
  }

  /** Something waits for `welcome`. */
  get hasHeldFrames(): boolean {
    return this.#heldBytes > 0;
  }

  /** True from `close` on: nothing is sent any more, and nothing that comes counts. */
  get closed(): boolean {
    return this.#closed;
  }

  send(frame: string | Buffer): void {
    if (this.#closed) return;
    if (this.#held === undefined) return this.#socket.send(frame, TEXT_FRAME);
    this.#held.push(frame);
    this.#heldBytes += frame.length;
  }

  /** Sends a frame of this connection's own. */
  sendFrame(frame: ServerFrame): void {
    if (this.#socket.readyState === OPEN) this.send(JSON.stringify(frame));
  }

  /** Sends the first frame, and then what was held back. */
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
    // Whoever does not answer by then is cut off, and what waits for him is forgotten.
    this.#deadline = this.#clock.after(CLOSE_TIMEOUT, () => this.#socket.terminate(), { keepAlive: false });
    try {
      this.#socket.close(code, truncateReason(reason));
    } catch (error) {
      // For a code that cannot be sent.
      this.#socket.terminate();
      throw error;
    }
    // The answer must not wait behind what is not read any more.
    this.#socket.resume();
  }

  /** The connection is gone. */
  end(): void {
    this.#closed = true;
    this.#held = undefined;
    this.#deadline?.cancel();
  }
}

function truncateReason(reason: string): string {
  let told = reason.slice(0, MAX_REASON_BYTES);
  while (Buffer.byteLength(told) > MAX_REASON_BYTES) told = told.slice(0, -1);
  return told;
}
