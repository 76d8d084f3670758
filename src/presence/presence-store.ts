import type { Deadline } from '../deadlines.js';
import { ConnectionError, type RollcallError } from '../errors.js';
import type { PartitionKeys } from '../keys.js';
import { assertAccepted, type Link, RETRY_DELAY } from '../redis/link.js';
import { toRollcallError } from '../redis/replies.js';
import { Stopwatch, telemetry } from '../telemetry.js';
import { type Change, isRestoring } from './changes.js';
import type { Layout } from './layout.js';
import { Transaction } from './transaction.js';

/** What {@link PresenceStore} needs to know of its surroundings. */
export interface StoreOptions {
  readonly link: Link;
  readonly keys: readonly PartitionKeys[];
  readonly lease: number;
  readonly backstop: number;
  readonly lastSeenTtl: number;
  readonly statuses: readonly string[];
  readonly layout: Pick<Layout, 'publish'>;
  /** Resolves when writing is allowed. */
  readonly gate: () => Promise<void>;
  /** The id of this process's node, now. */
  readonly nodeId: () => string;
  /** Called around each transaction in which the node wrote facts, with its lease before and after. */
  readonly leases: LeaseObserver;
}

/** Compares what a transaction found of the node's lease with what was known when it was sent. */
export interface LeaseObserver {
  /** The lease last seen by this process. */
  known(partition: number): number;
  /** What a transaction found (0: not listed) and what it left (0: lost). */
  observed(partition: number, nodeId: string, known: number, was: number, is: number): void;
}

/** Counters of a {@link PresenceStore}. */
export interface StoreStats {
  /** Changes asked for. */
  changes: number;
  /** Transactions they travelled in. */
  transactions: number;
  /** Changes that wait now. */
  queued: number;
}

/** Users per transaction: enough to share its costs, few enough to block Redis for some ms only. */
const USERS_PER_TRANSACTION = 256;

class Job {
  deadline: Deadline | undefined;
  sent = false;

  constructor(
    readonly change: Change,
    readonly resolve: (record: string | null) => void,
    readonly reject: (error: RollcallError) => void,
  ) {}

  fail(error: RollcallError): void {
    this.deadline?.done();
    this.reject(error);
  }
}

/**
 * Writes facts, by group commit: a partition has at most one transaction under way per process, and
 * changes that arrive meanwhile travel together in the next one, settled by one script call. All of
 * it is idempotent, so a transaction is sent again whenever its fate is unclear.
 */
export class PresenceStore {
  readonly stats: StoreStats = { changes: 0, transactions: 0, queued: 0 };
  readonly #partitions: Partition[];

  constructor(options: StoreOptions) {
    this.#partitions = options.keys.map((keys, index) => new Partition(options, keys, index, this.stats));
  }

  /** Applies `change`; resolves with the user's settled record, `null` where there is none. */
  apply(partition: number, change: Change): Promise<string | null> {
    return (this.#partitions[partition] as Partition).apply(change);
  }

  /** Fails what has not been sent; nothing is sent any more. */
  close(error: RollcallError): void {
    for (const partition of this.#partitions) partition.close(error);
  }
}

class Partition {
  #queue: Job[] = [];
  #scheduled = false;
  #busy = false;
  #closed: RollcallError | undefined;
  #expiredInQueue = 0;

  constructor(
    readonly options: StoreOptions,
    readonly keys: PartitionKeys,
    readonly index: number,
    readonly stats: StoreStats,
  ) {}

  apply(change: Change): Promise<string | null> {
    const { link } = this.options;
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      const job = new Job(change, resolve, reject);
      job.deadline = link.deadlines.start(() => {
        job.fail(link.timeoutError('a change of presence', job.sent ? 'unknown' : 'failed'));
        if (!job.sent && ++this.#expiredInQueue * 2 > this.#queue.length) this.#dropExpired();
      });
      this.#queue.push(job);
      this.stats.changes++;
      this.stats.queued++;
      this.#schedule();
    });
  }

  close(error: RollcallError): void {
    this.#closed = error;
    this.failQueued(error);
  }

  failQueued(error: RollcallError): void {
    const queue = this.#queue;
    this.#queue = [];
    this.stats.queued -= queue.length;
    for (const job of queue) job.fail(error);
  }

  /** In a long outage calls come and expire; they must not pile up. */
  #dropExpired(): void {
    this.#expiredInQueue = 0;
    const before = this.#queue.length;
    this.#queue = this.#queue.filter((job) => job.deadline?.expired !== true);
    this.stats.queued -= before - this.#queue.length;
  }

