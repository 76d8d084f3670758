import type { Payload, Reply, ScriptCall } from '../redis/driver.js';
import { defineScript } from '../redis/script.js';
import appendSource from './append.lua';
import { headerStart } from './envelope.js';
import { historyKeys } from './keys.js';
import type { Position } from './position.js';

/** Appends messages and publishes them; see append.lua. */
export const appendScript = defineScript('append', appendSource);

/** What Redis keeps of a channel's messages. */
export interface HistoryOptions {
  /** The maximum number of messages; at least 1. */
  readonly size: number;
  /**
   * Milliseconds that a message is kept, a whole number of at least 1. Older messages are removed when
   * the next one is published, or when the last one has expired.
   */
  readonly ttl: number;
  /**
   * Milliseconds that the position of the last message is kept, a whole number of at least `ttl`. It
   * distinguishes a quiet channel from one that was wiped. @default 7 days, or `ttl` if that is longer
   */
  readonly positionTtl?: number;
}

/** A message to append and publish. `item` is the sender's own object for it. */
export interface AppendRequest<T> {
  readonly channel: string;
  readonly sharded: boolean;
  readonly payload: Payload;
  readonly history: Required<HistoryOptions>;
  /** A message that was published before under this key is not published again. */
  readonly idempotencyKey?: string | undefined;
  readonly item: T;
}

/** Result of an {@link AppendRequest}. */
export interface AppendResult {
  readonly position: Position;
  readonly receivers: number;
  /** The idempotency key was known: nothing was published, and `position` is that of the earlier message. */
  readonly duplicate: boolean;
}

/** Milliseconds that an idempotency key is kept: longer than any caller retries. */
const IDEMPOTENCY_KEY_TTL = 600_000;
/** Limits of one script call, because Redis runs nothing else in the meantime. */
const MAX_MESSAGES = 100;
const MAX_BYTES = 1_048_576;

/** Messages for one channel that one script call appends in order. */
export class AppendBatch<T> {
  readonly #first: AppendRequest<T>;
  readonly #appends: AppendRequest<T>[] = [];
  #bytes = 0;

  /** For messages with the options of `first`, which must still be added. */
  constructor(first: AppendRequest<T>) {
    this.#first = first;
  }

  get items(): T[] {
    return this.#appends.map(({ item }) => item);
  }

  /** True if `append` has the same options and fits. */
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
   * `random`, in [0, 1), becomes the nonce of the positions, which is never 0. `suffix`: the
   * {@link databaseSuffix} of the publisher.
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

/** Parses the reply to {@link AppendBatch.toScriptCall}: one result per message. */
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
