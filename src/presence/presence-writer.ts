import { runWithoutAsyncContext } from '../internal/async-context.js';
import { sleep } from '../internal/clock.js';
import type { Deadline, DeadlineQueue } from '../internal/deadlines.js';
import { CommandError, ConnectionError, type RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import { assertNoErrorReply, type ClientHandle, RETRY_DELAY } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import type { HiddenUsers } from './hidden-users.js';
import type { PartitionKeys } from './keys.js';
import type { NodeLease } from './node-lease.js';
import type { PartitionLayout } from './partition-layout.js';
import type { RoomGraces } from './room-graces.js';
import type { Startup } from './startup.js';
import { Transaction } from './transaction.js';
import { isBackgroundWrite, kindOfTransaction, type PresenceWrite } from './writes.js';

/** Durations in ms. */
export interface PresenceWriterOptions {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly lease: number;
  readonly keyTtl: number;
  readonly lastSeenTtl: number;
  readonly statusPriority: readonly string[];
  readonly layout: Pick<PartitionLayout, 'publishCommand'>;
  /** Completed before the first write. */
  readonly startup: Pick<Startup, 'run'>;
  /** Owns the entries; every transaction returns its lease. */
  readonly nodeLease: Pick<NodeLease, 'id' | 'knownLease' | 'onLeaseSeen'>;
  /** Receives every returned record. */
  readonly hidden: Pick<HiddenUsers, 'until' | 'concealsLastSeen' | 'observe'>;
  readonly roomGraces: Pick<RoomGraces, 'onWrite'>;
}

export interface PresenceWriterStats {
  changes: number;
  transactions: number;
  queued: number;
}

/** Shares the cost of a transaction, but blocks Redis for a few ms only. */
const WRITES_PER_TRANSACTION = 256;

/** One key has another type, which concerns no other key. */
export function isWrongType(error: unknown): boolean {
  return error instanceof CommandError && error.message.includes('WRONGTYPE');
}

/** One of them is called, once. */
export interface WriteCallbacks {
  /** `null`: no record. */
  onCommitted(record: string | null): void;
  onFailed(error: RollcallError): void;
}

class PendingWrite {
  sent = false;
  /** A callback was called. */
  settled = false;

  constructor(
    readonly write: PresenceWrite,
    readonly callbacks: WriteCallbacks,
    readonly deadlineGroup: DeadlineGroup,
  ) {}

  commit(record: string | null): void {
    if (this.#settle()) this.callbacks.onCommitted(record);
  }

  fail(error: RollcallError): void {
    if (this.#settle()) this.callbacks.onFailed(error);
  }

  #settle(): boolean {
    if (this.settled) return false;
    this.settled = true;
    this.deadlineGroup.onSettled();
    return true;
  }
}

/** In ms. */
const DEADLINE_GROUP_WINDOW = 1;

/** Writes requested at the same time share a deadline, because one for each would cost more than the write. */
class DeadlineGroup {
  readonly writes: PendingWrite[] = [];
  readonly #since: number;
  readonly #deadline: Deadline;
  #unsettled = 0;

  constructor(now: number, deadlines: DeadlineQueue, expire: (writes: readonly PendingWrite[]) => void) {
    this.#since = now;
    this.#deadline = deadlines.start(() => expire(this.writes));
  }

  /** False after the deadline, or once the writes fill a transaction. */
  accepts(now: number): boolean {
    return (
      this.#unsettled > 0 &&
      this.writes.length < WRITES_PER_TRANSACTION &&
      now - this.#since < DEADLINE_GROUP_WINDOW
    );
  }

  add(write: PresenceWrite, callbacks: WriteCallbacks): PendingWrite {
    const pending = new PendingWrite(write, callbacks, this);
    this.writes.push(pending);
    this.#unsettled++;
    return pending;
  }

  onSettled(): void {
    if (--this.#unsettled === 0) this.#deadline.done();
  }
}

/** A command that takes the place of a transaction. */
interface Turn {
  /** The caller no longer waits for it. */
  readonly abandoned: boolean;
  /** @throws {@link ConnectionError} to be called again. */
  run(): Promise<void>;
  fail(error: RollcallError): void;
}

/**
 * Group commit: at most one transaction per partition is in progress; writes requested meanwhile share the next
 * one. Transactions are idempotent: one with an unknown outcome is sent again.
 */
export class PresenceWriter {
  readonly stats: PresenceWriterStats = { changes: 0, transactions: 0, queued: 0 };
  readonly #partitions: PartitionWriter[];

  constructor(options: PresenceWriterOptions) {
    this.#partitions = options.keys.map(
      (keys, index) => new PartitionWriter(options, keys, index, this.stats),
    );
  }

  /** Resolves with the user's record; `null`: none. */
  apply(partition: number, write: PresenceWrite): Promise<string | null> {
    return new Promise((resolve, reject) =>
      this.submit(partition, write, { onCommitted: resolve, onFailed: reject }),
    );
  }

  /** As {@link apply}, without a promise, which costs too much in a storm of calls. */
  submit(partition: number, write: PresenceWrite, callbacks: WriteCallbacks): void {
    (this.#partitions[partition] as PartitionWriter).submit(write, callbacks);
  }

  /**
   * Runs `command` between two transactions, before queued writes, and again whenever the connection breaks. No two
   * commands that renew the lease may be in progress: one that Redis receives again after a failover would carry an
   * older lease than the reply of the other, and would hide that the other was lost.
   *
   * @throws {@link TimeoutError} with `what` at the deadline. Until Redis has settled the command, no other starts.
   */
  runAlone<T>(partition: number, what: string, command: () => Promise<T>): Promise<T> {
    return (this.#partitions[partition] as PartitionWriter).runAlone(what, command);
  }

  /** Fails queued writes and sends no more. */
  close(error: RollcallError): void {
    for (const partition of this.#partitions) partition.close(error);
  }
}

class PartitionWriter {
  /** Oldest first, from `#head` on. */
  #queue: PendingWrite[] = [];
  #head = 0;
  /** Precede the queue. */
  #turns: Turn[] = [];
  #deadlineGroup: DeadlineGroup | undefined;
  #scheduled = false;
  #busy = false;
  #closed: RollcallError | undefined;

  constructor(
    readonly options: PresenceWriterOptions,
    readonly keys: PartitionKeys,
    readonly index: number,
    readonly stats: PresenceWriterStats,
  ) {}

  submit(write: PresenceWrite, callbacks: WriteCallbacks): void {
    if (this.#closed !== undefined) return callbacks.onFailed(this.#closed);
    this.options.roomGraces.onWrite(this.index, write);
    const now = this.options.client.clock.monotonic();
    if (this.#deadlineGroup?.accepts(now) !== true) this.#deadlineGroup = this.#createDeadlineGroup(now);
    this.#queue.push(this.#deadlineGroup.add(write, callbacks));
    this.stats.changes++;
    this.stats.queued++;
    this.#schedule();
  }

  async runAlone<T>(what: string, command: () => Promise<T>): Promise<T> {
    let sent = false;
    let abandoned = false;
    const waitForTurn = () =>
      new Promise<T>((resolve, reject) => {
        if (this.#closed !== undefined) return reject(this.#closed);
        this.#turns.push({
          get abandoned() {
            return abandoned;
          },
          run: async () => {
            sent = true;
            resolve(await command());
          },
          fail: reject,
        });
        this.#schedule();
      });
    try {
      return await this.options.client.withDeadline(what, waitForTurn, () => sent);
    } finally {
      abandoned = true;
    }
  }

  close(error: RollcallError): void {
    this.#closed = error;
    this.failQueued(error);
  }

  failQueued(error: RollcallError): void {
    for (const turn of this.#turns.splice(0)) turn.fail(error);
    const queued = this.#queue.slice(this.#head);
    this.#advanceHead(this.#queue.length);
    for (const pending of queued) pending.fail(error);
  }

  #createDeadlineGroup(now: number): DeadlineGroup {
    const { client } = this.options;
    return new DeadlineGroup(now, client.deadlines, (writes) => {
      for (const pending of writes) {
        if (pending.settled) continue;
        pending.fail(client.timeoutError('a change of presence', pending.sent ? 'unknown' : 'failed'));
      }
      this.#dropExpired();
    });
  }

  /** Expired writes would accumulate in a long outage. The oldest expire first. */
  #dropExpired(): void {
    let head = this.#head;
    while (this.#queue[head]?.settled === true) head++;
    this.#advanceHead(head);
  }

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
    const flush = () => {
      this.options.startup.run().then(
        () => this.#whenReady(),
        (error: unknown) => {
          this.#scheduled = false;
          this.failQueued(toRollcallError(error));
        },
      );
    };
    // At the end of the turn: writes requested because of one reply, or by connections whose data arrived together, share a
    // transaction.
    runWithoutAsyncContext(() => setImmediate(flush));
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
    const work = this.#nextTurn() ?? this.#nextTransaction();
    if (work === undefined) return;
    this.#busy = true;
    work.finally(() => {
      this.#busy = false;
      if (this.#turns.length > 0 || this.#queue.length > this.#head) this.#schedule();
    });
  }

  #nextTransaction(): Promise<void> | undefined {
    const batch = this.#nextBatch();
    return batch.length === 0 ? undefined : this.#send(batch);
  }

  #nextTurn(): Promise<void> | undefined {
    this.#turns = this.#turns.filter(({ abandoned }) => !abandoned);
    const turn = this.#turns.shift();
    return turn && this.#run(turn);
  }

  async #run(turn: Turn): Promise<void> {
    try {
      await turn.run();
    } catch (cause) {
      const error = toRollcallError(cause);
      if (!(error instanceof ConnectionError)) return turn.fail(error);
      await this.#retryDelay();
      if (this.#closed === undefined) this.#turns.unshift(turn);
      else turn.fail(this.options.client.closedError('unknown'));
    }
  }

  #retryDelay(): Promise<void> {
    return sleep(this.options.client.clock, RETRY_DELAY);
  }

  /** The oldest writes that fit into one transaction, without expired ones. */
  #nextBatch(): PendingWrite[] {
    const batch: PendingWrite[] = [];
    let at = this.#head;
    for (; at < this.#queue.length && batch.length < WRITES_PER_TRANSACTION; at++) {
      const pending = this.#queue[at] as PendingWrite;
      if (pending.settled) continue;
      const [first] = batch;
      if (first !== undefined && kindOfTransaction(first.write) !== kindOfTransaction(pending.write)) break;
      batch.push(pending);
    }
    this.#advanceHead(at);
    return batch;
  }

  async #send(batch: PendingWrite[]): Promise<void> {
    const writes = batch.filter((pending) => !pending.settled);
    if (writes.length === 0) return;
    if (this.#closed !== undefined) {
      // An earlier attempt may have taken effect.
      const closed = this.options.client.closedError('unknown');
      for (const pending of writes) pending.fail(closed);
      return;
    }
    for (const pending of writes) pending.sent = true;
    try {
      await this.#commit(writes);
    } catch (cause) {
      const error = toRollcallError(cause);
      if (error instanceof ConnectionError) return this.#retry(writes);
      if (writes.length > 1 && isWrongType(error)) {
        // One user's key of another type must not fail the writes of others.
        const half = writes.length >> 1;
        await this.#send(writes.slice(0, half));
        return this.#send(writes.slice(half));
      }
      for (const pending of writes) pending.fail(error);
    }
  }

  async #retry(writes: PendingWrite[]): Promise<void> {
    await this.#retryDelay();
    return new Promise((resolve) => {
      this.options.client.whenReady((error) => {
        if (error === undefined) {
          this.#send(writes).then(resolve);
          return;
        }
        const unknown = new ConnectionError(error.message, { cause: error, outcome: 'unknown' });
        for (const pending of writes) pending.fail(unknown);
        resolve();
      });
    });
  }

  async #timed<T>(changes: number, work: Promise<T>): Promise<T> {
    if (!telemetry.settle.hasSubscribers) return work;
    const watch = new Stopwatch();
    const emit = (error?: Error) =>
      telemetry.settle.emit({ partition: this.index, changes, ...watch.stop(error) });
    work.then(() => emit(), emit);
    return work;
  }

  async #commit(pending: readonly PendingWrite[]): Promise<void> {
    const { client, nodeLease, hidden } = this.options;
    const nodeId = nodeLease.id;
    const writes = pending.map(({ write }) => write);
    const knownLease = nodeLease.knownLease(this.index);
    const settings = { ...this.options, keys: this.keys, nodeId, knownLease };
    const transaction = new Transaction(settings, writes);
    this.stats.transactions++;
    const replies = await this.#timed(
      writes.length,
      client.send(transaction.commands, {
        atomic: transaction.commands.length > 1,
        key: this.keys.nodes,
        background: writes.every(isBackgroundWrite),
      }),
    );
    assertNoErrorReply('presence', replies);
    const { recordOf, records, leases } = transaction.parseReplies(replies);
    for (const { before, after } of leases) {
      nodeLease.onLeaseSeen(this.index, nodeId, knownLease, before, after);
    }
    for (const [user, record] of records) hidden.observe(user, record);
    for (const each of pending) each.commit(recordOf(each.write.user));
  }
}
