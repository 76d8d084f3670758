import type { Position } from '../history/position.js';
import type { ChannelLike } from './channel.js';
import type { HistoryMessage } from './options.js';
import type { PubSubService } from './pubsub-service.js';

/** The last messages of a channel. */
export interface LastMessages<T> {
  /** Oldest first. */
  readonly messages: HistoryMessage<T>[];
  /** Where they end: where to go on from. */
  readonly end: Position;
}

/** The last `count` messages of a channel, at least 1; large ones come in several pages. */
export async function readLastMessages<T>(
  pubsub: Pick<PubSubService, 'history'>,
  channel: ChannelLike<never, T>,
  count: number,
): Promise<LastMessages<T>> {
  let page = await pubsub.history(channel, { reverse: true, limit: count });
  const messages = [...page.messages];
  const end = messages[0]?.position ?? page.position;
  while (page.more && page.messages.length > 0 && messages.length < count) {
    const before = page.position;
    page = await pubsub.history(channel, { reverse: true, limit: count - messages.length, before });
    messages.push(...page.messages);
  }
  return { messages: messages.reverse(), end };
}
