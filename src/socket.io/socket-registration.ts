import type { Json } from '../internal/codec.js';
import type { Status } from '../presence/types.js';
import type { TrackedPresence } from './options.js';
import { Retry, type RetryOptions } from './retry.js';

export interface SocketRegistrationOptions extends RetryOptions {
  readonly presence: TrackedPresence;
}

/** Keeps one socket registered, through outages and recoveries. */
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

  get registered(): boolean {
    return this.#registered;
  }

  /** The last written status, or the first to write. */
  get status(): Status {
    return this.#status;
  }

  /** Called once per `begin`. */
  onRegistered: () => void = () => {};

  /** With retries. Called again for a recovered socket. */
  begin(meta: Json | undefined): void {
    this.#meta = meta;
    this.#notified = false;
    this.#retry.start();
  }

  /** Without retries. After a failure the socket is not registered. */
  async register(meta: Json | undefined): Promise<void> {
    this.#meta = meta;
    await this.#write(this.#status);
  }

  /** After a failure the former status remains. */
  async setStatus(status: Status): Promise<void> {
    await this.#write(status);
    // Registered by this write.
    this.#retry.stop();
  }

  stop(): void {
    this.#retry.stop();
    this.onRegistered = () => {};
  }

  /** The presence service repeats a failed removal. */
  async remove(options?: { immediate: boolean }): Promise<void> {
    this.stop();
    // Otherwise the registration of a process that recovered the socket would be removed.
    if (!this.#registered && this.#pendingWrites === 0) return;
    this.#registered = false;
    await this.#presence.removeSocket(this.userId, this.socketId, options);
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
