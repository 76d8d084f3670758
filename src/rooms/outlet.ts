import type { Position } from '../history/position.js';
import type { Clock, Timer } from '../internal/clock.js';
import { type ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { HandlerError } from '../internal/errors.js';
import { CloseCode } from '../protocol/close-codes.js';
import { jsonFormat } from './json-format.js';
import type { DetachOptions, SlowPeers } from './options.js';
import { type FrameFormat, Outgoing, type Peer } from './peer.js';

/** What outlets of one service have in common. */
export interface OutletSettings {
  readonly clock: Clock;
  readonly reporter: ErrorReporter;
  /** How many bytes may wait for a peer. */
  readonly maxBuffered: number;
  readonly slowPeers: SlowPeers;
  readonly counters: OutletCounters;
}

/** What outlets count. */
export interface OutletCounters {
  /** Messages handed to peers. */
  delivered: number;
  /** Messages that slow peers did not get. */
  dropped: number;
  /** Peers closed because they were too slow. */
  closedSlow: number;
}

/** How often it is looked whether a slow peer has caught up, in ms. */
const LOOK_AGAIN = 250;
/** Notices are small and few; a peer with so many times `maxBuffered` waiting does not read at all. */
const HOPELESS = 4;

/** The way out to one peer: a slow one costs the others nothing. */
export class Outlet {
  readonly #peer: Peer;
  readonly #format: FrameFormat;
  readonly #settings: OutletSettings;
  /** Called once when the peer has to go. */
  readonly #gone: (options: DetachOptions) => void;
  #open = true;
  /** Since when messages are dropped, by room; `undefined` when none are. */
  #behind: Map<string | undefined, number> | undefined;
  #timer: Timer | undefined;

  constructor(peer: Peer, settings: OutletSettings, gone: (options: DetachOptions) => void) {
    this.#peer = peer;
    this.#format = peer.format ?? jsonFormat;
    this.#settings = settings;
    this.#gone = gone;
  }

  /** False once nothing is sent any more. */
  get open(): boolean {
    return this.#open;
  }

  /** Sends a message of `room`, or what is for the user; a slow peer may not get it. */
  message(room: string | undefined, message: Outgoing): void {
    if (!this.#open) return;
    const { maxBuffered, slowPeers, counters } = this.#settings;
    if (this.#behind !== undefined) this.#lookAgain();
    if (this.#behind !== undefined || this.#waiting() > maxBuffered) {
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
  position(room: string | undefined, position: Position): void {
    if (this.#behind !== undefined) this.#lookAgain();
    if (this.#behind?.has(room) === true) return;
    const where = room === undefined ? {} : { room };
    this.notice(Outgoing.notice({ type: 'position', ...where, position }));
  }

  /** Sends what must not be left out. */
  notice(notice: Outgoing): void {
    if (!this.#open) return;
    if (this.#waiting() > HOPELESS * this.#settings.maxBuffered) return this.#tooSlow();
    this.#send(notice);
  }

  /** What was dropped of `room` is of no interest any more. */
  forget(room: string | undefined): void {
    if (this.#behind?.delete(room) === true && this.#behind.size === 0) this.#caughtUp();
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
    this.#gone(options);
    try {
      this.#peer.close(code, reason);
    } catch (error) {
      this.#report('a peer failed', error);
    }
  }

  #send(outgoing: Outgoing): void {
    if (!this.#open) return;
    let frame: string | Buffer | undefined;
    try {
      frame = outgoing.in(this.#format);
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
  #waiting(): number {
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
    this.close(CloseCode.TOO_SLOW, 'reads too slowly');
  }

  #drop(room: string | undefined): void {
    const { clock, counters } = this.#settings;
    counters.dropped++;
    if (this.#behind === undefined) {
      this.#behind = new Map();
      this.#watch();
    }
    if (!this.#behind.has(room)) this.#behind.set(room, clock.now());
  }

  /** So that the peer learns of it also where nothing more is said. */
  #watch(): void {
    const look = () => {
      this.#lookAgain();
      if (this.#behind !== undefined) this.#watch();
    };
    this.#timer = this.#settings.clock.after(LOOK_AGAIN, look, { keepAlive: false });
  }

  /** Tells a peer that has caught up what it has missed. */
  #lookAgain(): void {
    const behind = this.#behind;
    if (behind === undefined || this.#waiting() > this.#settings.maxBuffered / 2) return;
    this.#caughtUp();
    for (const [room, since] of behind) {
      const where = room === undefined ? {} : { room };
      const reason = 'overflow';
      this.#send(Outgoing.notice({ type: 'discontinuity', ...where, reason, since, recovered: false }));
    }
  }

  #caughtUp(): void {
    this.#behind = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #report(what: string, cause: unknown): void {
    const { reporter } = this.#settings;
    reporter.report(new HandlerError(`${what}: ${messageOf(cause)}`, { cause }), { stage: 'peer' });
  }
}
