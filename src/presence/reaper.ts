import { jitter, type Timer } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { Command, Reply } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import { type DeadNode, FailureDetector, type LeaseSnapshot } from './failure-detector.js';
import type { PartitionKeys } from './keys.js';
import type { PresenceWriter } from './presence-writer.js';
import { claimNodeScript, readLeasesScript, removeNodeScript } from './scripts.js';
import { createRemoval } from './writes.js';

/** Options of {@link Reaper}. Durations in ms. */
export interface ReaperOptions {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly writer: PresenceWriter;
  readonly sweepInterval: number;
  readonly lease: number;
  readonly maxFailureRatio: number;
  readonly grace: number;
  readonly reporter: ErrorReporter;
  /** This process's own node, which it never judges. */
  readonly nodeId: () => string;
  /** Redis was wiped since the last look. */
  readonly onWipe: () => void;
}

/** Counters of a {@link Reaper}, and what it saw last. */
export interface ReaperStats {
  /** Dead nodes whose remains this process removed. */
  reapedNodes: number;
  /** Sockets among them. */
  reapedSockets: number;
  /** Nodes whose lease has run out but who are not (yet) taken for dead. */
  late: string[];
}

/** Pairs removed per round: one transaction, short enough not to hold Redis up for others. */
const BATCH = 128;
/** Up to so many processes each sweep every time; more of them take turns. */
const SWEEPERS = 8;
/** How many reaped nodes are remembered, so as to count each one once. */
const MAX_REMEMBERED = 1_000;
/** Batches of users whose time has come, per sweep. */
const MAX_ROUNDS = 100;

/**
 * Looks after what nobody else does: removes the sockets of dead nodes and ends graces. Every
 * process with a presence service sweeps; claims see to it that one node is reaped by one of them.
 */
export class Reaper {
  readonly stats: ReaperStats = { reapedNodes: 0, reapedSockets: 0, late: [] };
  readonly #options: ReaperOptions;
  readonly #judges: FailureDetector[];
  /** Nodes reaped lately, in whichever partition. */
  readonly #reaped = new Set<string>();
  #timer: Timer | undefined;
  #stopped = false;
  #sweeping: Promise<void> | undefined;
  /** What every partition's layout key holds: a random part of it is new after every wipe. */
  #layouts: string[] = [];
  /** This sweep has found a partition wiped. */
  #wiped = false;
  /** When each partition is looked at next, by the monotonic clock. */
  readonly #dueAt: number[] = [];
  readonly #late: (readonly string[])[] = [];

  constructor(options: ReaperOptions) {
    this.#options = options;
    this.#judges = options.keys.map(() => new FailureDetector(options));
  }

  /** Sweeps from now on; `layouts` is what the partitions' layout keys hold. */
  start(layouts: readonly string[]): void {
    this.#layouts = [...layouts];
    this.#schedule();
  }

  /** No sweep starts any more; resolves when the one under way is over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#sweeping;
  }

  /** This process's own connection or lease had trouble, there or anywhere: judge nobody for a while. */
  suspend(partition?: number): void {
    if (partition === undefined) for (const judge of this.#judges) judge.reset();
    else this.#judges[partition]?.reset();
  }

  #schedule(): void {
    if (this.#stopped) return;
    const { client, sweepInterval } = this.#options;
    this.#timer = client.clock.after(
      jitter(client.clock, sweepInterval),
      () => {
        if (client.ended) return this.#schedule();
        this.#sweeping = this.#sweep().finally(() => this.#schedule());
      },
      { keepAlive: false },
    );
  }

