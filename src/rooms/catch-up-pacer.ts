import type { Clock, Timer } from '../internal/clock.js';
import type { Backpressure } from '../pubsub/backpressure.js';

/** A connection that receives missed messages. */
export interface PacedReceiver {
  readonly open: boolean;
  /** Bytes that wait to be sent. */
  readonly bufferedBytes: number;
  /** Bytes sent so far. */
  readonly sentBytes: number;
  /** Calls `done` when the receiver has received all earlier bytes; at once if the transport cannot tell. */
  confirm(done: () => void): void;
  /** The receiver takes nothing: close it. */
  onStuck(): void;
}

/** After so many bytes the receiver must confirm: `bufferedBytes` does not contain what waits in the network. */
const CONFIRM_BYTES = 65_536;
/** Confirmations that may be missing. */
const MAX_UNCONFIRMED = 4;
const MAX_PAGE_BYTES = 131_072;
/** In ms, while messages wait. */
const CHECK_INTERVAL = 25;
/**
 * Checks in a row without progress, 30 s. Checks are counted because a process that was frozen must not close all its
 * connections.
 */
const MAX_STUCK_CHECKS = 1_200;

/** Paces the catch-up of one connection: missed messages stay in the history until the connection takes them. */
export class CatchUpPacer implements Backpressure {
  readonly pageBytes: number;
  readonly #receiver: PacedReceiver;
  readonly #clock: Clock;
  readonly #maxBufferedBytes: number;
  /** `sentBytes` at the last request for a confirmation. */
  #marked = 0;
  #unconfirmed = 0;
  #progress = false;
  #lastBuffered = 0;
  #stuckChecks = 0;
  #waiters: (() => void)[] = [];
  #timer: Timer | undefined;

  constructor(receiver: PacedReceiver, clock: Clock, maxBufferedBytes: number) {
    this.#receiver = receiver;
    this.#clock = clock;
    this.#maxBufferedBytes = maxBufferedBytes;
    this.pageBytes = Math.max(1, Math.min(MAX_PAGE_BYTES, Math.floor(maxBufferedBytes / 4)));
  }

  /** Half of the buffer is left to live messages. A closed receiver stays full. */
  get full(): boolean {
    const receiver = this.#receiver;
    if (receiver.open && receiver.sentBytes - this.#marked >= CONFIRM_BYTES) this.#requestConfirmation();
    return (
      !receiver.open ||
      this.#unconfirmed >= MAX_UNCONFIRMED ||
      receiver.bufferedBytes > this.#maxBufferedBytes / 2
    );
  }

  /** Resolves for one waiter at a time, so that the channels of a connection do not fill it together. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
      if (this.#timer !== undefined) return;
      this.#stuckChecks = 0;
      this.#lastBuffered = this.#receiver.bufferedBytes;
      this.#schedule();
    });
  }

  /** The receiver is closed. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#waiters = [];
  }

  #requestConfirmation(): void {
    this.#marked = this.#receiver.sentBytes;
    this.#unconfirmed++;
    let confirmed = false;
    this.#receiver.confirm(() => {
      if (confirmed) return;
      confirmed = true;
      this.#unconfirmed--;
      this.#progress = true;
      this.#wakeNext();
    });
  }

  #schedule(): void {
    this.#timer = this.#clock.after(CHECK_INTERVAL, () => this.#check(), { keepAlive: false });
  }

  #check(): void {
    this.#timer = undefined;
    const buffered = this.#receiver.bufferedBytes;
    if (!this.#receiver.open) return this.stop();
    const progress = this.#wakeNext() || this.#progress || buffered < this.#lastBuffered;
    this.#stuckChecks = progress ? 0 : this.#stuckChecks + 1;
    this.#progress = false;
    this.#lastBuffered = buffered;
    if (this.#stuckChecks >= MAX_STUCK_CHECKS) {
      this.stop();
      return this.#receiver.onStuck();
    }
    if (this.#waiters.length > 0) this.#schedule();
  }

  #wakeNext(): boolean {
    const drained =
      this.#unconfirmed <= MAX_UNCONFIRMED / 2 && this.#receiver.bufferedBytes <= this.#maxBufferedBytes / 4;
    if (drained) this.#waiters.shift()?.();
    return drained;
  }
}
