import type { Payload, Reply, ScriptCall } from '../redis/driver.js';
import { historyKeys } from './keys.js';
import type { Position } from './position.js';
import { appendScript } from './scripts.js';

/** What Redis keeps of a channel's messages. */
export interface HistoryOptions {
  /** How many messages; at least 1. */
  readonly size: number;
  /**
   * For how long after it was published a message is kept, in whole ms; at least 1. What is older goes
   * when the next one comes, or when the last one is as old.
   */
  readonly ttl: number;
  /**
   * For how long after the last message its position is remembered, in whole ms, so that a quiet
   * channel is told from one that was wiped. @default 7 days, or `ttl` where that is longer
   */
  readonly positionTtl?: number;
}

/** A message to be appended and published, and what it is to its sender. */
export interface AppendRequest<T> {
  readonly channel: string;
  readonly sharded: boolean;
  readonly payload: Payload;
  readonly history: Required<HistoryOptions>;
  /** Published before under this key, it is not published again. */
  readonly idempotencyKey?: string | undefined;
  readonly item: T;
}

/** What became of an {@link AppendRequest}. */
export interface AppendResult {
  readonly position: Position;
  readonly receivers: number;
  /** Its idempotency key was known: nothing was published, and `position` is the earlier message's. */
  readonly duplicate: boolean;
}

/** How long an idempotency key is remembered, in ms: longer than anybody retries. */
const IDEMPOTENCY_KEY_TTL = 600_000;
/** Messages per script call, and bytes: a script is one stall for everybody else. */
const MAX_MESSAGES = 100;
const MAX_BYTES = 1_048_576;

/** Messages for one channel, in order, that one script call appends. */
export class AppendBatch<T> {
  readonly #first: AppendRequest<T>;
  readonly #appends: AppendRequest<T>[] = [];
  #bytes = 0;

  /** For messages like `first`, which is yet to be added. */
  constructor(first: AppendRequest<T>) {
    this.#first = first;
  }

  /** What the messages are to their sender. */
  get items(): T[] {
    return this.#appends.map(({ item }) => item);
  }

  /** Whether `append` may go with the others. */
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

  /** The script call; `random` is in [0, 1). */
  toScriptCall(random: number): ScriptCall {
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
      String(Math.floor(random * 1_000_000)),
    ];
    for (const { idempotencyKey, payload } of this.#appends) {
      if (idempotencyKey !== undefined) keys.push(names.idempotencyKey(idempotencyKey));
      args.push(idempotencyKey === undefined ? '0' : String(keys.length), payload);
    }
    return { script: appendScript, keys, args };
  }
}

/** One outcome per message of a group. */
export function parseAppendReply(reply: readonly Reply[]): AppendResult[] {
  const outcomes: AppendResult[] = [];
  for (let at = 0; at + 2 < reply.length; at += 3) {
    outcomes.push({
      position: String(reply[at]),
      receivers: Number(reply[at + 1]),
      duplicate: Number(reply[at + 2]) === 1,
    });
  }
  return outcomes;
}
