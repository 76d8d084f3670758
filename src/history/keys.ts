import { hashTagFor, hashTagIn } from '../redis/hash-tag.js';

/** Prefix of all keys. */
const PREFIX = 'rollcall';

/**
 * The keys of one channel's history, in the slot of the channel itself. A classic and a sharded channel of
 * the same name share a history, so that an application that moves from one to the other loses nothing.
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
 * Returns the keys of the channel's history. A script may publish to a sharded channel only in its own slot,
 * so the keys take over the channel's hash tag. A name with a `}` and without a tag cannot be a hash tag
 * itself; its keys share another slot, which works for all but sharded channels.
 */
export function historyKeys(channel: string): HistoryKeys {
  // With its length, no name with an idempotency key equals another name.
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

/** True if the keys of the channel's history are in the slot of the sharded channel of that name. */
export function sharesSlot(channel: string): boolean {
  return hashTagFor(channel) !== undefined;
}
