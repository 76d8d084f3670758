import type { Deadline } from '../deadlines.js';
import { CommandError, ConnectionError, type RollcallError } from '../errors.js';
import { type PartitionKeys, pair } from '../keys.js';
import type { Command, PlainCommand, Reply } from '../redis/driver.js';
import { assertAccepted, type Link } from '../redis/link.js';
import { toRollcallError } from '../redis/replies.js';
import { settleScript } from './scripts.js';

/** A change to one socket's fact. Ids are escaped. */
export interface FactChange {
  readonly user: string;
  /** Without it the user is only settled: time may have changed something. */
  readonly socket?: string;
  /** What to write; `undefined` removes the fact. */
  readonly value?: string;
  /** Whose fact it is. @default this process's node, under its id at the time of sending */
  readonly owner?: string;
  /** What the user's last socket's going means, as settle.lua takes it. */
  readonly grace: number;
  /** The fact was there before and got lost: a missing record is no news. */
  readonly restoring?: boolean;
  /** Tell the owner, who does not know. */
  readonly tell?: string;
}

/** What {@link PresenceStore} needs to know of its surroundings. */
export interface StoreOptions {
  readonly link: Link;
  readonly keys: readonly PartitionKeys[];
  readonly lease: number;
  readonly backstop: number;
  readonly lastSeenTtl: number;
  readonly statuses: readonly string[];
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

const RETRY_DELAY = 20;

class Job {
  deadline: Deadline | undefined;
  sent = false;

  constructor(
    readonly change: FactChange,
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
  apply(partition: number, change: FactChange): Promise<string | null> {
    return (this.#partitions[partition] as Partition).apply(change);
  }

  /** Fails what has not been sent. */
  close(error: RollcallError): void {
    for (const partition of this.#partitions) partition.failQueued(error);
  }
}

class Partition {
  #queue: Job[] = [];
  #scheduled = false;
  #busy = false;

  constructor(
    readonly options: StoreOptions,
    readonly keys: PartitionKeys,
    readonly index: number,
    readonly stats: StoreStats,
  ) {}

  apply(change: FactChange): Promise<string | null> {
    const { link } = this.options;
    return new Promise((resolve, reject) => {
      const job = new Job(change, resolve, reject);
      job.deadline = link.deadlines.start(() =>
        job.fail(
          link.timeoutError(
            change.value === undefined ? 'removeSocket' : 'setPresence',
            job.sent ? 'unknown' : 'failed',
          ),
        ),
      );
      this.#queue.push(job);
      this.stats.changes++;
      this.stats.queued++;
      this.#schedule();
    });
  }

  failQueued(error: RollcallError): void {
    const queue = this.#queue;
    this.#queue = [];
    this.stats.queued -= queue.length;
    for (const job of queue) job.fail(error);
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
      if (batch.length > 0 && batch[0]?.change.restoring !== job.change.restoring) break;
      batch.push(job);
    }
    this.#queue = this.#queue.slice(at);
    this.stats.queued -= at;
    return batch;
  }

  async #send(batch: Job[]): Promise<void> {
    const jobs = batch.filter((job) => job.deadline?.expired !== true);
    if (jobs.length === 0) return;
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
          for (const job of jobs) job.fail(error);
          resolve();
        });
      });
    });
  }

  async #transact(jobs: readonly Job[]): Promise<void> {
    const { link, nodeId, leases } = this.options;
    const node = nodeId();
    const { commands, users, writes } = this.#compose(jobs, node);
    const known = leases.known(this.index);
    this.stats.transactions++;
    const replies = await link.session.execute(commands, { atomic: true, key: this.keys.nodes });
    assertAccepted('presence', replies);
    const settled = replies.at(-1);
    if (!Array.isArray(settled) || settled.length !== users.size + 2) {
      throw new CommandError('presence: Redis answered something else than settled records');
    }
    if (writes) leases.observed(this.index, node, known, Number(settled[0]), Number(settled[1]));
    const records = new Map<string, Reply>();
    let at = 2;
    for (const user of users.keys()) records.set(user, settled[at++] as Reply);
    for (const job of jobs) {
      job.deadline?.done();
      const record = records.get(job.change.user);
      job.resolve(typeof record === 'string' ? record : null);
    }
  }

  /** The commands of one transaction: facts first, as plain commands, then settle for all users. */
  #compose(
    jobs: readonly Job[],
    node: string,
  ): { commands: Command[]; users: Map<string, number>; writes: boolean } {
    const { keys } = this;
    const latest = new Map<string, FactChange & { socket: string }>();
    const users = new Map<string, number>();
    for (const { change } of jobs) {
      // Of several changes to one fact only the last one counts.
      if (change.socket !== undefined) {
        latest.set(pair(change.owner ?? node, pair(change.user, change.socket)), {
          ...change,
          socket: change.socket,
        });
      }
      const grace = users.get(change.user);
      users.set(change.user, grace === 0 || change.grace === 0 ? 0 : Math.max(grace ?? -1, change.grace));
    }

    const commands: Command[] = [];
    const added: string[] = [];
    const removed = new Map<string, string[]>();
    const told = new Map<string, string[]>();
    for (const change of latest.values()) {
      const owner = change.owner ?? node;
      const facts = keys.sockets(change.user);
      const field = pair(owner, change.socket);
      const owned = pair(change.user, change.socket);
      if (change.value !== undefined) {
        commands.push(['HSET', facts, field, change.value]);
        added.push(owned);
        continue;
      }
      commands.push(['HDEL', facts, field]);
      append(removed, owner, owned);
      if (change.tell !== undefined) append(told, change.tell, owned);
    }
    if (added.length > 0) {
      const key = keys.node(node);
      commands.push(['SADD', key, ...added], ['PEXPIRE', key, String(this.options.backstop)]);
    }
    for (const [owner, owned] of removed) commands.push(['SREM', keys.node(owner), ...owned]);
    for (const [channel, owned] of told)
      commands.push(['PUBLISH', channel, JSON.stringify(owned)] satisfies PlainCommand);
    commands.push(this.#settle(users, added.length > 0 ? node : '', jobs[0]?.change.restoring === true));
    return { commands, users, writes: added.length > 0 };
  }

  #settle(users: ReadonlyMap<string, number>, node: string, restoring: boolean): Command {
    const { keys, options } = this;
    const names = [keys.nodes, keys.online, keys.due];
    const args = [
      node,
      String(options.lease),
      String(options.backstop),
      String(options.lastSeenTtl),
      keys.events,
      String(keys.socketsPrefix.length),
      restoring ? '1' : '0',
      `,${options.statuses.join(',')},`,
    ];
    for (const [user, grace] of users) {
      names.push(keys.sockets(user), keys.user(user));
      args.push(String(grace));
    }
    return { script: settleScript, keys: names, args };
  }
}

function append(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
