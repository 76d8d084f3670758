import type { Position } from '../history/position.js';
import { REMOVED_EVENT } from '../protocol/frames.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { RoomEvent } from './room-message.js';

/** Messages per read and per replacement: a script blocks Redis. */
const PAGE = 100;
/** Takes the place of a message: without it, readers at its position would find a gap. */
const REMOVED: RoomEvent = { event: REMOVED_EVENT, data: null };

/** Removes the messages from a user in the history of a channel, oldest first. Resolves with their number. */
export async function removeMessages(
  pubsub: Pick<PubSubService, 'history' | 'replaceInHistory'>,
  channel: ChannelRef<RoomEvent>,
  userId: string,
): Promise<number> {
  let removed = 0;
  let since: Position | undefined;
  for (;;) {
    const page = await pubsub.history<RoomEvent | null>(channel, {
      limit: PAGE,
      ...(since === undefined ? {} : { since }),
    });
    // Other programs may have published anything.
    const positions = page.messages
      .filter(({ message }) => message?.from === userId)
      .map(({ position }) => position);
    if (positions.length > 0) {
      removed += await pubsub.replaceInHistory(channel, positions, JSON.stringify(REMOVED));
    }
    if (!page.more) return removed;
    since = page.position;
  }
}
