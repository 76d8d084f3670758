import type { Deadline } from '../deadlines.js';
import { CommandError, ConnectionError, type RollcallError } from '../errors.js';
import type { PlainCommand } from '../redis/driver.js';
import { type Link, RETRY_DELAY } from '../redis/link.js';
import { toRollcallError } from '../redis/replies.js';

/** One PUBLISH on its way. */
class Publication {
  deadline: Deadline | undefined;
  sent = false;

  constructor(
    readonly command: PlainCommand,
    readonly resolve: (receivers: number) => void,
    readonly reject: (error: RollcallError) => void,
  ) {}
}

/**
 * Sends publications in the order they were asked for, all of one tick in one go, and only while
 * there is a connection: what waits here when its deadline passes has definitely not happened.
 * Nothing is ever sent twice.
 */
export class Publisher {
  readonly #link: Link;
  #queue: Publication[] = [];
  #expiredInQueue = 0;
  #scheduled = false;
  #closed = false;

  constructor(link: Link) {
    this.#link = link;
  }

  /** How many publications wait for a connection. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Publishes; resolves with the number of receivers Redis counted. */
  publish(command: PlainCommand): Promise<number> {
    return new Promise((resolve, reject) => {
      const publication = new Publication(command, resolve, reject);
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
      this.#link.session.whenReady((error) => {
        this.#scheduled = false;
        if (error === undefined) void this.#flush();
        else this.#failAll(error);
      });
    });
  }

  async #flush(): Promise<void> {
    this.#dropExpired();
    const batch = this.#queue;
    if (batch.length === 0) return;
    this.#queue = [];
    for (const publication of batch) publication.sent = true;
    try {
      const replies = await this.#link.session.execute(batch.map((publication) => publication.command));
      for (let at = 0; at < batch.length; at++) {
        const publication = batch[at] as Publication;
        const reply = replies[at];
        if (reply instanceof Error) {
          fail(publication, new CommandError(`publish: Redis refused: ${reply.message}`, { cause: reply }));
        } else {
          publication.deadline?.done();
          publication.resolve(Number(reply));
        }
      }
    } catch (cause) {
      const error = toRollcallError(cause);
      if (error instanceof ConnectionError && error.outcome === 'failed') this.#takeBack(batch);
      else for (const publication of batch) fail(publication, error);
    }
  }

  /** The connection went away just before: nothing was sent, so all of it waits for the next one. */
  #takeBack(batch: Publication[]): void {
    const waiting = batch.filter((publication) => publication.deadline?.expired !== true);
    for (const publication of waiting) publication.sent = false;
    this.#queue = waiting.concat(this.#queue);
    if (this.#closed) return this.#failAll(this.#link.closedError());
    // A driver that refuses while it says it is ready must not be asked in a tight loop.
    if (this.#link.session.ready) this.#link.clock.after(RETRY_DELAY, () => this.#schedule());
    else this.#schedule();
  }

  #expired(publication: Publication): void {
    if (!publication.sent && ++this.#expiredInQueue * 2 > this.#queue.length) this.#dropExpired();
    publication.reject(this.#link.timeoutError('publish', publication.sent ? 'unknown' : 'failed'));
  }

  #dropExpired(): void {
    this.#expiredInQueue = 0;
    this.#queue = this.#queue.filter((publication) => publication.deadline?.expired !== true);
  }

  #failAll(error: RollcallError): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const publication of queue) fail(publication, error);
  }
}

function fail(publication: Publication, error: RollcallError): void {
  publication.deadline?.done();
  publication.reject(error);
}
