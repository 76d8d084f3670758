import type { Payload, Reply, ScriptCall } from '../redis/driver.js';
import { defineScript } from '../redis/script.js';
import appendSource from './append.lua';
import { headerStart } from './envelope.js';
import { historyKeys } from './keys.js';
import type { Position } from './position.js';

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
  /** A message with a known key is not published again. */
  readonly idempotencyKey?: string | undefined;
  readonly item: T;
}

export interface AppendResult {
  readonly position: Position;
  readonly receivers: number;
  /** The key was known: nothing was published, `position` is that of the earlier message. */
  readonly duplicate: boolean;
}

/** In ms: longer than any caller retries. */
const IDEMPOTENCY_KEY_TTL = 600_000;
/** Per script call, because a script blocks Redis. */
const MAX_MESSAGES = 100;
const MAX_BYTES = 1_048_576;

/** One script call, in order, for one channel. */
export class AppendBatch<T> {
  readonly #first: AppendRequest<T>;
  readonly #appends: AppendRequest<T>[] = [];
  #bytes = 0;

  /** `first` sets the options; it must still be added. */
  constructor(first: AppendRequest<T>) {
    this.#first = first;
  }

  get items(): T[] {
    return this.#appends.map(({ item }) => item);
  }

  /** Same options, and enough room. */
  accepts({ payload, sharded, history }: AppendRequest<T>): boolean {
    const first = this.#first;
    return (
      this.#appends.length < MAX_MESSAGES &&
      this.#bytes + payload.length <= MAX_BYTES &&
      sharded === first.sharded &&
      history.size === first.history.size &&
      history.ttl === first.history.ttl &&
      history.positionTtl === first.history.positionTtl
    );
  }

  add(append: AppendRequest<T>): void {
    this.#appends.push(append);
    this.#bytes += append.payload.length;
  }

  /**
   * `random`, in [0, 1), becomes the nonce of the positions, never 0. `suffix`: the publisher's {@link
   * databaseSuffix}.
   */
  toScriptCall(random: number, suffix = ''): ScriptCall {
    const { channel, sharded, history } = this.#first;
    const names = historyKeys(channel);
    const keys = [names.stream, names.lastPosition];
    const args: Payload[] = [
      channel,
      sharded ? 'SPUBLISH' : 'PUBLISH',
      String(history.size),
      String(history.ttl),
      String(history.positionTtl),
      String(IDEMPOTENCY_KEY_TTL),
      String(1 + Math.floor(random * 999_999)),
      headerStart(suffix),
    ];
    for (const { idempotencyKey, payload } of this.#appends) {
      if (idempotencyKey !== undefined) keys.push(names.idempotencyKey(idempotencyKey));
      args.push(idempotencyKey === undefined ? '0' : String(keys.length), payload);
    }
    return { script: appendScript, keys, args };
  }
}

export function parseAppendReply(reply: readonly Reply[]): AppendResult[] {
  const results: AppendResult[] = [];
  for (let at = 0; at + 2 < reply.length; at += 3) {
    results.push({
      position: String(reply[at]),
      receivers: Number(reply[at + 1]),
      duplicate: Number(reply[at + 2]) === 1,
    });
  }
  return results;
}