  #schedule(): void {
    if (this.#scheduled || this.#busy) return;
    this.#scheduled = true;
    // After the microtasks: everything that one reply sets off travels together.
    process.nextTick(() => {
      this.options.gate().then(
        () => this.#whenReady(),
        (error: unknown) => {
          this.#scheduled = false;
          this.failQueued(toRollcallError(error));
        },
      );
    });
  }

  #whenReady(): void {
    this.options.link.session.whenReady((error) => {
      this.#scheduled = false;
      if (error === undefined) this.#pump();
      else this.failQueued(error);
    });
  }

  #pump(): void {
    if (this.#busy) return;
    const batch = this.#take();
    if (batch.length === 0) return;
    this.#busy = true;
    this.#send(batch).finally(() => {
      this.#busy = false;
      if (this.#queue.length > 0) this.#schedule();
    });
  }

  /** The oldest jobs that fit into one transaction; what has expired meanwhile never happens. */
  #take(): Job[] {
    const batch: Job[] = [];
    let at = 0;
    for (; at < this.#queue.length && batch.length < USERS_PER_TRANSACTION; at++) {
      const job = this.#queue[at] as Job;
      if (job.deadline?.expired === true) continue;
      const [first] = batch;
      if (first !== undefined && isRestoring(first.change) !== isRestoring(job.change)) break;
      batch.push(job);
    }
    this.#queue = this.#queue.slice(at);
    this.stats.queued -= at;
    return batch;
  }

  async #send(batch: Job[]): Promise<void> {
    const jobs = batch.filter((job) => job.deadline?.expired !== true);
    if (jobs.length === 0) return;
    if (this.#closed !== undefined) {
      // What was sent before, and broke off, may have happened.
      const closed = this.options.link.closedError('unknown');
      for (const job of jobs) job.fail(closed);
      return;
    }
    for (const job of jobs) job.sent = true;
    try {
      await this.#transact(jobs);
    } catch (cause) {
      const error = toRollcallError(cause);
      if (error instanceof ConnectionError) return this.#sendAgain(jobs);
      if (jobs.length > 1 && error.message.includes('WRONGTYPE')) {
        // A key that somebody else put in one user's place must not fail the others.
        const half = jobs.length >> 1;
        await this.#send(jobs.slice(0, half));
        return this.#send(jobs.slice(half));
      }
      for (const job of jobs) job.fail(error);
    }
  }

  #sendAgain(jobs: Job[]): Promise<void> {
    const { link } = this.options;
    return new Promise((resolve) => {
      link.clock.after(RETRY_DELAY, () => {
        link.session.whenReady((error) => {
          if (error === undefined) {
            this.#send(jobs).then(resolve);
            return;
          }
          const unsure = new ConnectionError(error.message, { cause: error, outcome: 'unknown' });
          for (const job of jobs) job.fail(unsure);
          resolve();
        });
      });
    });
  }

  async #timed<T>(changes: number, work: Promise<T>): Promise<T> {
    if (!telemetry.settle.on) return work;
    const watch = new Stopwatch();
    const ended = (error?: Error) =>
      telemetry.settle.emit({ partition: this.index, changes, ...watch.stop(error) });
    work.then(() => ended(), ended);
    return work;
  }

  async #transact(jobs: readonly Job[]): Promise<void> {
    const { link, nodeId, leases } = this.options;
    const node = nodeId();
    const changes = jobs.map((job) => job.change);
    const known = leases.known(this.index);
    const transaction = new Transaction({ ...this.options, keys: this.keys, node, known }, changes);
    this.stats.transactions++;
    const replies = await this.#timed(
      changes.length,
      link.session.execute(transaction.commands, { atomic: true, key: this.keys.nodes }),
    );
    assertAccepted('presence', replies);
    const { records, leases: seen } = transaction.settled(replies);
    for (const { was, is } of seen) leases.observed(this.index, node, known, was, is);
    for (const job of jobs) {
      job.deadline?.done();
      job.resolve(records.get(job.change.user) ?? null);
    }
  }
}
