import type { Clock, Timer } from '../internal/clock.js';
import type { RollcallError } from '../internal/errors.js';
import { toRollcallError } from '../redis/replies.js';

export interface TypingBroadcasterOptions {
  readonly clock: Clock;
  /** Duration of a keystroke, in ms. */
  readonly ttl: number;
  /** Publishes that the user types for `ttl` ms; 0: has stopped. */
  send(ttl: number, except: string | undefined): Promise<void>;
  onIdle(): void;
  report(error: RollcallError): void;
}

/** Sends as few messages as possible for one user in one room, and one at a time, so that they arrive in order. */
export class TypingBroadcaster {
  readonly #options: TypingBroadcasterOptions;
  #on = false;
  #lastKeystroke = 0;
  /** A keystroke since the last message. */
  #unsentKeystroke = false;
  /** Other users may see the user as typing. */
  #sent = false;
  /** Earliest time of the next message. */
  #nextSend = Number.NEGATIVE_INFINITY;
  #except: string | undefined;
  #sending: Promise<void> | undefined;
  #timer: Timer | undefined;

  constructor(options: TypingBroadcasterOptions) {
    this.#options = options;
  }

  /** Resolves when the message that must be sent now, if any, is published. */
  start(except: string | undefined): Promise<void> {
    this.#on = this.#unsentKeystroke = true;
    this.#lastKeystroke = this.#options.clock.monotonic();
    this.#except = except;
    return this.#sendDue();
  }

  stop(except: string | undefined): Promise<void> {
    this.#on = false;
    this.#except = except;
    return this.#sendDue();
  }

  close(): void {
    this.#timer?.cancel();
    this.#on = this.#sent = false;
  }

  #sendDue(): Promise<void> {
    // The running loop sends the next message.
    if (this.#sending === undefined && this.#dueTtl() !== undefined) this.#sending = this.#sendAll();
    return this.#sending ?? Promise.resolve();
  }

  async #sendAll(): Promise<void> {
    const { clock, ttl: window } = this.#options;
    try {
      for (let ttl = this.#dueTtl(); ttl !== undefined; ttl = this.#dueTtl()) {
        this.#sent = ttl > 0;
        if (ttl > 0) {
          this.#unsentKeystroke = false;
          this.#nextSend = clock.monotonic() + window / 2;
          this.#wakeIn(window / 2);
        }
        await this.#options.send(ttl, this.#except);
      }
    } catch (error) {
      // The next keystroke tries again. A published message expires by its `ttl`.
      this.#on = this.#sent = false;
      this.#nextSend = Number.NEGATIVE_INFINITY;
      throw error;
    } finally {
      this.#sending = undefined;
    }
  }

  /** `undefined`: no message must be sent now. */
  #dueTtl(): number | undefined {
    if (!this.#on) return this.#sent ? 0 : undefined;
    const now = this.#options.clock.monotonic();
    const left = this.#lastKeystroke + this.#options.ttl - now;
    return this.#unsentKeystroke && now >= this.#nextSend && left > 0 ? Math.ceil(left) : undefined;
  }

  #wakeIn(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(ms, () => this.#wake(), { keepAlive: false });
  }

  #wake(): void {
    const { clock, ttl } = this.#options;
    if (this.#sending !== undefined) return this.#wakeIn(ttl / 2);
    if (this.#dueTtl() !== undefined) {
      this.#sendDue().catch((error: unknown) => this.#options.report(toRollcallError(error)));
      return;
    }
    const now = clock.monotonic();
    const until = now < this.#nextSend ? this.#nextSend : this.#on ? this.#lastKeystroke + ttl : now;
    if (until > now) this.#wakeIn(until - now);
    else this.#options.onIdle();
  }
}
