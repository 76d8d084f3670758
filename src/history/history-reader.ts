import { runWithoutAsyncContext } from '../internal/async-context.js';
import { backoff, type Clock, sleep } from '../internal/clock.js';
import { DeadlineQueue } from '../internal/deadlines.js';
import { CommandError, ConfigurationError, ConnectionError, TimeoutError } from '../internal/errors.js';
import type { SharedClient } from '../redis/client-handle.js';
import type { Command, Payload, Reply, ScriptCall } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import { defineScript } from '../redis/script.js';
import { ClusterMasters } from './cluster-masters.js';
import { unwrapStored } from './envelope.js';
import { formatErrorText, historyKeys, isFormatError } from './keys.js';
import type { ChainLink, Page } from './merge-into-chain.js';
import { DEFAULT_POSITION_TTL } from './options.js';
import { type Position, positionTime } from './position.js';
import readSource from './read.lua';
import { type HistoryServer, isSameServer } from './server-identity.js';

export const readScript = defineScript('read', readSource);

export interface StoredMessage extends ChainLink {
  readonly payload: Payload;
}

export interface ReadRequest {
  readonly channel: string;
  /** Exclusive. */
  readonly after?: Position | undefined;
  /** Exclusive. */
  readonly before?: Position | undefined;
  /** In messages. */
  readonly limit: number;
  /** In bytes; the first message is returned at any size. */
  readonly maxBytes?: number;
  readonly reverse?: boolean;
  readonly binary?: boolean;
  /** `cached`: by what is known of the connection; `now`: by asking the server. @default not at all */
  readonly identify?: 'cached' | 'now';
  /**
   * Server of the last page, and time (ms) of the last message or the gap. On a Cluster it reveals a moved
   * slot.
   */
  readonly previous?: { readonly server: HistoryServer; readonly since: number } | undefined;
  /** Creates a position if there is none, so that a later wipe shows. @default false */
  readonly createOrigin?: boolean;
}

interface PendingRead {
  readonly request: ReadRequest;
  readonly resolve: (page: Page<StoredMessage>) => void;
  readonly reject: (error: Error) => void;
}

/** Default of `maxBytes`. */
const MAX_PAGE_BYTES = 262_144;
/** Channels per call of the script. */
const BATCH = 64;
/** In bytes: the pages of a call must fit in memory, and must not block Redis. Channels beyond are read by the next call. */
const MAX_BATCH_BYTES = 1_048_576;
/** Fewer channels are one call of the script. From this many on, their last positions are read first, by one MGET. */
const MIN_POSITIONS = BATCH + 1;
/** Keys per MGET. */
const MAX_POSITIONS = 1_000;
/** The server can answer later. */
const RETRYABLE_ERROR = /^(?:LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|READONLY)\b/;
const FIRST_RETRY_DELAY = 50;
const MAX_RETRY_DELAY = 2_000;
/** Then a read fails. */
const MAX_ATTEMPTS = 3;

export interface RetryingReader {
  identify(channel: string): Promise<HistoryServer>;
  readWithRetry(request: ReadRequest, abandoned: () => boolean): Promise<Page<StoredMessage>>;
}

/** Reads requested in one turn of the event loop share a round trip and, except on a Cluster, a call of the script. */
export class HistoryReader implements RetryingReader {
  readonly #client: SharedClient;
  readonly #clock: Clock;
  readonly #deadlines: DeadlineQueue;
  /** Known once read; on a Cluster each slot has its own. */
  #server: HistoryServer | undefined;
  /** A reply from an earlier connection is not valid for this one. */
  #connection = 0;
  readonly #masters: ClusterMasters;
  /** This user may not use MGET. */
  #cannotReadPositions = false;
  readonly #queues: Record<'text' | 'binary', PendingRead[]> = { text: [], binary: [] };
  #scheduled = false;

  constructor(client: SharedClient, clock: Clock, timeout = 5_000) {
    this.#client = client;
    this.#clock = clock;
    this.#deadlines = new DeadlineQueue(clock, timeout);
    this.#masters = new ClusterMasters(client, clock);
    client.listen({
      connection: () => {
        this.#server = undefined;
        this.#connection++;
      },
    });
  }

