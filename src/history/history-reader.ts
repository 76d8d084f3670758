import { backoff, type Clock, withTimeout } from '../internal/clock.js';
import { CommandError, ConnectionError, TimeoutError } from '../internal/errors.js';
import type { Payload, Reply, ScriptCall } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import type { SharedClient } from '../redis/shared-client.js';
import type { ChainLink, Page } from './chain.js';
import { historyKeys } from './keys.js';
import { type Position, positionTime } from './position.js';
import { readScript } from './scripts.js';

/** A message as history keeps it. */
export interface StoredMessage extends ChainLink {
  readonly payload: Payload;
}

/** What to read of one channel. */
export interface ReadRequest {
  readonly channel: string;
  /** Only what comes after this. */
  readonly after?: Position | undefined;
  /** Only what comes before this. */
  readonly before?: Position | undefined;
  /** At most so many messages. */
  readonly limit: number;
  /** At most so many bytes, from the second message on. */
  readonly maxBytes?: number;
  /** Newest first. */
  readonly reverse?: boolean;
  /** Payloads as bytes. */
  readonly binary?: boolean;
}

interface PendingRead {
  readonly request: ReadRequest;
  readonly resolve: (page: Page<StoredMessage>) => void;
  readonly reject: (error: Error) => void;
}

/** A page ends before the message that would take it over so many bytes. */
const MAX_PAGE_BYTES = 262_144;
/** Channels per round trip: many enough to be quick, few enough that all their pages fit in memory. */
const BATCH = 64;
/** Errors by which a server says "not now". */
const RETRYABLE_ERROR = /^(?:LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|READONLY)\b/;
const FIRST_RETRY_DELAY = 50;
const MAX_RETRY_DELAY = 2_000;
/** Attempts that got no answer, each within its deadline, until reading is given up. */
const MAX_ATTEMPTS = 3;

/** What reads histories. */
export interface RetryingReader {
  /** See {@link HistoryReader.read}. */
  read(request: ReadRequest): Promise<Page<StoredMessage>>;
  /** See {@link HistoryReader.readWithRetry}. */
  readWithRetry(request: ReadRequest, over: () => boolean): Promise<Page<StoredMessage>>;
}

/** Reads histories. What is asked for in one tick travels together. */
export class HistoryReader implements RetryingReader {
  readonly #session: SharedClient;
  readonly #clock: Clock;
  readonly #timeout: number;
  readonly #queues: Record<'text' | 'binary', PendingRead[]> = { text: [], binary: [] };
  #scheduled = false;

  constructor(session: SharedClient, clock: Clock, timeout = 5_000) {
    this.#session = session;
    this.#clock = clock;
    this.#timeout = timeout;
  }

  /** One page, sent at once; rejects when it cannot be. */
  read(request: ReadRequest): Promise<Page<StoredMessage>> {
    return new Promise((resolve, reject) => {
      this.#queues[request.binary === true ? 'binary' : 'text'].push({ request, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      process.nextTick(() => {
        this.#scheduled = false;
        for (const mode of ['text', 'binary'] as const) {
          const readings = this.#queues[mode];
          this.#queues[mode] = [];
          if (readings.length > 0) void this.#send(readings, mode === 'binary');
        }
      });
    });
  }

  /**
   * One page, however long Redis is away. Rejects when Redis refuses (no permission, say), when it
   * does not answer in three attempts, and when `over` says that nobody waits any more.
   */
  async readWithRetry(request: ReadRequest, over: () => boolean): Promise<Page<StoredMessage>> {
    let unanswered = 0;
    for (let attempt = 0; ; attempt++) {
      await this.#ready();
      if (over() || this.#session.closed) throw new ConnectionError('nobody waits for the history any more');
      try {
        const late = () => new TimeoutError(`history was not read within ${this.#timeout} ms`);
        return await withTimeout(this.#clock, this.#timeout, this.read(request), late);
      } catch (cause) {
        const error = toRollcallError(cause);
        const lasting = error instanceof CommandError && !RETRYABLE_ERROR.test(serverErrorMessage(error));
        if (error instanceof TimeoutError) unanswered++;
        if (over() || lasting || unanswered === MAX_ATTEMPTS) throw error;
      }
      await new Promise<void>((resolve) => {
        this.#clock.after(backoff(this.#clock, attempt, FIRST_RETRY_DELAY, MAX_RETRY_DELAY), resolve);
      });
    }
  }

  #ready(): Promise<void> {
    return new Promise((resolve) => {
      // A client that has given up may be connected again by its owner; the next attempt sees.
      this.#session.whenReady(() => resolve());
    });
  }

  async #send(readings: readonly PendingRead[], binary: boolean): Promise<void> {
    for (let at = 0; at < readings.length; at += BATCH) {
      const batch = readings.slice(at, at + BATCH);
      try {
        const calls = batch.map(({ request }) => toScriptCall(request));
        const replies = await this.#session.execute(calls, { buffers: binary });
        batch.forEach((reading, place) => {
          completeRead(reading, replies[place]);
        });
      } catch (error) {
        for (const { reject } of batch) reject(error as Error);
      }
    }
  }
}

function completeRead({ resolve, reject }: PendingRead, reply: Reply | undefined): void {
  if (reply instanceof Error) {
    reject(new CommandError(`history: Redis refused: ${reply.message}`, { cause: reply }));
  } else if (Array.isArray(reply)) resolve(parsePage(reply as readonly Reply[]));
  else reject(new ConnectionError('history: no reply', { outcome: 'unknown' }));
}

function toScriptCall({
  channel,
  after,
  before,
  limit,
  reverse,
  maxBytes = MAX_PAGE_BYTES,
}: ReadRequest): ScriptCall {
  const { stream: log, lastPosition: last } = historyKeys(channel);
  return {
    script: readScript,
    keys: [log, last],
    args: [
      after === undefined ? '-' : String(positionTime(after)),
      before === undefined ? '+' : String(positionTime(before)),
      String(limit),
      String(maxBytes),
      reverse === true ? '1' : '0',
    ],
  };
}

function parsePage(reply: readonly Reply[]): Page<StoredMessage> {
  const messages: StoredMessage[] = [];
  for (let at = 3; at + 3 < reply.length; at += 4) {
    messages.push({
      position: `${String(reply[at])}-${String(reply[at + 1])}`,
      previous: String(reply[at + 2]),
      payload: reply[at + 3] as Payload,
    });
  }
  return { last: String(reply[0]), more: Number(reply[1]) === 1, server: String(reply[2]), messages };
}

function serverErrorMessage(error: CommandError): string {
  return error.cause instanceof Error ? error.cause.message : error.message;
}
