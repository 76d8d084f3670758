import { hashTagFor, hashTagIn } from '../redis/hash-tag.js';

const PREFIX = 'rollcall';

/**
 * In the channel's own slot. A classic and a sharded channel of one name share a history, so that an
 * application can change between them.
 */
export interface HistoryKeys {
  readonly messages: string;
  readonly lastPosition: string;
  /** Positions by idempotency key, for even and odd periods. */
  readonly idempotencyKeys: readonly [even: string, odd: string];
}

/**
 * A script may publish to a sharded channel only in its slot, so the keys contain the channel's hash tag. The keys of
 * a name with a `}` and no tag share another slot, which works except for sharded channels.
 */
export function historyKeys(channel: string): HistoryKeys {
  // With its length, no name and suffix equal another name.
  if (hashTagIn(channel) !== undefined) return new KeysOfChannel(`#${channel.length}:`, channel);
  if (sharesSlot(channel)) return new KeysOfChannel(':', `{${channel}}`);
  const tag = channel.replaceAll('%', '%25').replaceAll('}', '%7D');
  return new KeysOfChannel('!', `{${tag}}`);
}

/** A class, because a getter in an object literal costs more than everything else here. */
class KeysOfChannel implements HistoryKeys {
  readonly messages: string;
  readonly lastPosition: string;
  readonly #name: string;

  constructor(mark: string, name: string) {
    this.messages = `${PREFIX}:log${mark}${name}`;
    this.lastPosition = `${PREFIX}:last${mark}${name}`;
    this.#name = mark + name;
  }

  get idempotencyKeys(): readonly [string, string] {
    const base = `${PREFIX}:once${this.#name}`;
    return [`${base}:0`, `${base}:1`];
  }
}

/** False: the keys are in another slot than the sharded channel. */
export function sharesSlot(channel: string): boolean {
  return hashTagFor(channel) !== undefined;
}

/** Releases before the list layout kept the messages in a stream under the same key. */
export function isFormatError(message: string): boolean {
  return message.startsWith('WRONGTYPE');
}

export function formatErrorText(what: string, channel: string): string {
  const { messages } = historyKeys(channel);
  return (
    `${what}: the history of channel ${JSON.stringify(channel)} has the format of another release of rollcall. ` +
    `Stop the processes of that release, then delete the key ${JSON.stringify(messages)}, or use another prefix`
  );
}
