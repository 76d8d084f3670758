import { hashTagFor, hashTagIn } from '../redis/hash-tag.js';

const PREFIX = 'rollcall';

/**
 * In the channel's own slot. A classic and a sharded channel of one name share a history, so that an
 * application can change between them.
 */
export interface HistoryKeys {
  /** The messages. */
  readonly stream: string;
  /** The last position. */
  readonly lastPosition: string;
  /** The position of the message with this key. */
  idempotencyKey(idempotencyKey: string): string;
}

/**
 * A script may publish to a sharded channel only in its slot, so the keys contain the channel's hash tag. A
 * name with a `}` and no tag cannot be a hash tag; its keys share another slot, which works except for
 * sharded channels.
 */
export function historyKeys(channel: string): HistoryKeys {
  // With its length, no combination of name and idempotency key equals another name.
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

/** False: the keys are in another slot than the sharded channel. */
export function sharesSlot(channel: string): boolean {
  return hashTagFor(channel) !== undefined;
}
