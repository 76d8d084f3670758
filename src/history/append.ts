import type { Payload, Reply, ScriptCall } from '../redis/driver.js';
import { defineScript } from '../redis/script.js';
import appendSource from './append.lua';
import { headerStart } from './envelope.js';
import { historyKeys } from './keys.js';
import { type Position, positionTime } from './position.js';

export const appendScript = defineScript('append', appendSource);

/** History of a channel in Redis. */
export interface HistoryOptions {
  /** Maximum number of messages; at least 1. */
  readonly size: number;
  /**
   * Milliseconds that a message is kept, a whole number of at least 1. Older messages are removed at the next
   * publish, or when the last one has expired.
   */
  readonly ttl: number;
  /**
   * Milliseconds that the last position is kept, a whole number of at least `ttl`. It distinguishes a quiet
   * channel from a wiped one. @default 7 days, or `ttl` if that is longer
   */
  readonly positionTtl?: number;
}

export interface AppendRequest<T> {
  readonly channel: string;
  readonly sharded: boolean;
  readonly payload: Payload;
  readonly history: Required<HistoryOptions>;
  readonly idempotencyKey?: string | undefined;
  readonly item: T;
}

export interface AppendResult {
  readonly position: Position;
  readonly receivers: number;
  /** The key was known: nothing was published, `position` is that of the earlier message. */
  readonly duplicate: boolean;
}

/** An idempotency key is known for one to two of these, in ms: longer than any caller retries. */
const IDEMPOTENCY_PERIOD = 600_000;
/** Per script call, because a script blocks Redis. */
const MAX_MESSAGES = 100;
const MAX_BYTES = 1_048_576;

/** One script call. Keeps the order of each channel's messages. */
export class AppendBatch<T> {
  readonly #first: AppendRequest<T>;
  readonly #channels = new Map<string, AppendRequest<T>[]>();
  /** Cached; see {@link AppendBatch.#inOrder}. */
  #ordered: readonly (readonly AppendRequest<T>[])[] | undefined;
  #count = 0;
  #bytes = 0;

  /** `first` sets the options; `add` it as well. */
  constructor(first: AppendRequest<T>) {
    this.#first = first;
  }

  /** In the order of the call's reply. */
  get items(): T[] {
    const items: T[] = [];
    for (const appends of this.#inOrder()) for (const { item } of appends) items.push(item);
    return items;
  }

  get channelCount(): number {
    return this.#channels.size;
  }

  /** Same options, and enough room. */
  accepts({ payload, sharded, history }: AppendRequest<T>): boolean {
    const first = this.#first;
    return (
      this.#count < MAX_MESSAGES &&
      this.#bytes + payload.length <= MAX_BYTES &&
      sharded === first.sharded &&
      history.size === first.history.size &&
      history.ttl === first.history.ttl &&
      history.positionTtl === first.history.positionTtl
    );
  }

  add(append: AppendRequest<T>): void {
    const appends = this.#channels.get(append.channel);
    if (appends === undefined) this.#channels.set(append.channel, [append]);
    else appends.push(append);
    this.#count++;
    this.#bytes += append.payload.length;
    this.#ordered = undefined;
  }

  /** One batch per channel. */
  split(): AppendBatch<T>[] {
    return this.#inOrder().map((appends) => {
      const batch = new AppendBatch(appends[0] as AppendRequest<T>);
      for (const append of appends) batch.add(append);
      return batch;
    });
  }

  /**
   * `random`, in [0, 1), becomes the nonce of the positions, never 0. `suffix`: the publisher's {@link
   * databaseSuffix}.
   */
  toScriptCall(random: number, suffix = ''): ScriptCall {
    const { sharded, history } = this.#first;
    const channels = this.#inOrder();
    const keys: string[] = [];
    const args: Payload[] = [
      sharded ? 'SPUBLISH' : 'PUBLISH',
      String(history.size),
      String(history.ttl),
      String(history.positionTtl),
      String(IDEMPOTENCY_PERIOD),
      String(1 + Math.floor(random * 999_999)),
      headerStart(suffix),
      String(channels.filter(isSingle).length),
    ];
    for (const appends of channels) {
      const { channel, payload } = appends[0] as AppendRequest<T>;
      const names = historyKeys(channel);
      keys.push(names.messages, names.lastPosition);
      if (isSingle(appends)) {
        args.push(channel, payload);
        continue;
      }
      const keyed = appends.some(({ idempotencyKey }) => idempotencyKey !== undefined);
      if (keyed) keys.push(...names.idempotencyKeys);
      args.push(channel, String(appends.length), keyed ? '1' : '0');
      for (const { idempotencyKey, payload } of appends) {
        // With a mark, because the embedded Redis has no field `__proto__`.
        if (keyed) args.push(idempotencyKey === undefined ? '' : `:${idempotencyKey}`);
        args.push(payload);
      }
    }
    return { script: appendScript, keys, args };
  }

  /** For each of {@link items}, its result or the text of an error. */
  parseReply(reply: readonly Reply[]): (AppendResult | string)[] {
    const results: (AppendResult | string)[] = [];
    let at = 0;
    for (const { length } of this.#inOrder()) {
      const first = String(reply[at++]);
      let appended = 0;
      for (let message = 0; message < length; message++) {
        const field = reply[at++];
        const text = String(field);
        const dash = text.indexOf('-');
        if (dash === 0) results.push(text.slice(1));
        else if (dash > 0) results.push({ position: text, receivers: 0, duplicate: true });
        else {
          const position = appended === 0 ? first : laterPosition(first, appended);
          appended++;
          results.push({ position, receivers: Number(text), duplicate: false });
        }
      }
    }
    return results;
  }

  /** append.lua takes channels with one message first. */
  #inOrder(): readonly (readonly AppendRequest<T>[])[] {
    if (this.#ordered === undefined) {
      const channels = [...this.#channels.values()];
      this.#ordered = channels.every(isSingle)
        ? channels
        : [...channels.filter(isSingle), ...channels.filter((appends) => !isSingle(appends))];
    }
    return this.#ordered;
  }
}

/** Of the message that was appended `count` messages after the one at `first`. */
function laterPosition(first: Position, count: number): Position {
  return `${positionTime(first) + count}${first.slice(first.indexOf('-'))}`;
}

function isSingle(appends: readonly AppendRequest<unknown>[]): boolean {
  return appends.length === 1 && appends[0]?.idempotencyKey === undefined;
}
