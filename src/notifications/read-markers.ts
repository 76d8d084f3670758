import { assertPosition, ORIGIN, type Position, positionTime } from '../history/position.js';
import { jsonCodec } from '../internal/codec.js';
import { type ChannelDefinition, type ChannelRef, defineChannel } from '../pubsub/channel-definition.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';

/** Up to which notification, its own id included, a user has read. */
export interface ReadMarker {
  readonly id: Position;
}

/** Of so many marks the greatest counts: more than there are devices that move it at one moment. */
const SIZE = 10;

/**
 * Up to where users have read. A mark only ever moves forward, in whatever order it is moved: nobody
 * overwrites it, the greatest of the last ones counts.
 */
export class ReadMarkers {
  readonly #pubsub: PubSubService;
  readonly #channel: ChannelDefinition<{ readonly userId: string }, ReadMarker>;

  /** Marks are kept for `ttl` ms. */
  constructor(pubsub: PubSubService, ttl: number) {
    this.#pubsub = pubsub;
    this.#channel = defineChannel<ReadMarker>()('notifications-read:{userId}', {
      history: { size: SIZE, ttl },
      codec: jsonCodec,
    });
  }

  /** The channel of a user's marks. */
  channel(userId: string): ChannelRef<ReadMarker> {
    return this.#channel({ userId });
  }

  /** The id of the last notification that is read, or {@link ORIGIN}. */
  async get(userId: string): Promise<Position> {
    const { messages } = await this.#pubsub.history(this.channel(userId), { limit: SIZE, reverse: true });
    let greatest = ORIGIN;
    for (const { message } of messages) {
      const id = parseMarker(message);
      if (positionTime(id) > positionTime(greatest)) greatest = id;
    }
    return greatest;
  }

  /** All up to `id` is read. */
  async advance(userId: string, id: Position): Promise<void> {
    await this.#pubsub.publish(this.channel(userId), { id });
  }
}

/** What a mark holds; what somebody else has put there marks nothing. */
function parseMarker(message: Partial<ReadMarker> | null): Position {
  const id: unknown = message?.id;
  try {
    assertPosition('id', id);
    return id;
  } catch {
    return ORIGIN;
  }
}
