import { AppendBatch, type AppendResult, type HistoryOptions } from '../history/append.js';
import { formatErrorText, isFormatError } from '../history/keys.js';
import { runWithoutAsyncContext } from '../internal/async-context.js';
import type { Deadline } from '../internal/deadlines.js';
import { CommandError, ConfigurationError, ConnectionError, type RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import { type ClientHandle, RETRY_DELAY } from '../redis/client-handle.js';
import { databaseSuffix } from '../redis/database.js';
import type { Payload, PlainCommand, Reply } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';

export interface PublishRequest {
  readonly channel: string;
  readonly sharded: boolean;
  /** A promise during asynchronous validation, which counts towards the deadline. */
  readonly payload: Payload | Promise<Payload>;
  readonly history?: Required<HistoryOptions> | undefined;
  /** Only with `history`. */
  readonly idempotencyKey?: string | undefined;
}

export type PublisherResult = Pick<AppendResult, 'receivers'> & Partial<AppendResult>;

/** Exists until its promise settles. */
class Publication {
  deadline: Deadline | undefined;
  payload: Payload = '';
  /** Within its publisher. */
  order = 0;
  /** The reply is pending. */
  sent = false;
  /** An earlier attempt may have published the message. */
  maybePublished = false;
  readonly #emit = telemetry.publish.emitterForCaller();
  readonly #stopwatch = this.#emit && new Stopwatch();

  constructor(
    readonly request: PublishRequest,
    readonly resolve: (result: PublisherResult) => void,
    readonly reject: (error: RollcallError) => void,
  ) {}

  get command(): PlainCommand {
    const { channel, sharded } = this.request;
    return [sharded ? 'SPUBLISH' : 'PUBLISH', channel, this.payload];
  }

  succeed(result: PublisherResult): void {
    this.deadline?.done();
    this.#emitPublish(result);
    this.resolve(result);
  }

  fail(error: RollcallError): void {
    this.deadline?.done();
    this.#emitPublish({}, error);
    const unknown = this.maybePublished && error.outcome === 'failed';
    this.reject(unknown ? new ConnectionError(error.message, { cause: error, outcome: 'unknown' }) : error);
  }

  #emitPublish(result: Partial<PublisherResult>, error?: RollcallError): void {
    if (this.#emit === undefined || this.#stopwatch === undefined) return;
    const { channel, history } = this.request;
    const { receivers, position } = result;
    this.#emit({
      channel,
      size: this.payload.length,
      history: history !== undefined,
      ...(receivers === undefined ? {} : { receivers }),
      ...(position === undefined ? {} : { position }),
      ...this.#stopwatch.stop(error),
    });
  }
}

/** A message without history, or several with history. */
type PublishCommand = Publication | AppendBatch<Publication>;

/**
 * Sends messages in the order of the calls, one batch per tick, only while connected: a message queued at its
 * deadline was not published. No message is sent twice, unless an idempotency key makes both attempts one
 * message.
 */
export class Publisher {
  readonly #handle: ClientHandle;
  #queue: Publication[] = [];
  /** Their payload is a pending promise. */
  readonly #preparing = new Set<Publication>();
  #sequence = 0;
  #expiredInQueue = 0;
  #scheduled = false;
  /** A reply to messages with history is pending. */
  #busy = false;
  /** The messages of that reply, until their channels are in `#waitingChannels`: most batches end before another message comes. */
  #pending: readonly Publication[] = [];
  /** Messages that wait for that reply, and the channels that they or the pending messages are on. */
  #waiting: Publication[] = [];
  readonly #waitingChannels = new Set<string>();
  #closed = false;

  constructor(handle: ClientHandle) {
    this.#handle = handle;
  }

  get queued(): number {
    return this.#queue.length + this.#waiting.length;
  }

