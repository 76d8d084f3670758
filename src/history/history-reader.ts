import { backoff, type Clock, withTimeout } from '../internal/clock.js';
import { CommandError, ConnectionError, TimeoutError } from '../internal/errors.js';
import type { Payload, Reply, ScriptCall } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import { defineScript } from '../redis/script.js';
import type { SharedClient } from '../redis/shared-client.js';
import type { ChainLink, Page } from './chain.js';
import { historyKeys } from './keys.js';
import { type Position, positionTime } from './position.js';
import readSource from './read.lua';

/** Reads a page; see read.lua. */
export const readScript = defineScript('read', readSource);

/** A message as it is stored in the history. */
export interface StoredMessage extends ChainLink {
  readonly payload: Payload;
}

/** A page to read of one channel. */
export interface ReadRequest {
  readonly channel: string;
  /** Only messages after this position. */
  readonly after?: Position | undefined;
  /** Only messages before this position. */
  readonly before?: Position | undefined;
  /** The maximum number of messages. */
  readonly limit: number;
  /** The maximum number of bytes; applies from the second message on. */
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

/** Default of `maxBytes`. */
const MAX_PAGE_BYTES = 262_144;
/** Channels per round trip: few enough that all their pages fit in memory. */
const BATCH = 64;
/** Errors that say that the server can answer later. */
const RETRYABLE_ERROR = /^(?:LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|READONLY)\b/;
const FIRST_RETRY_DELAY = 50;
const MAX_RETRY_DELAY = 2_000;
/** Attempts without an answer, after which a read fails. */
const MAX_ATTEMPTS = 3;

/** Reads pages of histories. */
export interface RetryingReader {
  /** See {@link HistoryReader.read}. */
  read(request: ReadRequest): Promise<Page<StoredMessage>>;
  /** See {@link HistoryReader.readWithRetry}. */
  readWithRetry(request: ReadRequest, abandoned: () => boolean): Promise<Page<StoredMessage>>;
}

/** Reads pages of histories from Redis. Reads requested in one tick share a round trip. */
export class HistoryReader implements RetryingReader {
  readonly #client: SharedClient;
  readonly #clock: Clock;
  readonly #timeout: number;
  readonly #queues: Record<'text' | 'binary', PendingRead[]> = { text: [], binary: [] };
  #scheduled = false;

  constructor(client: SharedClient, clock: Clock, timeout = 5_000) {
    this.#client = client;
    this.#clock = clock;
    this.#timeout = timeout;
  }

  /** Reads a page in one attempt. */
  read(request: ReadRequest): Promise<Page<StoredMessage>> {
    return new Promise((resolve, reject) => {
      this.#queues[request.binary === true ? 'binary' : 'text'].push({ request, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      process.nextTick(() => {
        this.#scheduled = false;
        for (const mode of ['text', 'binary'] as const) {
          const reads = this.#queues[mode];
          this.#queues[mode] = [];
          if (reads.length > 0) void this.#send(reads, mode === 'binary');
        }
      });
    });
  }

  /**
   * Reads a page, and waits for a connection without a limit. Rejects if Redis refuses (no permission, for
   * example), if it does not answer three attempts, and once `abandoned` returns true.
   */
  async readWithRetry(request: ReadRequest, abandoned: () => boolean): Promise<Page<StoredMessage>> {
    let unanswered = 0;
    for (let attempt = 0; ; attempt++) {
      await this.#whenReady();
      if (abandoned() || this.#client.closed)
        throw new ConnectionError('the read of the history was abandoned');
      try {
        const onTimeout = () => new TimeoutError(`history was not read within ${this.#timeout} ms`);
        return await withTimeout(this.#clock, this.#timeout, this.read(request), onTimeout);
      } catch (cause) {
        const error = toRollcallError(cause);
        const permanent = error instanceof CommandError && !RETRYABLE_ERROR.test(serverErrorMessage(error));
        if (error instanceof TimeoutError) unanswered++;
        if (abandoned() || permanent || unanswered === MAX_ATTEMPTS) throw error;
      }
      await new Promise<void>((resolve) => {
        this.#clock.after(backoff(this.#clock, attempt, FIRST_RETRY_DELAY, MAX_RETRY_DELAY), resolve);
      });
    }
  }

  #whenReady(): Promise<void> {
    return new Promise((resolve) => {
      // Ignores an error: its owner may connect the client again, and the next attempt waits for that.
      this.#client.whenReady(() => resolve());
    });
  }

  async #send(reads: readonly PendingRead[], binary: boolean): Promise<void> {
    for (let at = 0; at < reads.length; at += BATCH) {
      const batch = reads.slice(at, at + BATCH);
      try {
        const calls = batch.map(({ request }) => toScriptCall(request));
        const replies = await this.#client.execute(calls, { buffers: binary });
        batch.forEach((read, at) => {
          completeRead(read, replies[at]);
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
  const { stream, lastPosition } = historyKeys(channel);
  return {
    script: readScript,
    keys: [stream, lastPosition],
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
