import type { Json } from '../internal/codec.js';
import type { Status } from '../presence/types.js';
import type { TrackedPresence } from './options.js';
import { Retry, type RetryOptions } from './retry.js';

/** What {@link SocketRegistration} needs. */
export interface SocketRegistrationOptions extends RetryOptions {
  readonly presence: TrackedPresence;
}

/** A socket's place in the presence service, kept through outages and recoveries of its session. */
export class SocketRegistration {
  readonly #presence: TrackedPresence;
  readonly #retry: Retry;
  #status: Status;
  #meta: Json | undefined;
  #registered = false;
  /** `onRegistered` has been called since the socket came. */
  #told = false;
  #writing = 0;

  constructor(
    options: SocketRegistrationOptions,
    readonly userId: string,
    readonly socketId: string,
    status: Status,
  ) {
    this.#presence = options.presence;
    this.#status = status;
    this.#retry = new Retry(options, () => this.#write(this.#status));
  }

  /** True while the presence service has it. */
  get registered(): boolean {
    return this.#registered;
  }

  /** The last status that was written, or is to be. */
  get status(): Status {
    return this.#status;
  }

  /** Called once it is there, and again after each `begin`. */
  onRegistered: () => void = () => {};

  /** Registers the socket, as soon as that can be done; again for one that was recovered. */
  begin(meta: Json | undefined): void {
    this.#meta = meta;
    this.#told = false;
    this.#retry.start();
  }

  /** Writes another status; a failure leaves the one before it. */
  async setStatus(status: Status): Promise<void> {
    await this.#write(status);
    // It is there now: nothing has to be tried again.
    this.#retry.stop();
  }

  /** Nothing is tried any more. */
  stop(): void {
    this.#retry.stop();
    this.onRegistered = () => {};
  }

  /** Takes the socket out. What fails is made up for by the presence service. */
  async remove(): Promise<void> {
    this.stop();
    // A process that owns nothing of a socket would remove what others own, who may have recovered it.
    if (!this.#registered && this.#writing === 0) return;
    this.#registered = false;
    await this.#presence.removeSocket(this.userId, this.socketId);
  }

  async #write(status: Status): Promise<void> {
    this.#writing++;
    try {
      await this.#presence.setPresence(this.userId, this.socketId, status, this.#meta);
    } finally {
      this.#writing--;
    }
    this.#registered = true;
    this.#status = status;
    if (this.#told) return;
    this.#told = true;
    this.onRegistered();
  }
}
