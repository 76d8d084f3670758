import { type Clock, callAt, type Timer } from '../internal/clock.js';
import { HandlerError, InvalidArgumentError } from '../internal/errors.js';
import { toExpiryTime } from './identity.js';
import type { ClientRequest } from './options.js';

/** In ms: answers that expire at once, again and again, must not keep the application busy. */
const MIN_DELAY = 1_000;

/** The earliest end of what `authorize` has allowed one connection to be shown. */
export class PermissionExpiry {
  readonly #clock: Clock;
  readonly #socket: { recheck(): void };
  /** In ms since the epoch. */
  #earliest = Number.POSITIVE_INFINITY;
  #timer: Timer | undefined;

  /** At the end everything that `socket` is shown is asked about again. */
  constructor(clock: Clock, socket: { recheck(): void }) {
    this.#clock = clock;
    this.#socket = socket;
  }

  /** In ms; `undefined`: no permission expires. */
  get timeLeft(): number | undefined {
    return this.#timer && Math.max(0, this.#earliest - this.#clock.now());
  }

  /**
   * True if `answer` allows the request now.
   *
   * @throws {@link HandlerError} for an invalid `expiresAt`.
   */
  accept(answer: unknown, { action }: Pick<ClientRequest, 'action'>): boolean {
    // An untyped function may return anything.
    if (typeof answer !== 'object' || answer === null) return answer === true;
    const expiresAt = readExpiry(answer);
    if (expiresAt === undefined || expiresAt <= this.#clock.now()) return false;
    // Other requests are asked about each time.
    if (action === 'join' || action === 'members' || action === 'watch') this.#note(expiresAt);
    return true;
  }

  /** All of them are asked about again now. */
  clear(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#earliest = Number.POSITIVE_INFINITY;
  }

  #note(expiresAt: number): void {
    if (expiresAt >= this.#earliest) return;
    this.#timer?.cancel();
    this.#earliest = expiresAt;
    this.#timer = callAt(this.#clock, Math.max(expiresAt, this.#clock.now() + MIN_DELAY), () => {
      this.clear();
      this.#socket.recheck();
    });
  }
}

function readExpiry(answer: object): number | undefined {
  try {
    return toExpiryTime((answer as { expiresAt?: unknown }).expiresAt);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new HandlerError(`authorize returned an invalid answer: ${error.message}`, { cause: error });
  }
}
