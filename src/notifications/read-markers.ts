import { assertPosition, ORIGIN, type Position, positionTime } from '../history/position.js';
import { jsonCodec } from '../internal/codec.js';
import { type ChannelDefinition, type ChannelRef, defineChannel } from '../pubsub/channel-definition.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';

/** Id of the last notification that a user has read. */
export interface ReadMarker {
  readonly id: Position;
}

/** The greatest of this many markers counts: more than devices that acknowledge at once. */
const SIZE = 10;

/**
 * Stores up to where users have read. A marker only moves forward: markers are appended, and the greatest of the last
 * ones counts.
 */
export class ReadMarkers {
  readonly #pubsub: PubSubService;
  readonly #channel: ChannelDefinition<{ readonly userId: string }, ReadMarker>;

  /** Markers expire after `ttl` ms. */
  constructor(pubsub: PubSubService, ttl: number) {
    this.#pubsub = pubsub;
    this.#channel = defineChannel<ReadMarker>()('notifications-read:{userId}', {
      history: { size: SIZE, ttl },
      codec: jsonCodec,
    });
  }

  /** Channel of a user's markers. */
  channel(userId: string): ChannelRef<ReadMarker> {
    return this.#channel({ userId });
  }

  /** Id of the last read notification; {@link ORIGIN} for none. */
  async get(userId: string): Promise<Position> {
    const { messages } = await this.#pubsub.history(this.channel(userId), { limit: SIZE, reverse: true });
    let greatest = ORIGIN;
    for (const { message } of messages) {
      const id = parseMarker(message);
      if (positionTime(id) > positionTime(greatest)) greatest = id;
    }
    return greatest;
  }

  /** Marks all notifications up to `id` as read. */
  async advance(userId: string, id: Position): Promise<void> {
    await this.#pubsub.publish(this.channel(userId), { id });
  }
}

/** {@link ORIGIN} for a payload of another program that is no marker. */
function parseMarker(message: Partial<ReadMarker> | null): Position {
  const id: unknown = message?.id;
  try {
    assertPosition('id', id);
    return id;
  } catch {
    return ORIGIN;
  }
}