  /** Needs no round trip if the server is known. */
  async identify(channel: string): Promise<HistoryServer> {
    if (this.#server !== undefined) return this.#server;
    await this.#rememberMasters();
    const { server } = await this.#read({ channel, limit: 0, identify: 'cached' });
    return server ?? '';
  }

  #read(request: ReadRequest): Promise<Page<StoredMessage>> {
    return new Promise((resolve, reject) => {
      this.#queues[request.binary === true ? 'binary' : 'text'].push({ request, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      const flush = () => {
        this.#scheduled = false;
        for (const mode of ['text', 'binary'] as const) {
          const reads = this.#queues[mode];
          this.#queues[mode] = [];
          if (reads.length > 0) void this.#send(reads, mode === 'binary');
        }
      };
      // At the end of the turn: each connection whose data arrives in it has ticks of its own.
      runWithoutAsyncContext(() => setImmediate(flush));
    });
  }

  /**
   * Waits for a connection without limit. Rejects if Redis refuses, after three attempts without an answer,
   * and once `abandoned` returns true.
   */
  async readWithRetry(request: ReadRequest, abandoned: () => boolean): Promise<Page<StoredMessage>> {
    let unanswered = 0;
    for (let attempt = 0; ; attempt++) {
      if (!this.#client.ready || this.#client.closed) await this.#whenReady();
      if (abandoned() || this.#client.closed)
        throw new ConnectionError('the read of the history was abandoned');
      try {
        return await this.#withDeadline(this.#readAndIdentify(request));
      } catch (cause) {
        const error = toRollcallError(cause);
        const permanent =
          error instanceof ConfigurationError ||
          (error instanceof CommandError && !RETRYABLE_ERROR.test(serverErrorMessage(error)));
        if (error instanceof TimeoutError) unanswered++;
        if (abandoned() || permanent || unanswered === MAX_ATTEMPTS) throw error;
      }
      await sleep(this.#clock, backoff(this.#clock, attempt, FIRST_RETRY_DELAY, MAX_RETRY_DELAY));
    }
  }

  #withDeadline<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const { timeout } = this.#deadlines;
      const deadline = this.#deadlines.start(() =>
        reject(new TimeoutError(`history was not read within ${timeout} ms`)),
      );
      work.then(resolve, reject).finally(() => deadline.done());
    });
  }

  /** On a Cluster, also distinguishes a moved slot from a failover. */
  async #readAndIdentify(request: ReadRequest): Promise<Page<StoredMessage>> {
    const { identify, previous } = request;
    if (identify === undefined || !this.#client.capabilities.cluster) return this.#read(request);
    await this.#rememberMasters();
    const page = await this.#read(request);
    const { server } = page;
    if (server === undefined) return page;
    if (previous === undefined || isSameServer(previous.server, server)) return page;
    return { ...page, moved: await this.#masters.isSlotMove(previous.server, server, previous.since) };
  }

  /** Before the first read on a Cluster: later comparisons need the earlier state. */
  async #rememberMasters(): Promise<void> {
    if (this.#client.capabilities.cluster) await this.#masters.remember();
  }

  #whenReady(): Promise<void> {
    return new Promise((resolve) => {
      // Ignores an error: the next attempt waits until the owner connects the client again.
      this.#client.whenReady(() => resolve());
    });
  }

  async #send(all: readonly PendingRead[], binary: boolean): Promise<void> {
    let reads = await this.#completeUnchanged(all, binary);
    while (reads.length > 0) {
      const batch = reads.slice(0, BATCH);
      reads = reads.slice(
        this.#client.capabilities.cluster
          ? await this.#readApart(batch, binary)
          : await this.#readTogether(batch, binary),
      );
    }
  }

  /** By one call of the script. Returns how many reads are complete; pages of later ones were too large. */
  async #readTogether(batch: readonly PendingRead[], binary: boolean): Promise<number> {
    const connection = this.#connection;
    const requests = batch.map(({ request }) => request);
    const identify = this.#mustIdentify(batch);
    try {
      const [reply] = await this.#client.execute([toScriptCall(requests, identify)], { buffers: binary });
      // One channel whose keys cannot be read must not fail the reads of others.
      if (reply instanceof Error && batch.length > 1) return await this.#readApart(batch, binary);
      const { server, pages } = parseReply(requests, reply, identify);
      this.#rememberServer(server, connection);
      for (const [place, page] of pages.entries()) this.#complete(batch[place] as PendingRead, page, server);
      return pages.length;
    } catch (error) {
      for (const { reject } of batch) reject(error as Error);
      return batch.length;
    }
  }

  /** By one call for each, in one round trip. Returns their number. */
  async #readApart(batch: readonly PendingRead[], binary: boolean): Promise<number> {
    const connection = this.#connection;
    const { cluster } = this.#client.capabilities;
    try {
      const identifying = this.#identifyingReads(batch);
      const calls = batch.map((read) => toScriptCall([read.request], identifying.has(read)));
      const replies = await this.#client.execute(calls, { buffers: binary });
      const parsed = batch.map((read, place) =>
        parseReply([read.request], replies[place], identifying.has(read)),
      );
      // Off a Cluster, all pages of a round trip are from one server.
      const shared = cluster ? undefined : parsed.find(({ server }) => server !== undefined)?.server;
      this.#rememberServer(shared, connection);
      for (const [place, read] of batch.entries()) {
        const { server = shared, pages } = parsed[place] as ParsedReply;
        this.#complete(read, pages[0] as Page<StoredMessage> | Error, server);
      }
    } catch (error) {
      for (const { reject } of batch) reject(error as Error);
    }
    return batch.length;
  }

  /**
   * After a reconnect most channels have no new messages. Their last positions show that at a fraction of the
   * cost of a script call each. Returns the reads that are not complete.
   */
  async #completeUnchanged(reads: readonly PendingRead[], binary: boolean): Promise<readonly PendingRead[]> {
    const candidates = reads.filter(({ request }) => isContinuation(request));
    const { cluster } = this.#client.capabilities;
    if (cluster || this.#cannotReadPositions || candidates.length < MIN_POSITIONS) return reads;
    const open = new Set(reads);
    for (let at = 0; at < candidates.length; at += MAX_POSITIONS) {
      const batch = candidates.slice(at, at + MAX_POSITIONS);
      const connection = this.#connection;
      try {
        const keys = batch.map(({ request }) => historyKeys(request.channel).lastPosition);
        const commands: Command[] = [['MGET', ...keys]];
        const [identifying] = this.#identifyingReads(batch);
        if (identifying !== undefined) commands.push(toScriptCall([identifying.request], true));
        const [positions, reply] = await this.#client.execute(commands, { buffers: binary });
        if (!Array.isArray(positions)) {
          this.#cannotReadPositions = positions instanceof Error;
          return [...open];
        }
        const identified = identifying && parseReply([identifying.request], reply, true);
        const server = identified?.server;
        this.#rememberServer(server, connection);
        for (const [place, read] of batch.entries()) {
          const last = positionOf(positions[place]);
          if (read === identifying)
            this.#complete(read, identified?.pages[0] as Page<StoredMessage> | Error, server);
          else if (last === read.request.after) this.#complete(read, emptyPage(last as Position), server);
          else continue;
          open.delete(read);
        }
      } catch (error) {
        for (const read of batch) {
          open.delete(read);
          read.reject(error as Error);
        }
      }
    }
    return [...open];
  }

  /** Unless the connection has changed since. On a Cluster there are several. */
  #rememberServer(server: HistoryServer | undefined, connection: number): void {
    if (server === undefined || this.#client.capabilities.cluster) return;
    if (connection === this.#connection) this.#server = server;
  }

  #mustIdentify(batch: readonly PendingRead[]): boolean {
    const requested = batch.filter(({ request }) => request.identify !== undefined);
    if (this.#client.capabilities.cluster || this.#server === undefined) return requested.length > 0;
    return requested.some(({ request }) => request.identify === 'now');
  }

  /** On a Cluster each read, otherwise at most one. */
  #identifyingReads(batch: readonly PendingRead[]): ReadonlySet<PendingRead> {
    if (!this.#mustIdentify(batch)) return new Set();
    const requested = batch.filter(({ request }) => request.identify !== undefined);
    if (this.#client.capabilities.cluster) return new Set(requested);
    // Random: if one channel cannot be read, a retry asks with another.
    return new Set([requested[Math.floor(this.#clock.random() * requested.length)] as PendingRead]);
  }

  #complete(
    { request, resolve, reject }: PendingRead,
    page: Page<StoredMessage> | Error,
    server: HistoryServer | undefined,
  ): void {
    if (page instanceof Error) return reject(page);
    if (request.identify === undefined) return resolve(page);
    const known = request.identify === 'cached' ? (server ?? this.#server) : server;
    if (known !== undefined) return resolve({ ...page, server: known });
    reject(new ConnectionError('history: the server was not identified', { outcome: 'failed' }));
  }
}

/** Such a read returns nothing if the last position is unchanged. */
function isContinuation({ after, before, reverse }: ReadRequest): boolean {
  return after !== undefined && before === undefined && reverse !== true;
}

/** append.lua stores more behind the position. */
function positionOf(stored: Reply | undefined): Position | undefined {
  return stored === null || stored === undefined ? undefined : String(stored).split(':', 1)[0];
}

function emptyPage(last: Position): Page<StoredMessage> {
  return { last, more: false, server: undefined, messages: [] };
}

function toScriptCall(requests: readonly ReadRequest[], identify: boolean): ScriptCall {
  const keys: string[] = [];
  const args = [identify ? '1' : '0', String(MAX_BATCH_BYTES)];
  for (const request of requests) {
    const { channel, after, before, limit, reverse, maxBytes = MAX_PAGE_BYTES, createOrigin } = request;
    const { messages, lastPosition } = historyKeys(channel);
    keys.push(messages, lastPosition);
    args.push(
      after === undefined ? '-' : String(positionTime(after)),
      before === undefined ? '+' : String(positionTime(before)),
      String(limit),
      String(maxBytes),
      reverse === true ? '1' : '0',
      createOrigin === true ? String(DEFAULT_POSITION_TTL) : '0',
    );
  }
  return { script: readScript, keys, args };
}

interface ParsedReply {
  readonly server: HistoryServer | undefined;
  /** At least one. */
  readonly pages: readonly (Page<StoredMessage> | Error)[];
}

function parseReply(
  requests: readonly ReadRequest[],
  reply: Reply | undefined,
  identified: boolean,
): ParsedReply {
  if (!Array.isArray(reply) || reply.length < 2) {
    return { server: undefined, pages: requests.map((request) => toError(request, reply)) };
  }
  const [server, ...pages] = reply as readonly Reply[];
  return {
    server: identified ? String(server) : undefined,
    pages: pages.map((page, at) => parsePage(requests[at] as ReadRequest, page)),
  };
}

function toError({ channel }: ReadRequest, reply: Reply | undefined): Error {
  // One node of a Cluster was unreachable; the others replied.
  if (reply instanceof ConnectionError) return reply;
  if (!(reply instanceof Error)) return new ConnectionError('history: no reply', { outcome: 'unknown' });
  return isFormatError(reply.message)
    ? new ConfigurationError(formatErrorText('history', channel), { cause: reply })
    : new CommandError(`history: Redis refused: ${reply.message}`, { cause: reply });
}

function parsePage({ channel }: ReadRequest, page: Reply): Page<StoredMessage> | Error {
  const [last, more, ...stored] = page as readonly Reply[];
  const messages: StoredMessage[] = [];
  for (const each of stored) {
    const message = unwrapStored(each as Payload);
    if (message === undefined) return new ConfigurationError(formatErrorText('history', channel));
    messages.push(message);
  }
  return { last: String(last), more: Number(more) === 1, server: undefined, messages };
}

function serverErrorMessage(error: CommandError): string {
  return error.cause instanceof Error ? error.cause.message : error.message;
}
