import type { Position } from '../history/position.js';
import { runWithoutAsyncContext } from '../internal/async-context.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { MessageHandler } from '../pubsub/options.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type { RoomEvent } from './room-message.js';

class ChannelAnchor {
  peers = 0;
  constructor(
    readonly channel: ChannelRef<RoomEvent>,
    /** Replaced by its result. */
    public subscription: Promise<Subscription> | Subscription,
  ) {}
}

/**
 * One subscription per channel with local peers. It knows the end of the history from the first peer on, so
 * later peers need no read in Redis.
 */
export class ChannelAnchors {
  readonly #pubsub: PubSubService;
  readonly #onPayload: MessageHandler<string | Buffer>;
  readonly #onLost: (channel: string) => void;
  readonly #anchors = new Map<string, ChannelAnchor>();

  /** `onPayload` runs before the peers receive the payload: it must be fast. `onLost`: payloads may be missing for good. */
  constructor(
    pubsub: PubSubService,
    onPayload: (payload: string, channel: string) => void = () => {},
    onLost: (channel: string) => void = () => {},
  ) {
    this.#pubsub = pubsub;
    // One function for all channels.
    this.#onPayload = (payload, { channel }) => onPayload(payload as string, channel);
    this.#onLost = onLost;
  }

  get size(): number {
    return this.#anchors.size;
  }

  /** Resolves with the end of the history, if there is one. After a rejection the peer is not counted. */
  async acquire(channel: ChannelRef<RoomEvent>): Promise<Position | undefined> {
    const { name } = channel;
    let anchor = this.#anchors.get(name);
    if (anchor === undefined) {
      const subscription = runWithoutAsyncContext(() =>
        this.#pubsub.subscribe(channel, this.#onPayload, {
          raw: true,
          onDiscontinuity: ({ recovered }) => {
            if (!recovered) this.#onLost(name);
          },
        }),
      );
      anchor = new ChannelAnchor(channel, subscription);
      this.#anchors.set(name, anchor);
    }
    anchor.peers++;
    try {
      anchor.subscription = await anchor.subscription;
      return anchor.subscription.position;
    } catch (error) {
      // Every waiting peer receives the error; the next one subscribes again.
      if (this.#anchors.get(name) === anchor) this.#anchors.delete(name);
      throw error;
    }
  }

  /** The equal object that all peers of an acquired channel share. */
  shared(channel: ChannelRef<RoomEvent>): ChannelRef<RoomEvent> {
    return this.#anchors.get(channel.name)?.channel ?? channel;
  }

  /** The last peer unsubscribes. */
  async release({ name }: ChannelRef<RoomEvent>): Promise<void> {
    const anchor = this.#anchors.get(name);
    if (anchor === undefined || --anchor.peers > 0) return;
    this.#anchors.delete(name);
    await (await anchor.subscription).unsubscribe();
  }
}
