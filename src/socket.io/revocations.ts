import { runWithoutAsyncContext } from '../internal/async-context.js';
import { jsonCodec } from '../internal/codec.js';
import { UnsupportedError } from '../internal/errors.js';
import { defineChannel } from '../pubsub/channel-definition.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type { RelayedPubSub } from './options.js';

/** A user who may no longer see others. */
export interface Revocation {
  readonly userId: string;
  readonly watch: readonly string[];
}

export interface RevocationListener {
  onRevoked(revocation: Revocation): void;
  /** Revocations may be missed for good. */
  onMissed(): void;
}

/** Of all namespaces and processes. The history is for processes that are cut off for a while. */
const channel = defineChannel<Revocation>()('rollcall:socket.io:revoked', {
  history: { size: 1_000, ttl: 3_600_000 },
  codec: jsonCodec,
})();

/** Subscribed before the first user is watched, so that no revocation is missed. */
export class Revocations {
  readonly #pubsub: RelayedPubSub | undefined;
  readonly #listener: RevocationListener;
  #subscription: Promise<Subscription> | undefined;

  constructor(pubsub: RelayedPubSub | undefined, listener: RevocationListener) {
    this.#pubsub = pubsub;
    this.#listener = listener;
  }

  /** Rejects as `subscribe` does; the next call tries again. */
  async open(): Promise<void> {
    const pubsub = this.#pubsub;
    if (pubsub === undefined) return;
    this.#subscription ??= runWithoutAsyncContext(() =>
      pubsub.subscribe(channel, (revocation) => this.#onMessage(revocation), {
        onDiscontinuity: ({ recovered }) => {
          if (!recovered) this.#listener.onMissed();
        },
      }),
    );
    try {
      await this.#subscription;
    } catch (error) {
      this.#subscription = undefined;
      throw error;
    }
  }

  /** @throws {@link UnsupportedError} without `pubsub`; as `publish` does. */
  async publish(revocation: Revocation): Promise<void> {
    if (this.#pubsub === undefined)
      throw new UnsupportedError('revoke needs the option pubsub of trackPresence');
    await this.#pubsub.publish(channel, revocation);
  }

  async close(): Promise<void> {
    // A failed subscription is its caller's to report.
    const subscription = await this.#subscription?.catch(() => undefined);
    await subscription?.unsubscribe();
  }

  /** Another program may have sent the message. */
  #onMessage({ userId, watch }: Partial<Revocation>): void {
    if (typeof userId !== 'string' || !Array.isArray(watch)) return;
    this.#listener.onRevoked({ userId, watch });
  }
}
