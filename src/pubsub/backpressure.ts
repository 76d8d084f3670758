import { sleep } from '../internal/clock.js';
import type { ServiceContext } from './service-context.js';

/** The receiver of a handler's messages, for example a connection. Paces messages that are read from the history. */
export interface Backpressure {
  /** The receiver takes no more for now: further messages wait in the history. Read before each message. */
  readonly full: boolean;
  /** Resolves when the receiver takes messages again. Never awaited longer than the handler is subscribed. */
  drained(): Promise<void>;
  /** Limit of one read for this receiver, in bytes; the first message is read at any size. @default 262_144 */
  readonly pageBytes?: number;
}

/** In ms: the pause if `drained` has resolved, and the receiver is still full. */
const PAUSE = 50;
const DEFAULT_PAGE_BYTES = 262_144;

/** A caller's object that fails must neither end a catch-up nor make it spin. */
export class GuardedBackpressure implements Backpressure {
  readonly #receiver: Backpressure;
  readonly #service: ServiceContext;
  readonly #channel: string;

  constructor(receiver: Backpressure, service: ServiceContext, channel: string) {
    this.#receiver = receiver;
    this.#service = service;
    this.#channel = channel;
  }

  get full(): boolean {
    try {
      return this.#receiver.full === true;
    } catch (error) {
      this.#report(error);
      return false;
    }
  }

  async drained(): Promise<void> {
    try {
      await this.#receiver.drained();
    } catch (error) {
      this.#report(error);
    }
    if (this.full) await sleep(this.#service.clock, PAUSE, { keepAlive: false });
  }

  get pageBytes(): number {
    return this.#receiver.pageBytes ?? DEFAULT_PAGE_BYTES;
  }

  #report(error: unknown): void {
    this.#service.reportHandlerError(error, { channel: this.#channel });
  }
}
