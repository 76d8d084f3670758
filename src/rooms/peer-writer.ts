import type { Position } from '../history/position.js';
import type { Clock, Timer } from '../internal/clock.js';
import { type ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { HandlerError } from '../internal/errors.js';
import { CloseCode } from '../protocol/close-codes.js';
import { EncodedFrame } from './encoded-frame.js';
import { jsonEncoder } from './json-encoder.js';
import type { DetachOptions, SlowPeerPolicy } from './options.js';
import type { FrameEncoder, Peer } from './peer.js';

/** What outlets of one service have in common. */
export interface PeerWriterSettings {
  readonly clock: Clock;
  readonly reporter: ErrorReporter;
  /** How many bytes may wait for a peer. */
  readonly maxBufferedBytes: number;
  readonly slowPeers: SlowPeerPolicy;
  readonly counters: PeerWriterCounters;
}

/** What outlets count. */
export interface PeerWriterCounters {
  /** Messages handed to peers. */
  delivered: number;
  /** Messages that slow peers did not get. */
  dropped: number;
  /** Peers closed because they were too slow. */
  closedSlow: number;
}

/** How often it is looked whether a slow peer has caught up, in ms. */
const DRAIN_CHECK_INTERVAL = 250;
/** Notices are small and few; a peer with so many times `maxBufferedBytes` waiting does not read at all. */
const MAX_BUFFER_FACTOR = 4;

/** The way out to one peer: a slow one costs the others nothing. */
export class PeerWriter {
  readonly #peer: Peer;
  readonly #format: FrameEncoder;
  readonly #settings: PeerWriterSettings;
  /** Called once when the peer has to go. */
  readonly #onClose: (options: DetachOptions) => void;
  #open = true;
  /** Since when messages are dropped, by room; `undefined` when none are. */
  #droppedSince: Map<string | undefined, number> | undefined;
  #timer: Timer | undefined;

  constructor(peer: Peer, settings: PeerWriterSettings, gone: (options: DetachOptions) => void) {
    this.#peer = peer;
    this.#format = peer.format ?? jsonEncoder;
    this.#settings = settings;
    this.#onClose = gone;
  }

  /** False once nothing is sent any more. */
  get open(): boolean {
    return this.#open;
  }

  /** Sends a message of `room`, or what is for the user; a slow peer may not get it. */
  sendMessage(room: string | undefined, message: EncodedFrame): void {
    if (!this.#open) return;
    const { maxBufferedBytes, slowPeers, counters } = this.#settings;
    if (this.#droppedSince !== undefined) this.#checkDrained();
    if (this.#droppedSince !== undefined || this.#bufferedBytes() > maxBufferedBytes) {
      if (!this.#open) return;
      if (slowPeers === 'close') return this.#tooSlow();
      return this.#drop(room);
    }
    counters.delivered++;
    this.#send(message);
  }

  /**
   * Tells how far the peer is in `room` by a message that it does not get; not while it lacks others,
   * which it would then never ask for.
   */
  sendPosition(room: string | undefined, position: Position): void {
    if (this.#droppedSince !== undefined) this.#checkDrained();
    if (this.#droppedSince?.has(room) === true) return;
    const where = room === undefined ? {} : { room };
    this.sendNotice(EncodedFrame.notice({ type: 'position', ...where, position }));
  }

  /** Sends what must not be left out. */
  sendNotice(notice: EncodedFrame): void {
    if (!this.#open) return;
    if (this.#bufferedBytes() > MAX_BUFFER_FACTOR * this.#settings.maxBufferedBytes) return this.#tooSlow();
    this.#send(notice);
  }

  /** What was dropped of `room` is of no interest any more. */
  clearDropped(room: string | undefined): void {
    if (this.#droppedSince?.delete(room) === true && this.#droppedSince.size === 0) this.#caughtUp();
  }

  /** Nothing is sent from now on. */
  end(): void {
    this.#open = false;
    this.#caughtUp();
  }

  /** Ends the connection as well. */
  close(code: number, reason: string, options: DetachOptions = {}): void {
    if (!this.#open) return;
    this.end();
    // First, for a peer may say at once that it is closed, and be detached for that, without options.
    this.#onClose(options);
    try {
      this.#peer.close(code, reason);
    } catch (error) {
      this.#report('a peer failed', error);
    }
  }

  #send(outgoing: EncodedFrame): void {
    if (!this.#open) return;
    let frame: string | Buffer | undefined;
    try {
      frame = outgoing.encode(this.#format);
    } catch (error) {
      // A payload that cannot be read is not the peer's fault.
      return this.#report('a frame cannot be made', error);
    }
    if (frame === undefined) return;
    try {
      this.#peer.send(frame);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** How many bytes wait for the peer; all of them for one that cannot say. */
  #bufferedBytes(): number {
    try {
      return this.#peer.bufferedAmount;
    } catch (error) {
      this.#failed(error);
      return Number.POSITIVE_INFINITY;
    }
  }

  #failed(error: unknown): void {
    this.#report('a peer failed', error);
    this.close(CloseCode.UNAVAILABLE, 'sending failed');
  }

  #tooSlow(): void {
    if (!this.#open) return;
    this.#settings.counters.closedSlow++;
    this.close(CloseCode.SLOW_CONSUMER, 'reads too slowly');
  }

  #drop(room: string | undefined): void {
    const { clock, counters } = this.#settings;
    counters.dropped++;
    if (this.#droppedSince === undefined) {
      this.#droppedSince = new Map();
      this.#watch();
    }
    if (!this.#droppedSince.has(room)) this.#droppedSince.set(room, clock.now());
  }

  /** So that the peer learns of it also where nothing more is said. */
  #watch(): void {
    const look = () => {
      this.#checkDrained();
      if (this.#droppedSince !== undefined) this.#watch();
    };
    this.#timer = this.#settings.clock.after(DRAIN_CHECK_INTERVAL, look, { keepAlive: false });
  }

  /** Tells a peer that has caught up what it has missed. */
  #checkDrained(): void {
    const behind = this.#droppedSince;
    if (behind === undefined || this.#bufferedBytes() > this.#settings.maxBufferedBytes / 2) return;
    this.#caughtUp();
    for (const [room, since] of behind) {
      const where = room === undefined ? {} : { room };
      const reason = 'overflow';
      this.#send(EncodedFrame.notice({ type: 'discontinuity', ...where, reason, since, recovered: false }));
    }
  }

  #caughtUp(): void {
    this.#droppedSince = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #report(what: string, cause: unknown): void {
    const { reporter } = this.#settings;
    reporter.report(new HandlerError(`${what}: ${messageOf(cause)}`, { cause }), { stage: 'peer' });
  }
}
