import type { Clock, Timer } from '../internal/clock.js';
import type { RollcallError } from '../internal/errors.js';
import { toRollcallError } from '../redis/replies.js';

/** What {@link TypingBroadcaster} is given. */
export interface TypingBroadcasterOptions {
  readonly clock: Clock;
  /** For how long a key stroke counts, in ms. */
  readonly ttl: number;
  /** Tells the room that he types for `ttl` ms, or with 0 no longer. */
  send(ttl: number, except: string | undefined): Promise<void>;
  /** There is nothing to be remembered of him any more. */
  forget(): void;
  /** What was to be said later, when nobody waited for it, was not. */
  report(error: RollcallError): void;
}

/**
 * One user in one room, as this process tells of him: turns key strokes into as few messages as can be.
 * One message is on its way at a time, so that they arrive in the order of what he did.
 */
export class TypingBroadcaster {
  readonly #voice: TypingBroadcasterOptions;
  #on = false;
  /** When he last struck a key. */
  #lastKeystroke = 0;
  /** He has struck one since it was last said that he types. */
  #unsentKeystroke = false;
  /** Others may take him for typing. */
  #sent = false;
  /** That he types must not be said again before. */
  #next = Number.NEGATIVE_INFINITY;
  #except: string | undefined;
  #saying: Promise<void> | undefined;
  #timer: Timer | undefined;

  constructor(voice: TypingBroadcasterOptions) {
    this.#voice = voice;
  }

  /** He has struck a key. Resolves when what has to be said now is said. */
  start(except: string | undefined): Promise<void> {
    this.#on = this.#unsentKeystroke = true;
    this.#lastKeystroke = this.#voice.clock.monotonic();
    this.#except = except;
    return this.#settle();
  }

  /** He types no longer. */
  stop(except: string | undefined): Promise<void> {
    this.#on = false;
    this.#except = except;
    return this.#settle();
  }

  /** Nothing is said any more. */
  close(): void {
    this.#timer?.cancel();
    this.#on = this.#sent = false;
  }

  #settle(): Promise<void> {
    // Whoever comes while something is being said is served by the same loop.
    if (this.#saying === undefined && this.#due() !== undefined) this.#saying = this.#sendAll();
    return this.#saying ?? Promise.resolve();
  }

  async #sendAll(): Promise<void> {
    const { clock, ttl: window } = this.#voice;
    try {
      for (let ttl = this.#due(); ttl !== undefined; ttl = this.#due()) {
        this.#sent = ttl > 0;
        if (ttl > 0) {
          this.#unsentKeystroke = false;
          this.#next = clock.monotonic() + window / 2;
          this.#wakeIn(window / 2);
        }
        await this.#voice.send(ttl, this.#except);
      }
    } catch (error) {
      // The next key stroke tries again. What may have been said all the same ends by itself.
      this.#on = this.#sent = false;
      this.#next = Number.NEGATIVE_INFINITY;
      throw error;
    } finally {
      this.#saying = undefined;
    }
  }

  /** What is to be said now: for how many ms he types. */
  #due(): number | undefined {
    if (!this.#on) return this.#sent ? 0 : undefined;
    const now = this.#voice.clock.monotonic();
    const left = this.#lastKeystroke + this.#voice.ttl - now;
    return this.#unsentKeystroke && now >= this.#next && left > 0 ? Math.ceil(left) : undefined;
  }

  #wakeIn(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#voice.clock.after(ms, () => this.#wake(), { keepAlive: false });
  }

  #wake(): void {
    const { clock, ttl } = this.#voice;
    if (this.#saying !== undefined) return this.#wakeIn(ttl / 2);
    if (this.#due() !== undefined) {
      this.#settle().catch((error: unknown) => this.#voice.report(toRollcallError(error)));
      return;
    }
    const now = clock.monotonic();
    const until = now < this.#next ? this.#next : this.#on ? this.#lastKeystroke + ttl : now;
    if (until > now) this.#wakeIn(until - now);
    else this.#voice.forget();
  }
}
