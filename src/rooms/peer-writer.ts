import type { Position } from '../history/position.js';
import type { Clock, Timer } from '../internal/clock.js';
import { type ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { HandlerError } from '../internal/errors.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { DetachOptions, SlowPeerPolicy } from './options.js';
import { EncodedFrame, type FrameEncoder, jsonEncoder } from './room-message.js';

/** One connection of a user on any transport: a WebSocket, an event stream, an array in a test. */
export interface Peer {
  /** Sends a frame, encoded by `format`. It runs for every message, so it must neither wait nor parse. */
  send(frame: string | Buffer): void;
  /** Ends the connection; `code` is a close code of the protocol. */
  close(code: number, reason: string): void;
  /** Bytes that wait to be sent; too many mark a slow consumer. */
  readonly bufferedAmount: number;
  /** Encoder of the frames for this peer. @default the JSON of docs/protocol.md, as Buffers */
  readonly format?: FrameEncoder;
}

export interface PeerWriterSettings {
  readonly clock: Clock;
  readonly reporter: ErrorReporter;
  readonly maxBufferedBytes: number;
  readonly slowPeers: SlowPeerPolicy;
  readonly counters: PeerWriterCounters;
}

export interface PeerWriterCounters {
  delivered: number;
  /** Messages that slow peers did not receive. */
  dropped: number;
  closedSlow: number;
}

/** Interval in ms at which a slow peer's buffer is checked. */
const DRAIN_CHECK_INTERVAL = 250;
/** With this many times `maxBufferedBytes` waiting, a peer does not read at all; either policy closes it. */
const MAX_BUFFER_FACTOR = 4;

/** Sends frames to one peer, and applies the slow-peer policy, so that a slow peer does not delay others. */
export class PeerWriter {
  readonly #peer: Peer;
  readonly #encoder: FrameEncoder;
  readonly #settings: PeerWriterSettings;
  readonly #onClose: (options: DetachOptions) => void;
  #open = true;
  /** Time of the first dropped message by room; `undefined` while none are dropped. */
  #droppedSince: Map<string | undefined, number> | undefined;
  #timer: Timer | undefined;

  /** `onClose` runs once, when the writer closes the peer. */
  constructor(peer: Peer, settings: PeerWriterSettings, onClose: (options: DetachOptions) => void) {
    this.#peer = peer;
    this.#encoder = peer.format ?? jsonEncoder;
    this.#settings = settings;
    this.#onClose = onClose;
  }

  /** False after `end` or `close`. */
  get open(): boolean {
    return this.#open;
  }

  /** `room` is `undefined` for a message to the user. A slow peer may not receive it. */
  sendMessage(room: string | undefined, frame: EncodedFrame): void {
    if (!this.#open) return;
    const { maxBufferedBytes, slowPeers, counters } = this.#settings;
    if (this.#droppedSince !== undefined) this.#checkDrained();
    const buffered = this.#bufferedBytes();
    if (this.#droppedSince !== undefined || buffered > maxBufferedBytes) {
      if (!this.#open) return;
      if (slowPeers === 'close' || buffered > MAX_BUFFER_FACTOR * maxBufferedBytes) return this.#closeSlow();
      return this.#drop(room);
    }
    counters.delivered++;
    this.#send(frame);
  }

  /**
   * Sends the position of a message that the peer does not receive, unless messages before it were dropped: the
   * peer would skip them when it recovers.
   */
  sendPosition(room: string | undefined, position: Position): void {
    if (this.#droppedSince !== undefined) this.#checkDrained();
    if (this.#droppedSince?.has(room) === true) return;
    const roomField = room === undefined ? {} : { room };
    this.sendNotice(EncodedFrame.notice({ type: 'position', ...roomField, position }));
  }

  /** Sends a frame that must not be dropped; closes a peer that does not read at all. */
  sendNotice(frame: EncodedFrame): void {
    if (!this.#open) return;
    if (this.#bufferedBytes() > MAX_BUFFER_FACTOR * this.#settings.maxBufferedBytes) return this.#closeSlow();
    this.#send(frame);
  }

  /** The peer has left the room, so its dropped messages no longer matter. */
  clearDropped(room: string | undefined): void {
    if (this.#droppedSince?.delete(room) === true && this.#droppedSince.size === 0) this.#stopDropping();
  }

  end(): void {
    this.#open = false;
    this.#stopDropping();
  }

  close(code: number, reason: string, options: DetachOptions = {}): void {
    if (!this.#open) return;
    this.end();
    // Before `peer.close`, which may report the end synchronously and detach without these options.
    this.#onClose(options);
    try {
      this.#peer.close(code, reason);
    } catch (error) {
      this.#report('a peer failed', error);
    }
  }

  #send(encoded: EncodedFrame): void {
    if (!this.#open) return;
    let frame: string | Buffer | undefined;
    try {
      frame = encoded.encode(this.#encoder);
    } catch (error) {
      // The payload is at fault, not the peer: keep it open.
      return this.#report('a frame cannot be encoded', error);
    }
    if (frame === undefined) return;
    try {
      this.#peer.send(frame);
    } catch (error) {
      this.#closeFailed(error);
    }
  }

  /** Closes a peer whose `bufferedAmount` throws, and returns Infinity. */
  #bufferedBytes(): number {
    try {
      return this.#peer.bufferedAmount;
    } catch (error) {
      this.#closeFailed(error);
      return Number.POSITIVE_INFINITY;
    }
  }

  #closeFailed(error: unknown): void {
    this.#report('a peer failed', error);
    this.close(CloseCode.UNAVAILABLE, 'sending failed');
  }

  #closeSlow(): void {
    if (!this.#open) return;
    this.#settings.counters.closedSlow++;
    this.close(CloseCode.SLOW_CONSUMER, 'reads too slowly');
  }

  #drop(room: string | undefined): void {
    const { clock, counters } = this.#settings;
    counters.dropped++;
    if (this.#droppedSince === undefined) {
      this.#droppedSince = new Map();
      this.#scheduleDrainCheck();
    }
    if (!this.#droppedSince.has(room)) this.#droppedSince.set(room, clock.now());
  }

  /** Without a timer, a peer in quiet rooms would not be notified of the gap. */
  #scheduleDrainCheck(): void {
    const check = () => {
      this.#checkDrained();
      if (this.#droppedSince !== undefined) this.#scheduleDrainCheck();
    };
    this.#timer = this.#settings.clock.after(DRAIN_CHECK_INTERVAL, check, { keepAlive: false });
  }

  /** Once half of the buffer has drained, sends a discontinuity for every room with dropped messages. */
  #checkDrained(): void {
    const { maxBufferedBytes } = this.#settings;
    const dropped = this.#droppedSince;
    const buffered = this.#bufferedBytes();
    if (buffered > MAX_BUFFER_FACTOR * maxBufferedBytes) return this.#closeSlow();
    if (dropped === undefined || buffered > maxBufferedBytes / 2) return;
    this.#stopDropping();
    for (const [room, since] of dropped) {
      const roomField = room === undefined ? {} : { room };
      const reason = 'overflow';
      this.#send(
        EncodedFrame.notice({ type: 'discontinuity', ...roomField, reason, since, recovered: false }),
      );
    }
  }

  #stopDropping(): void {
    this.#droppedSince = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #report(problem: string, cause: unknown): void {
    const { reporter } = this.#settings;
    reporter.report(new HandlerError(`${problem}: ${messageOf(cause)}`, { cause }), { stage: 'peer' });
  }
}