  publish(request: PublishRequest): Promise<PublisherResult> {
    if (this.#closed) return Promise.reject(this.#handle.closedError());
    return new Promise((resolve, reject) => {
      const publication = new Publication(request, resolve, reject);
      publication.deadline = this.#handle.deadlines.start(() => this.#onDeadline(publication));
      if (request.payload instanceof Promise) this.#prepare(publication, request.payload);
      else this.#enqueue(publication, request.payload);
    });
  }

  /** For a message rejected before it reached the publisher. */
  emitRejected({ channel, history }: Pick<PublishRequest, 'channel' | 'history'>, error: Error): void {
    const emit = telemetry.publish.emitterForCaller();
    emit?.({ channel, size: 0, history: history !== undefined, ...new Stopwatch().stop(error) });
  }

  #prepare(publication: Publication, payload: Promise<Payload>): void {
    this.#preparing.add(publication);
    payload.then(
      (ready) => {
        // Deleted at its deadline, or by `close`.
        if (this.#preparing.delete(publication)) this.#enqueue(publication, ready);
      },
      (error: unknown) => {
        if (this.#preparing.delete(publication)) publication.fail(toRollcallError(error));
      },
    );
  }

  #enqueue(publication: Publication, payload: Payload): void {
    publication.payload = payload;
    publication.order = this.#sequence++;
    this.#queue.push(publication);
    this.#schedule();
  }

  /** Rejects all unsent and later messages. */
  close(): void {
    this.#closed = true;
    for (const publication of this.#preparing) publication.fail(this.#handle.closedError());
    this.#preparing.clear();
    this.#failQueue(this.#handle.closedError());
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // After the microtasks, so that reactions to one chunk of replies are sent together.
    const flush = () => {
      this.#handle.whenReady((error) => {
        this.#scheduled = false;
        if (error === undefined) this.#flush();
        else this.#failQueue(error);
      });
    };
    runWithoutAsyncContext(() => process.nextTick(flush));
  }

  /**
   * After NOSCRIPT a script call is repeated, and other messages of its channels would overtake it. So while a
   * reply to messages with history is pending, messages with history wait, and so do messages without that
   * follow one with history on their channel.
   */
  #flush(): void {
    if (this.#expiredInQueue > 0) this.#removeExpired();
    if (this.#queue.length === 0) return;
    if (this.#busy) return this.#flushIndependent();
    const { batch, rest } = splitAfterAppends(this.#queue);
    this.#queue = [];
    for (const publication of batch) publication.sent = true;
    const commands = groupIntoCommands(batch, this.#handle.capabilities.cluster);
    if (commands === batch) return void this.#send(batch, commands);
    this.#busy = true;
    this.#waiting = rest;
    this.#pending = batch;
    void this.#send(batch, commands).finally(() => {
      this.#busy = false;
      this.#pending = [];
      this.#waitingChannels.clear();
      this.#queue = inOrder(this.#waiting, this.#queue);
      this.#waiting = [];
      if (this.#queue.length > 0) this.#schedule();
    });
  }

  #flushIndependent(): void {
    for (const { request } of this.#pending)
      if (request.history !== undefined) this.#waitingChannels.add(request.channel);
    this.#pending = [];
    const batch: Publication[] = [];
    for (const publication of this.#queue) {
      const { channel, history } = publication.request;
      if (history === undefined && !this.#waitingChannels.has(channel)) {
        publication.sent = true;
        batch.push(publication);
      } else {
        this.#waitingChannels.add(channel);
        this.#waiting.push(publication);
      }
    }
    this.#queue = [];
    if (batch.length > 0) void this.#send(batch, batch);
  }

  async #send(batch: readonly Publication[], commands: readonly PublishCommand[]): Promise<void> {
    const random = this.#handle.clock.random();
    const suffix = databaseSuffix(this.#handle.database);
    const encoded = commands.map((command) =>
      command instanceof Publication ? command.command : command.toScriptCall(random, suffix),
    );
    const split: AppendBatch<Publication>[] = [];
    try {
      const replies = await this.#handle.send(encoded);
      for (let at = 0; at < commands.length; at++) {
        const command = commands[at] as PublishCommand;
        const reply = replies[at];
        // Redis refuses the whole call if this user may not use the keys of one of its channels.
        if (isDenied(reply) && command instanceof AppendBatch && command.channelCount > 1) {
          split.push(...command.split());
        } else this.#settle(command, reply);
      }
    } catch (cause) {
      this.#onSendError(batch, toRollcallError(cause));
    }
    if (split.length > 0) {
      await this.#send(
        split.flatMap(({ items }) => items),
        split,
      );
    }
  }

  #settle(command: PublishCommand, reply: Reply | undefined): void {
    const publications = command instanceof Publication ? [command] : command.items;
    // One Cluster node was unreachable; the others replied.
    if (reply instanceof ConnectionError) this.#onSendError(publications, reply);
    else if (reply instanceof Error) {
      const error = new CommandError(`publish: Redis refused: ${reply.message}`, { cause: reply });
      for (const publication of publications) publication.fail(error);
    } else if (command instanceof Publication) command.succeed({ receivers: Number(reply) });
    else {
      const results = command.parseReply(reply as readonly Reply[]);
      publications.forEach((publication, at) => {
        const result = results[at] as AppendResult | string;
        if (typeof result === 'string') publication.fail(appendError(publication.request.channel, result));
        else publication.succeed(result);
      });
    }
  }

  #onSendError(batch: readonly Publication[], error: RollcallError): void {
    const retry: Publication[] = [];
    for (const publication of batch) {
      publication.sent = false;
      if (!(error instanceof ConnectionError)) publication.fail(error);
      else if (error.outcome === 'failed') retry.push(publication);
      else if (publication.request.idempotencyKey !== undefined) {
        publication.maybePublished = true;
        retry.push(publication);
      } else publication.fail(error);
    }
    this.#requeue(retry);
  }

