import { AppendBatch, type AppendResult, type HistoryOptions, parseAppendReply } from '../history/append.js';
import type { Deadline } from '../internal/deadlines.js';
import { CommandError, ConnectionError, type RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import { type ClientHandle, RETRY_DELAY } from '../redis/client-handle.js';
import type { Payload, PlainCommand, Reply } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';

/** A message to be published. */
export interface PublishRequest {
  readonly channel: string;
  readonly sharded: boolean;
  readonly payload: Payload;
  /** Kept like this; otherwise not at all. */
  readonly history?: Required<HistoryOptions> | undefined;
  /** Only with `history`. */
  readonly idempotencyKey?: string | undefined;
}

/** What became of it; `position` and `duplicate` only with history. */
export type PublisherResult = Pick<AppendResult, 'receivers'> & Partial<AppendResult>;

/** One message on its way. */
class Publication {
  deadline: Deadline | undefined;
  /** Handed to the client; no answer yet. */
  sent = false;
  /** An earlier attempt may have happened. */
  maybePublished = false;
  readonly #watch = telemetry.publish.hasSubscribers ? new Stopwatch() : undefined;

  constructor(
    /** Its place among all of its publisher. */
    readonly order: number,
    readonly request: PublishRequest,
    readonly resolve: (outcome: PublisherResult) => void,
    readonly reject: (error: RollcallError) => void,
  ) {}

  /** Its command, where it needs none but its own. */
  get command(): PlainCommand {
    const { channel, sharded, payload } = this.request;
    return [sharded ? 'SPUBLISH' : 'PUBLISH', channel, payload];
  }

  succeed(outcome: PublisherResult): void {
    this.deadline?.done();
    this.#over(outcome);
    this.resolve(outcome);
  }

  fail(error: RollcallError): void {
    this.deadline?.done();
    this.#over({}, error);
    const unsure = this.maybePublished && error.outcome === 'failed';
    this.reject(unsure ? new ConnectionError(error.message, { cause: error, outcome: 'unknown' }) : error);
  }

  #over(outcome: Partial<PublisherResult>, error?: RollcallError): void {
    if (this.#watch === undefined) return;
    const { channel, payload, history } = this.request;
    const { receivers, position } = outcome;
    telemetry.publish.emit({
      channel,
      size: payload.length,
      history: history !== undefined,
      ...(receivers === undefined ? {} : { receivers }),
      ...(position === undefined ? {} : { position }),
      ...this.#watch.stop(error),
    });
  }
}

/** What one command is for: a publication, or some with history for one channel. */
type PublishCommand = Publication | AppendBatch<Publication>;

/**
 * Sends publications in the order they were asked for, all of one tick in one go, and only while
 * there is a connection: what waits here when its deadline passes has definitely not happened.
 * Nothing is ever sent twice, but for what an idempotency key makes one message of.
 */
export class Publisher {
  readonly #link: ClientHandle;
  #queue: Publication[] = [];
  #sequence = 0;
  #expiredInQueue = 0;
  #scheduled = false;
  /** Messages with history are on their way. */
  #busy = false;
  #closed = false;

  constructor(link: ClientHandle) {
    this.#link = link;
  }

  /** How many publications wait for a connection. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Publishes. */
  publish(request: PublishRequest): Promise<PublisherResult> {
    if (this.#closed) return Promise.reject(this.#link.closedError());
    return new Promise((resolve, reject) => {
      const publication = new Publication(this.#sequence++, request, resolve, reject);
      publication.deadline = this.#link.deadlines.start(() => this.#expired(publication));
      this.#queue.push(publication);
      this.#schedule();
    });
  }

  /** Fails what has not been sent, now and later. */
  close(): void {
    this.#closed = true;
    this.#failAll(this.#link.closedError());
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // After the microtasks: everything that the replies of one chunk set off travels together.
    process.nextTick(() => {
      this.#link.whenReady((error) => {
        this.#scheduled = false;
        if (error === undefined) this.#flush();
        else this.#failAll(error);
      });
    });
  }

  /**
   * A script that the server has forgotten is sent again; what is sent behind it meanwhile would overtake
   * it. So while messages with history are on their way, everything waits for the answer.
   */
  #flush(): void {
    this.#dropExpired();
    const batch = this.#queue;
    if (batch.length === 0 || this.#busy) return;
    this.#queue = [];
    for (const publication of batch) publication.sent = true;
    const shipments = groupIntoCommands(batch);
    // Plain publications are shipped as they are.
    this.#busy = shipments !== batch;
    void this.#send(batch, shipments).finally(() => {
      if (shipments === batch) return;
      this.#busy = false;
      if (this.#queue.length > 0) this.#schedule();
    });
  }

  async #send(batch: readonly Publication[], shipments: readonly PublishCommand[]): Promise<void> {
    const random = this.#link.clock.random();
    const commands = shipments.map((each) =>
      each instanceof Publication ? each.command : each.toScriptCall(random),
    );
    try {
      const replies = await this.#link.send(commands);
      for (let at = 0; at < shipments.length; at++)
        this.#answered(shipments[at] as PublishCommand, replies[at]);
    } catch (cause) {
      this.#failed(batch, toRollcallError(cause));
    }
  }

  #answered(shipment: PublishCommand, reply: Reply | undefined): void {
    const publications = shipment instanceof Publication ? [shipment] : shipment.items;
    // A part of a Cluster could not be reached; the others did their part.
    if (reply instanceof ConnectionError) this.#failed(publications, reply);
    else if (reply instanceof Error) {
      const error = new CommandError(`publish: Redis refused: ${reply.message}`, { cause: reply });
      for (const publication of publications) publication.fail(error);
    } else if (shipment instanceof Publication) shipment.succeed({ receivers: Number(reply) });
    else {
      const outcomes = parseAppendReply(reply as readonly Reply[]);
      publications.forEach((publication, at) => {
        publication.succeed(outcomes[at] as AppendResult);
      });
    }
  }

  #failed(batch: readonly Publication[], error: RollcallError): void {
    const back: Publication[] = [];
    for (const publication of batch) {
      publication.sent = false;
      if (!(error instanceof ConnectionError)) publication.fail(error);
      else if (error.outcome === 'failed') back.push(publication);
      else if (publication.request.idempotencyKey !== undefined) {
        publication.maybePublished = true;
        back.push(publication);
      } else publication.fail(error);
    }
    this.#requeue(back);
  }

  /** The connection went away: what was not sent, or may be sent again, waits for the next one. */
  #requeue(batch: readonly Publication[]): void {
    const waiting = batch.filter((publication) => publication.deadline?.expired !== true);
    if (waiting.length === 0) return;
    // Of several batches the earliest comes back first.
    this.#queue = this.#queue.concat(waiting).sort((one, two) => one.order - two.order);
    if (this.#closed) return this.#failAll(this.#link.closedError());
    // A driver that refuses while it says it is ready must not be asked in a tight loop.
    if (this.#link.ready) this.#link.clock.after(RETRY_DELAY, () => this.#schedule());
    else this.#schedule();
  }

  #expired(publication: Publication): void {
    if (!publication.sent && ++this.#expiredInQueue * 2 > this.#queue.length) this.#dropExpired();
    const unsure = publication.sent || publication.maybePublished;
    publication.fail(this.#link.timeoutError('publish', unsure ? 'unknown' : 'failed'));
  }

  #dropExpired(): void {
    this.#expiredInQueue = 0;
    this.#queue = this.#queue.filter((publication) => publication.deadline?.expired !== true);
  }

  #failAll(error: RollcallError): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const publication of queue) publication.fail(error);
  }
}

/** `batch` as commands will carry it: those with history together by channel, in the channel's order. */
function groupIntoCommands(batch: readonly Publication[]): readonly PublishCommand[] {
  if (batch.every(({ request }) => request.history === undefined)) return batch;
  const shipments: PublishCommand[] = [];
  const open = new Map<string, AppendBatch<Publication>>();
  for (const publication of batch) {
    const { channel, sharded, payload, history, idempotencyKey } = publication.request;
    if (history === undefined) {
      open.delete(channel);
      shipments.push(publication);
      continue;
    }
    const append = { channel, sharded, payload, history, idempotencyKey, item: publication };
    let group = open.get(channel);
    if (group?.accepts(append) !== true) {
      group = new AppendBatch(append);
      open.set(channel, group);
      shipments.push(group);
    }
    group.add(append);
  }
  return shipments;
}
