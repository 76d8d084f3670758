import type { Json } from '../internal/codec.js';
import type { Status } from '../presence/types.js';
import type { TrackedPresence } from './options.js';
import { Retry, type RetryOptions } from './retry.js';

/** What {@link SocketRegistration} needs. */
export interface SocketRegistrationOptions extends RetryOptions {
  readonly presence: TrackedPresence;
}

/** Registers one socket with the presence service, and keeps it registered through outages and recoveries. */
export class SocketRegistration {
  readonly #presence: TrackedPresence;
  readonly #retry: Retry;
  #status: Status;
  #meta: Json | undefined;
  #registered = false;
  /** `onRegistered` was called since the last `begin`. */
  #notified = false;
  #pendingWrites = 0;

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

  /** True while the presence service knows the socket. */
  get registered(): boolean {
    return this.#registered;
  }

  /** The last status that was written, or the first one to write. */
  get status(): Status {
    return this.#status;
  }

  /** Called once per `begin`, after the registration. */
  onRegistered: () => void = () => {};

  /** Registers the socket, with retries. Call this again for a recovered socket. */
  begin(meta: Json | undefined): void {
    this.#meta = meta;
    this.#notified = false;
    this.#retry.start();
  }

  /** Writes another status; after a failure the former status remains. */
  async setStatus(status: Status): Promise<void> {
    await this.#write(status);
    // This write has registered the socket, so a pending retry is not needed.
    this.#retry.stop();
  }

  /** Cancels retries. */
  stop(): void {
    this.#retry.stop();
    this.onRegistered = () => {};
  }

  /** Removes the socket. The presence service repeats a failed removal. */
  async remove(): Promise<void> {
    this.stop();
    // Without a registration of its own, this process would remove that of a process that has recovered the socket.
    if (!this.#registered && this.#pendingWrites === 0) return;
    this.#registered = false;
    await this.#presence.removeSocket(this.userId, this.socketId);
  }

  async #write(status: Status): Promise<void> {
    this.#pendingWrites++;
    try {
      await this.#presence.setPresence(this.userId, this.socketId, status, this.#meta);
    } finally {
      this.#pendingWrites--;
    }
    this.#registered = true;
    this.#status = status;
    if (this.#notified) return;
    this.#notified = true;
    this.onRegistered();
  }
}
