import type { ErrorReporter } from '../internal/diagnostics.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PlainCommand, Reply } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import type { PartitionKeys } from './keys.js';
import { toDueWrite } from './owned-entries.js';
import type { PartitionLayout } from './partition-layout.js';
import type { PresenceWriter } from './presence-writer.js';

/** Options of {@link OnDemandSweep}. */
export interface OnDemandSweepOptions {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly layout: PartitionLayout;
  readonly writer: PresenceWriter;
  readonly reporter: ErrorReporter;
}

/** Other users with ended sockets that one call updates. */
const USERS_PER_CALL = 16;
/** Users per page of a whole sweep. */
const PAGE_SIZE = 128;

/**
 * The work of a service without background: each call checks the layout of its partitions once, and ends sockets without a
 * process, graces and statuses that are overdue there. Both happen in the round trips of the call's own commands, except
 * that the first call, and one that finds overdue users, needs one more.
 */
export class OnDemandSweep {
  readonly #options: OnDemandSweepOptions;
  /** Partitions whose layout fits. */
  readonly #checked = new Set<number>();

  constructor(options: OnDemandSweepOptions) {
    this.#options = options;
  }

  /** `work` reads or writes these partitions. `repeat`: it is a read, and is done again if something had to be ended. */
  async run<T>(partitions: readonly number[], work: () => Promise<T>, repeat = false): Promise<T> {
    const unchecked = partitions.filter((partition) => !this.#checked.has(partition));
    if (unchecked.length > 0) {
      const [overdue] = await Promise.all([this.#findOverdue(partitions), this.#check(unchecked)]);
      if (repeat) await this.#end(overdue);
      const [result] = await Promise.all([work(), repeat ? undefined : this.#end(overdue)]);
      return result;
    }
    const [result, overdue] = await Promise.all([work(), this.#findOverdue(partitions)]);
    if (overdue.size === 0) return result;
    await this.#end(overdue);
    return repeat ? work() : result;
  }

  /** Resolves with the number of users who were looked at. */
  async sweep(): Promise<number> {
    const { keys } = this.#options;
    const all = [...keys.keys()];
    await this.#check(all.filter((partition) => !this.#checked.has(partition)));
    const counts = await Promise.all(all.map((partition) => this.#sweepPartition(partition)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async #sweepPartition(partition: number): Promise<number> {
    const seen = new Set<string>();
    for (;;) {
      const users = (await this.#read(partition, PAGE_SIZE)).filter((user) => !seen.has(user));
      for (const user of users) seen.add(user);
      await Promise.all(users.map((user) => this.#endOne(partition, user)));
      if (users.length === 0) return seen.size;
    }
  }

  async #check(partitions: readonly number[]): Promise<void> {
    if (partitions.length === 0) return;
    await this.#options.layout.check(partitions);
    for (const partition of partitions) this.#checked.add(partition);
  }

  /** A failure is reported: the call does not depend on it. */
  async #findOverdue(partitions: readonly number[]): Promise<Map<number, readonly string[]>> {
    const overdue = new Map<number, readonly string[]>();
    await Promise.all(
      partitions.map(async (partition) => {
        try {
          const users = await this.#read(partition, USERS_PER_CALL);
          if (users.length > 0) overdue.set(partition, users);
        } catch (error) {
          this.#report(error);
        }
      }),
    );
    return overdue;
  }

  async #read(partition: number, limit: number): Promise<string[]> {
    const keys = this.#options.keys[partition] as PartitionKeys;
    const commands: PlainCommand[] = [['TIME'], ['ZRANGE', keys.due, '0', String(limit - 1), 'WITHSCORES']];
    const [time, reply] = await this.#options.client.execute('sweep', commands, { key: keys.nodes });
    const [seconds, micros] = time as readonly [string, string];
    const now = Number(seconds) * 1_000 + Number(micros) / 1_000;
    // Pairs in RESP3.
    const flat = (reply as readonly Reply[]).flat() as (string | number)[];
    return flat.filter((_, at) => at % 2 === 0 && Number(flat[at + 1]) <= now) as string[];
  }

  async #end(overdue: ReadonlyMap<number, readonly string[]>): Promise<void> {
    const ending = [...overdue].flatMap(([partition, users]) =>
      users.map((user) => this.#endOne(partition, user).catch((error: unknown) => this.#report(error))),
    );
    await Promise.all(ending);
  }

  async #endOne(partition: number, user: string): Promise<void> {
    await this.#options.writer.apply(partition, toDueWrite(user, 0));
  }

  #report(error: unknown): void {
    if (!this.#options.client.closed) {
      this.#options.reporter.report(toRollcallError(error), { stage: 'sweep' });
    }
  }
}
