import type { Position } from '../history/position.js';
import { captureAsyncContext } from '../internal/async-context.js';
import { type ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { HandlerError } from '../internal/errors.js';
import type { ViewerFilter } from '../internal/viewer-filter.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { Backpressure } from '../pubsub/backpressure.js';
import { CatchUpPacer, type PacedReceiver } from './catch-up-pacer.js';
import type { DetachOptions } from './options.js';
import { EncodedFrame, type FrameEncoder, jsonEncoder } from './room-message.js';
import { SlowConsumer, type SlowConsumerPeer, type SlowConsumerSettings } from './slow-consumer.js';

/** A connection to a user on any transport: a WebSocket, an event stream, a test's array. */
export interface Peer {
  /** Called for every message with a frame of `format`: it must neither wait nor parse. */
  send(frame: string | Buffer): void;
  /** `code`: one of the protocol's close codes. */
  close(code: number, reason: string): void;
  /** Bytes that wait to be sent; a slow consumer is detected by them. */
  readonly bufferedAmount: number;
  /**
   * Calls `done` when the peer has received all earlier frames. Paces lists of members and missed
   * messages; without it `bufferedAmount` does, which does not include the network. @default none
   */
  readonly confirm?: ((done: () => void) => void) | undefined;
  /** Encoder of the frames for this peer. @default the JSON of docs/protocol.md, as Buffers */
  readonly format?: FrameEncoder;
}

/** Shared by all writers of a service. */
export interface PeerWriterSettings extends SlowConsumerSettings {
  readonly reporter: ErrorReporter;
  readonly counters: PeerWriterCounters;
}

export interface PeerWriterCounters {
  delivered: number;
  dropped: number;
  closedSlow: number;
}

export interface PeerWriterOwner {
  /** The writer has closed the peer. Called once. */
  detach(options: DetachOptions): unknown;
}

/**
 * Sends frames to one peer; a slow peer does not delay the others. Missed messages are paced by what the peer takes, and
 * live messages are not.
 */
export class PeerWriter implements PacedReceiver, Backpressure, SlowConsumerPeer {
  readonly #peer: Peer;
  readonly #encoder: FrameEncoder;
  readonly #settings: PeerWriterSettings;
  readonly #owner: PeerWriterOwner;
  /** For notices: a message's subscription runs in that context. */
  readonly #runInContext = captureAsyncContext();
  /** Of the first message that finds too much in the buffer. */
  #slowConsumer: SlowConsumer | undefined;
  /** Of the first catch-up. */
  #pacer: CatchUpPacer | undefined;
  #open = true;
  #sentBytes = 0;

  constructor(
    peer: Peer,
    settings: PeerWriterSettings,
    owner: PeerWriterOwner,
    /** `undefined`: the peer may see every user. */
    readonly filter?: ViewerFilter,
  ) {
    this.#peer = peer;
    this.#encoder = peer.format ?? jsonEncoder;
    this.#settings = settings;
    this.#owner = owner;
  }

  get full(): boolean {
    return this.#catchUpPacer.full;
  }

  drained(): Promise<void> {
    return this.#catchUpPacer.drained();
  }

  get pageBytes(): number {
    return this.#catchUpPacer.pageBytes;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  onStuck(): void {
    this.onTooSlow();
  }

  onTooSlow(): void {
    if (!this.#open) return;
    this.#settings.counters.closedSlow++;
    this.close(CloseCode.SLOW_CONSUMER, 'reads too slowly');
  }

  onRecovered(room: string | undefined, since: number): void {
    const roomField = room === undefined ? {} : { room };
    const reason = 'overflow';
    this.#send(EncodedFrame.notice({ type: 'discontinuity', ...roomField, reason, since, recovered: false }));
  }

  /** False after `end` or `close`. */
  get open(): boolean {
    return this.#open;
  }

  /** Infinity if `bufferedAmount` throws, which closes the peer. */
  get bufferedBytes(): number {
    try {
      return this.#peer.bufferedAmount;
    } catch (error) {
      if (this.#open) this.#closeFailed(error);
      return Number.POSITIVE_INFINITY;
    }
  }

  /** Calls `done` at once for a peer without `confirm`. */
  confirm(done: () => void): void {
    if (!this.#open) return;
    if (this.#peer.confirm === undefined) return done();
    try {
      this.#peer.confirm(done);
    } catch (error) {
      this.#closeFailed(error);
    }
  }

  /** Without `room`: a message to the user. A slow peer may miss it. */
  sendMessage(room: string | undefined, frame: EncodedFrame): void {
    if (!this.#open) return;
    const { counters } = this.#settings;
    const decision = this.#keepsUp ? 'send' : this.#slow.admit(room);
    if (decision === 'drop') counters.dropped++;
    if (decision !== 'send') return;
    counters.delivered++;
    this.#send(frame);
  }

  /**
   * For a message that the peer does not receive. Not sent while messages are dropped: the peer would skip
   * those when it recovers.
   */
  sendPosition(room: string | undefined, position: Position): void {
    if (this.#slowConsumer?.isDropping(room) === true) return;
    const roomField = room === undefined ? {} : { room };
    this.sendNotice(EncodedFrame.notice({ type: 'position', ...roomField, position }));
  }

  /** Never dropped; a peer that does not read at all is closed instead. */
  sendNotice(frame: EncodedFrame): void {
    if (!this.#open || !(this.#keepsUp || this.#slow.admitNotice())) return;
    this.#runInContext(() => this.#send(frame));
  }

  /** The peer has left the room. */
  clearDropped(room: string | undefined): void {
    this.#slowConsumer?.clear(room);
  }

  /** The connection stays open. */
  end(): void {
    this.#open = false;
    this.#slowConsumer?.stop();
    this.#pacer?.stop();
  }

  close(code: number, reason: string, options: DetachOptions = {}): void {
    if (!this.#open) return;
    this.end();
    // `peer.close` may detach synchronously, without these options.
    this.#owner.detach(options);
    try {
      this.#runInContext(() => this.#peer.close(code, reason));
    } catch (error) {
      this.#report('a peer failed', error);
    }
  }

  /** The peer has never been slow, and is not now. */
  get #keepsUp(): boolean {
    return this.#slowConsumer === undefined && this.bufferedBytes <= this.#settings.maxBufferedBytes;
  }

  get #slow(): SlowConsumer {
    this.#slowConsumer ??= new SlowConsumer(this.#settings, this);
    return this.#slowConsumer;
  }

  get #catchUpPacer(): CatchUpPacer {
    const { clock, maxBufferedBytes } = this.#settings;
    this.#pacer ??= new CatchUpPacer(this, clock, maxBufferedBytes);
    return this.#pacer;
  }

  #send(encoded: EncodedFrame): void {
    if (!this.#open) return;
    let frame: string | Buffer | undefined;
    try {
      frame = encoded.encode(this.#encoder);
    } catch (error) {
      // The payload is at fault, not the peer.
      return this.#report('a frame cannot be encoded', error);
    }
    if (frame === undefined) return;
    this.#sentBytes += frame.length;
    try {
      this.#peer.send(frame);
    } catch (error) {
      this.#closeFailed(error);
    }
  }

  #closeFailed(error: unknown): void {
    this.#report('a peer failed', error);
    this.close(CloseCode.UNAVAILABLE, 'sending failed');
  }

  #report(problem: string, cause: unknown): void {
    const { reporter } = this.#settings;
    reporter.report(new HandlerError(`${problem}: ${messageOf(cause)}`, { cause }), { stage: 'peer' });
  }
}
