import { hashTagFor, hashTagIn } from '../redis/hash-tag.js';

/** What all keys of histories begin with. */
const PREFIX = 'rollcall';

/**
 * The keys of one channel's history. They share a slot, which is that of the channel itself. A classic and
 * a sharded channel of one name share a history: who moves from one to the other misses nothing.
 */
export interface HistoryKeys {
  /** Stream: the messages. */
  readonly stream: string;
  /** String: the last position. */
  readonly lastPosition: string;
  /** String: the position of the message that was published under an idempotency key. */
  idempotencyKey(idempotencyKey: string): string;
}

/**
 * The keys of `channel`'s history. Scripts may publish to a sharded channel only in its own slot, so
 * its tag becomes theirs. A channel with a `}` and no tag cannot be a tag; its keys share a slot of
 * their own, which will do for all but sharded channels.
 */
export function historyKeys(channel: string): HistoryKeys {
  // Its length keeps apart what a name and an idempotency key could share.
  if (hashTagIn(channel) !== undefined) return createKeys(`#${channel.length}:`, channel);
  if (sharesSlot(channel)) return createKeys(':', `{${channel}}`);
  const tag = channel.replaceAll('%', '%25').replaceAll('}', '%7D');
  return createKeys('!', `{${tag}}`);
}

function createKeys(mark: string, name: string): HistoryKeys {
  return {
    stream: `${PREFIX}:log${mark}${name}`,
    lastPosition: `${PREFIX}:last${mark}${name}`,
    idempotencyKey: (idempotencyKey) => `${PREFIX}:once${mark}${name}:${idempotencyKey}`,
  };
}

/** Whether the keys of `channel`'s history share the slot of a sharded channel of that name. */
export function sharesSlot(channel: string): boolean {
  return hashTagFor(channel) !== undefined;
}