  /** All partitions that are due at once: one that cannot be reached must not keep the others waiting. */
  async #sweep(): Promise<void> {
    const { client } = this.#options;
    const now = client.clock.monotonic();
    const due = this.#judges.map((_, partition) => partition).filter((at) => (this.#dueAt[at] ?? 0) <= now);
    const swept = await Promise.allSettled(
      due.map(async (partition) => {
        try {
          this.#late[partition] = await this.#sweepPartition(partition);
        } catch (error) {
          this.suspend(partition);
          throw error;
        }
      }),
    );
    // Of a server with many partitions all are wiped at once.
    if (this.#wiped) this.#options.onWipe();
    this.#wiped = false;
    for (const outcome of swept) {
      if (outcome.status === 'rejected') return this.#report(outcome.reason);
    }
    this.stats.late = [...new Set(this.#late.flat())];
  }

  /** Many processes sweep in turn: each one more often than its judge needs would cost N² for nothing. */
  #scheduleNext(partition: number, nodes: number): void {
    const { client, sweepInterval, lease } = this.#options;
    const turns = Math.min(lease / 6, (sweepInterval * nodes) / SWEEPERS);
    const rest = turns > sweepInterval ? jitter(client.clock, turns) : 0;
    this.#dueAt[partition] = client.clock.monotonic() + rest;
  }

  #report(error: unknown): void {
    if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage: 'sweep' });
  }

  async #sweepPartition(partition: number): Promise<readonly string[]> {
    const { client, nodeId } = this.#options;
    let survey = await this.#readLeases(partition);
    // Many come due at once when a large process has died. Whoever cannot be looked after must not
    // keep the sweep from its end.
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const looked = await this.#processDueUsers(partition, survey.due);
      if (survey.due.length < BATCH || looked === 0 || this.#stopped) break;
      survey = await this.#readLeases(partition);
    }
    this.#scheduleNext(partition, survey.leases.size);
    survey.leases.delete(nodeId());
    const verdict = (this.#judges[partition] as FailureDetector).detect(survey, client.clock.monotonic());
    for (const dead of verdict.dead) {
      // One that cannot be reaped must not keep the others from it.
      await this.#reap(partition, dead).catch((error: unknown) => this.#report(error));
    }
    return verdict.suspect;
  }

  async #readLeases(
    partition: number,
  ): Promise<LeaseSnapshot & { leases: Map<string, number>; due: readonly string[] }> {
    const keys = this.#options.keys[partition] as PartitionKeys;
    const names = [keys.nodes, keys.due, keys.layout];
    const reply = await this.#run({ script: readLeasesScript, keys: names, args: [String(BATCH)] }, keys);
    const [now, flat, due, layout] = reply as readonly [string, readonly string[], readonly string[], string];
    const known = this.#layouts[partition] ?? '';
    this.#layouts[partition] = layout;
    if (known !== '' && known !== layout) this.#wiped = true;
    const leases = new Map<string, number>();
    for (let at = 0; at < flat.length; at += 2) leases.set(flat[at] as string, Number(flat[at + 1]));
    return { now: Number(now), leases, due };
  }

  /** Looks after users whose time has come; tells for how many of them that was possible. */
  async #processDueUsers(partition: number, due: readonly string[]): Promise<number> {
    let looked = 0;
    await Promise.all(
      due.map(async (user) => {
        try {
          await this.#options.writer.apply(partition, { kind: 'look', user, reason: 'time' });
          looked++;
        } catch (error) {
          // A user whose keys are of another type must not keep everybody else from being looked after.
          if (!(error instanceof CommandError)) throw error;
          this.#report(error);
        }
      }),
    );
    return looked;
  }

  /** Removes what a dead node left, batch by batch, prolonging the claim on it each time. */
  async #reap(partition: number, dead: DeadNode): Promise<void> {
    const keys = this.#options.keys[partition] as PartitionKeys;
    const { nodeId } = dead;
    const watch = telemetry.reap.hasSubscribers ? new Stopwatch() : undefined;
    let sockets = 0;
    let claim = await this.#claim(keys, nodeId, String(dead.score), false);
    while (claim !== null && !this.#stopped) {
      const [reply] = await this.#options.client.execute(
        'sweep',
        [['SRANDMEMBER', keys.node(nodeId), String(BATCH)]],
        {
          key: keys.nodes,
        },
      );
      const pairs = reply as readonly string[];
      if (pairs.length === 0) {
        await this.#run(
          { script: removeNodeScript, keys: [keys.nodes, keys.node(nodeId)], args: [nodeId] },
          keys,
        );
        this.#count(nodeId);
        if (watch) telemetry.reap.emit({ nodeId, sockets, ...watch.stop() });
        return;
      }
      await this.#removeAll(partition, nodeId, pairs);
      this.stats.reapedSockets += pairs.length;
      sockets += pairs.length;
      claim = await this.#claim(keys, nodeId, claim, true);
    }
  }

  /** A node leaves something behind in many partitions; it died once. */
  #count(nodeId: string): void {
    if (this.#reaped.has(nodeId)) return;
    this.#reaped.add(nodeId);
    this.stats.reapedNodes++;
    const [oldest] = this.#reaped;
    if (this.#reaped.size > MAX_REMEMBERED) this.#reaped.delete(oldest as string);
  }

  async #removeAll(partition: number, owner: string, pairs: readonly string[]): Promise<void> {
    const { writer, grace } = this.#options;
    await Promise.all(
      pairs.map(async (owned) => {
        const change = createRemoval(owned, owner, grace);
        const record = await writer.apply(partition, change);
        if (record !== null || change.kind !== 'socket') return;
        await writer.apply(partition, { kind: 'look', user: change.user, reason: 'lost' });
      }),
    );
  }

  async #claim(keys: PartitionKeys, nodeId: string, score: string, prolong: boolean): Promise<string | null> {
    const holdsFor = Math.max(1_000, this.#options.lease / 3);
    const args = [nodeId, score, String(Math.ceil(holdsFor)), prolong ? '1' : '0'];
    const reply = await this.#run({ script: claimNodeScript, keys: [keys.nodes], args }, keys);
    return reply === null ? null : String(reply);
  }

  async #run(command: Command, keys: PartitionKeys): Promise<Reply> {
    const [reply] = await this.#options.client.execute('sweep', [command], { key: keys.nodes });
    return reply as Reply;
  }
}