  #requeue(batch: readonly Publication[]): void {
    const waiting = batch.filter((publication) => publication.deadline?.expired !== true);
    if (waiting.length === 0) return;
    // Several batches may fail; messages keep the order of the calls.
    this.#queue = inOrder(this.#queue, waiting);
    if (this.#closed) return this.#failQueue(this.#handle.closedError());
    // Prevents a tight loop if a ready driver refuses.
    if (this.#handle.ready) this.#handle.clock.after(RETRY_DELAY, () => this.#schedule());
    else this.#schedule();
  }

  #onDeadline(publication: Publication): void {
    const preparing = this.#preparing.delete(publication);
    if (!preparing && !publication.sent && ++this.#expiredInQueue * 2 > this.queued) this.#removeExpired();
    const unknown = publication.sent || publication.maybePublished;
    publication.fail(this.#handle.timeoutError('publish', unknown ? 'unknown' : 'failed'));
  }

  #removeExpired(): void {
    this.#expiredInQueue = 0;
    const pending = (publication: Publication) => publication.deadline?.expired !== true;
    this.#queue = this.#queue.filter(pending);
    this.#waiting = this.#waiting.filter(pending);
  }

  #failQueue(error: RollcallError): void {
    const queue = inOrder(this.#waiting, this.#queue);
    this.#queue = [];
    this.#waiting = [];
    for (const publication of queue) publication.fail(error);
  }
}

/** Those that must wait for a message with history on the same channel. */
function splitAfterAppends(queue: Publication[]): { batch: Publication[]; rest: Publication[] } {
  // Without messages of the other kind, no message has to wait for one.
  if (queue.every(({ request }) => request.history !== undefined)) return { batch: queue, rest: [] };
  const appended = new Set<string>();
  const waiting = new Set<string>();
  const rest: Publication[] = [];
  const batch = queue.filter((publication) => {
    const { channel, history } = publication.request;
    if (history !== undefined) appended.add(channel);
    else if (appended.has(channel)) waiting.add(channel);
    if (!waiting.has(channel)) return true;
    rest.push(publication);
    return false;
  });
  return { batch: rest.length === 0 ? queue : batch, rest };
}

/**
 * In `batch`, no message without history follows one with history on its channel. Keeps each channel's order. Returns
 * `batch` itself if no message has history. `perChannel`: a call has one channel, because a Cluster's script needs
 * all its keys in one slot.
 */
function groupIntoCommands(batch: readonly Publication[], perChannel: boolean): readonly PublishCommand[] {
  if (batch.every(({ request }) => request.history === undefined)) return batch;
  const plain: Publication[] = [];
  const batches: AppendBatch<Publication>[] = [];
  /** Index of the batch with the channel's latest message, unless it is 0: a later message must not be in an earlier batch. */
  const latest = new Map<string, number>();
  for (const publication of batch) {
    const { payload } = publication;
    const { channel, sharded, history, idempotencyKey } = publication.request;
    if (history === undefined) {
      plain.push(publication);
      continue;
    }
    const append = { channel, sharded, payload, history, idempotencyKey, item: publication };
    let at = (latest.size > 0 ? latest.get(channel) : undefined) ?? (perChannel ? batches.length : 0);
    while (batches[at]?.accepts(append) === false) at = perChannel ? batches.length : at + 1;
    batches[at] ??= new AppendBatch(append);
    batches[at]?.add(append);
    if (at > 0 || perChannel) latest.set(channel, at);
  }
  return [...plain, ...batches];
}

function inOrder(left: readonly Publication[], right: readonly Publication[]): Publication[] {
  if (left.length === 0) return [...right];
  return left.concat(right).sort((one, other) => one.order - other.order);
}

function isDenied(reply: Reply | undefined): boolean {
  return reply instanceof Error && reply.message.startsWith('NOPERM');
}

function appendError(channel: string, text: string): RollcallError {
  const cause = new Error(text);
  return isFormatError(text)
    ? new ConfigurationError(formatErrorText('publish', channel), { cause })
    : new CommandError(`publish: Redis refused: ${text}`, { cause });
}
