import type { Deadline, DeadlineQueue } from '../internal/deadlines.js';
import { ConnectionError, type RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import { assertNoErrorReply, type ClientHandle, RETRY_DELAY } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import type { PartitionKeys } from './keys.js';
import type { PartitionLayout } from './partition-layout.js';
import { Transaction } from './transaction.js';
import { isRestoring, type PresenceWrite } from './writes.js';

/** What {@link PresenceWriter} needs to know of its surroundings. */
export interface PresenceWriterOptions {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly lease: number;
  readonly keyTtl: number;
  readonly lastSeenTtl: number;
  readonly statuses: readonly string[];
  readonly layout: Pick<PartitionLayout, 'publishCommand'>;
  /** Resolves when writing is allowed. */
  readonly ready: () => Promise<void>;
  /** The id of this process's node, now. */
  readonly nodeId: () => string;
  /** Called around each transaction in which the node wrote facts, with its lease before and after. */
  readonly leases: LeaseObserver;
}

/** Compares what a transaction found of the node's lease with what was known when it was sent. */
export interface LeaseObserver {
  /** The lease last seen by this process. */
  knownLease(partition: number): number;
  /** What a transaction found (0: not listed) and what it left (0: lost). */
  onLeaseSeen(partition: number, nodeId: string, known: number, was: number, is: number): void;
}

/** Counters of a {@link PresenceWriter}. */
export interface PresenceWriterStats {
  /** Changes asked for. */
  changes: number;
  /** Transactions they travelled in. */
  transactions: number;
  /** Changes that wait now. */
  queued: number;
}

/** Users per transaction: enough to share its costs, few enough to block Redis for some ms only. */
const USERS_PER_TRANSACTION = 256;

/** Who is told what comes of a change: once, by one of the two. */
export interface WriteCallbacks {
  /** It is written; the user's settled record, `null` where there is none. */
  onCommitted(record: string | null): void;
  onFailed(error: RollcallError): void;
}

/** A change on its way, and who waits for it. */
class PendingWrite {
  sent = false;
  /** Its waiter has been told. */
  over = false;

  constructor(
    readonly change: PresenceWrite,
    readonly waiter: WriteCallbacks,
    readonly arrivals: DeadlineGroup,
  ) {}

  settle(record: string | null): void {
    if (this.#end()) this.waiter.onCommitted(record);
  }

  fail(error: RollcallError): void {
    if (this.#end()) this.waiter.onFailed(error);
  }

  #end(): boolean {
    if (this.over) return false;
    this.over = true;
    this.arrivals.left();
    return true;
  }
}

/** For how long, in ms, calls join those before them. */
const DEADLINE_GROUP_WINDOW = 1;

/** Jobs that came at the same time: they share a deadline, for one each would cost more than they do. */
class DeadlineGroup {
  readonly jobs: PendingWrite[] = [];
  readonly #since: number;
  readonly #deadline: Deadline;
  #open = 0;

  constructor(now: number, deadlines: DeadlineQueue, expire: (jobs: readonly PendingWrite[]) => void) {
    this.#since = now;
    this.#deadline = deadlines.start(() => expire(this.jobs));
  }

  /** Whether one more may come: not when the deadline is over, nor when they fill a transaction. */
  open(now: number): boolean {
    return (
      this.#open > 0 && this.jobs.length < USERS_PER_TRANSACTION && now - this.#since < DEADLINE_GROUP_WINDOW
    );
  }

  add(change: PresenceWrite, waiter: WriteCallbacks): PendingWrite {
    const job = new PendingWrite(change, waiter, this);
    this.jobs.push(job);
    this.#open++;
    return job;
  }

  /** One of them is over. */
  left(): void {
    if (--this.#open === 0) this.#deadline.done();
  }
}

/**
 * Writes facts, by group commit: a partition has at most one transaction under way per process, and
 * changes that arrive meanwhile travel together in the next one, settled by one script call. All of
 * it is idempotent, so a transaction is sent again whenever its fate is unclear.
 */
export class PresenceWriter {
  readonly stats: PresenceWriterStats = { changes: 0, transactions: 0, queued: 0 };
  readonly #partitions: PartitionWriter[];

  constructor(options: PresenceWriterOptions) {
    this.#partitions = options.keys.map(
      (keys, index) => new PartitionWriter(options, keys, index, this.stats),
    );
  }

  /** Applies `change`; resolves with the user's settled record, `null` where there is none. */
  apply(partition: number, change: PresenceWrite): Promise<string | null> {
    return new Promise((settled, failed) =>
      this.submit(partition, change, { onCommitted: settled, onFailed: failed }),
    );
  }

  /** The same for one who waits without a promise, of which a storm of calls has enough. */
  submit(partition: number, change: PresenceWrite, waiter: WriteCallbacks): void {
    (this.#partitions[partition] as PartitionWriter).submit(change, waiter);
  }

  /** Fails what has not been sent; nothing is sent any more. */
  close(error: RollcallError): void {
    for (const partition of this.#partitions) partition.close(error);
  }
}

class PartitionWriter {
  /** The oldest first: those in front of `#head` have left. */
  #queue: PendingWrite[] = [];
  #head = 0;
  #arrivals: DeadlineGroup | undefined;
  #scheduled = false;
  #busy = false;
  #closed: RollcallError | undefined;

  constructor(
    readonly options: PresenceWriterOptions,
    readonly keys: PartitionKeys,
    readonly index: number,
    readonly stats: PresenceWriterStats,
  ) {}

  submit(change: PresenceWrite, waiter: WriteCallbacks): void {
    if (this.#closed !== undefined) return waiter.onFailed(this.#closed);
    const now = this.options.client.clock.monotonic();
    if (this.#arrivals?.open(now) !== true) this.#arrivals = this.#createDeadlineGroup(now);
    this.#queue.push(this.#arrivals.add(change, waiter));
    this.stats.changes++;
    this.stats.queued++;
    this.#schedule();
  }

  close(error: RollcallError): void {
    this.#closed = error;
    this.failQueued(error);
  }

  failQueued(error: RollcallError): void {
    const jobs = this.#queue.slice(this.#head);
    this.#advanceHead(this.#queue.length);
    for (const job of jobs) job.fail(error);
  }

  #createDeadlineGroup(now: number): DeadlineGroup {
    const { client } = this.options;
    return new DeadlineGroup(now, client.deadlines, (jobs) => {
      for (const job of jobs) {
        if (!job.over) job.fail(client.timeoutError('a change of presence', job.sent ? 'unknown' : 'failed'));
      }
      this.#dropExpired();
    });
  }

  /** In a long outage calls come and expire; they must not pile up. The oldest expire first. */
  #dropExpired(): void {
    let head = this.#head;
    while (this.#queue[head]?.over === true) head++;
    this.#advanceHead(head);
  }

  /** Everything in front of `head` has left the queue. */
  #advanceHead(head: number): void {
    this.stats.queued -= head - this.#head;
    this.#head = head;
    if (head * 2 < this.#queue.length) return;
    this.#queue = this.#queue.slice(head);
    this.#head = 0;
  }

  #schedule(): void {
    if (this.#scheduled || this.#busy) return;
    this.#scheduled = true;
    // After the microtasks: everything that one reply sets off travels together.
    process.nextTick(() => {
      this.options.ready().then(
        () => this.#whenReady(),
        (error: unknown) => {
          this.#scheduled = false;
          this.failQueued(toRollcallError(error));
        },
      );
    });
  }

  #whenReady(): void {
    this.options.client.whenReady((error) => {
      this.#scheduled = false;
      if (error === undefined) this.#flush();
      else this.failQueued(error);
    });
  }

  #flush(): void {
    if (this.#busy) return;
    const batch = this.#nextBatch();
    if (batch.length === 0) return;
    this.#busy = true;
    this.#send(batch).finally(() => {
      this.#busy = false;
      if (this.#queue.length > this.#head) this.#schedule();
    });
  }

  /** The oldest jobs that fit into one transaction; what has expired meanwhile never happens. */
  #nextBatch(): PendingWrite[] {
    const batch: PendingWrite[] = [];
    let at = this.#head;
    for (; at < this.#queue.length && batch.length < USERS_PER_TRANSACTION; at++) {
      const job = this.#queue[at] as PendingWrite;
      if (job.over) continue;
      const [first] = batch;
      if (first !== undefined && isRestoring(first.change) !== isRestoring(job.change)) break;
      batch.push(job);
    }
    this.#advanceHead(at);
    return batch;
  }

  async #send(batch: PendingWrite[]): Promise<void> {
    const jobs = batch.filter((job) => !job.over);
    if (jobs.length === 0) return;
    if (this.#closed !== undefined) {
      // What was sent before, and broke off, may have happened.
      const closed = this.options.client.closedError('unknown');
      for (const job of jobs) job.fail(closed);
      return;
    }
    for (const job of jobs) job.sent = true;
    try {
      await this.#commit(jobs);
    } catch (cause) {
      const error = toRollcallError(cause);
      if (error instanceof ConnectionError) return this.#retry(jobs);
      if (jobs.length > 1 && error.message.includes('WRONGTYPE')) {
        // A key that somebody else put in one user's place must not fail the others.
        const half = jobs.length >> 1;
        await this.#send(jobs.slice(0, half));
        return this.#send(jobs.slice(half));
      }
      for (const job of jobs) job.fail(error);
    }
  }

  #retry(jobs: PendingWrite[]): Promise<void> {
    const { client } = this.options;
    return new Promise((resolve) => {
      client.clock.after(RETRY_DELAY, () => {
        client.whenReady((error) => {
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
    if (!telemetry.settle.hasSubscribers) return work;
    const watch = new Stopwatch();
    const ended = (error?: Error) =>
      telemetry.settle.emit({ partition: this.index, changes, ...watch.stop(error) });
    work.then(() => ended(), ended);
    return work;
  }

  async #commit(jobs: readonly PendingWrite[]): Promise<void> {
    const { client, nodeId, leases } = this.options;
    const node = nodeId();
    const changes = jobs.map((job) => job.change);
    const known = leases.knownLease(this.index);
    const transaction = new Transaction({ ...this.options, keys: this.keys, node, known }, changes);
    this.stats.transactions++;
    const replies = await this.#timed(
      changes.length,
      client.send(transaction.commands, {
        atomic: transaction.commands.length > 1,
        key: this.keys.nodes,
      }),
    );
    assertNoErrorReply('presence', replies);
    const { recordOf, leases: seen } = transaction.parseReplies(replies);
    for (const { was, is } of seen) leases.onLeaseSeen(this.index, node, known, was, is);
    for (const job of jobs) job.settle(recordOf(job.change.user));
  }
}
