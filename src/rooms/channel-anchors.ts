import type { Position } from '../history/position.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type { RoomEvent } from './room-message.js';

/** One channel that this process listens to for the sake of its peers. */
class ChannelAnchor {
  peers = 0;
  constructor(readonly subscription: Promise<Subscription>) {}
}

/**
 * One handler of our own on every channel that local peers listen to. It follows the channel from when
 * the first of them came, so that it is known here where the channel's end is: whoever comes later
 * begins there without asking Redis.
 */
export class ChannelAnchors {
  readonly #pubsub: PubSubService;
  readonly #hear: (payload: string, channel: string) => void;
  readonly #keepers = new Map<string, ChannelAnchor>();

  /** `hear` gets every payload; it is on everybody's way, so it must be quick. */
  constructor(pubsub: PubSubService, hear: (payload: string, channel: string) => void) {
    this.#pubsub = pubsub;
    this.#hear = hear;
  }

  /** How many channels there are. */
  get size(): number {
    return this.#keepers.size;
  }

  /**
   * Counts one more peer, until `release`; resolves with where the channel's history ends, as far as
   * it has one. When it rejects, nothing is counted.
   */
  async acquire(channel: ChannelRef<RoomEvent>): Promise<Position | undefined> {
    const { name } = channel;
    let keeper = this.#keepers.get(name);
    if (keeper === undefined) {
      keeper = new ChannelAnchor(
        this.#pubsub.subscribe(channel, (payload) => this.#hear(payload as string, name), { raw: true }),
      );
      this.#keepers.set(name, keeper);
    }
    keeper.peers++;
    try {
      return (await keeper.subscription).position;
    } catch (error) {
      // All who wait for it get the error; the next one tries again.
      if (this.#keepers.get(name) === keeper) this.#keepers.delete(name);
      throw error;
    }
  }

  /** Counts one peer less. */
  async release({ name }: ChannelRef<RoomEvent>): Promise<void> {
    const keeper = this.#keepers.get(name);
    if (keeper === undefined || --keeper.peers > 0) return;
    this.#keepers.delete(name);
    await (await keeper.subscription).unsubscribe();
  }
}
