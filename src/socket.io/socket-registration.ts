import type { Json } from '../internal/codec.js';
import type { Status } from '../presence/types.js';
import type { TrackedPresence } from './options.js';
import { Retry, type RetryOptions } from './retry.js';

export interface SocketRegistrationOptions extends RetryOptions {
  readonly presence: TrackedPresence;
}

/** Keeps one socket registered with the presence service, through outages and recoveries. */
export class SocketRegistration {
  readonly #presence: TrackedPresence;
  readonly #retry: Retry;
  #status: Status;
  #meta: Json | undefined;
  #registered = false;
  /** `onRegistered` has run since the last `begin`. */
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

  /** True while the presence service has the socket. */
  get registered(): boolean {
    return this.#registered;
  }

  /** The last written status, or the first one to write. */
  get status(): Status {
    return this.#status;
  }

  /** Runs once per `begin`, after the registration. */
  onRegistered: () => void = () => {};

  /** Registers the socket, with retries. Call it again for a recovered socket. */
  begin(meta: Json | undefined): void {
    this.#meta = meta;
    this.#notified = false;
    this.#retry.start();
  }

  /** After a failure the former status remains. */
  async setStatus(status: Status): Promise<void> {
    await this.#write(status);
    // This write has registered the socket, so a retry is not needed.
    this.#retry.stop();
  }

  stop(): void {
    this.#retry.stop();
    this.onRegistered = () => {};
  }

  /** The presence service repeats a failed removal. */
  async remove(): Promise<void> {
    this.stop();
    // Otherwise this process would remove the registration of a process that has recovered the socket.
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
