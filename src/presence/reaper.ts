import { jitter, type Timer } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { Command, Reply } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import { type DeadNode, FailureDetector, farthestLease, type LeaseSnapshot } from './failure-detector.js';
import { unescapeId } from './ids.js';
import { joinIds, type PartitionKeys, partitionOf, splitIds } from './keys.js';
import { instanceIdOf, type NodeLease } from './node-lease.js';
import { removeOwned, toDueWrite } from './owned-entries.js';
import { isWrongType, type PresenceWriter } from './presence-writer.js';
import type { RedisClock } from './redis-clock.js';
import type { RoomGraces } from './room-graces.js';
import {
  claimNodeScript,
  readLeasesScript,
  removeNodeScript,
  sweepOnlineScript,
  sweepRoomGracesScript,
} from './scripts.js';

/** Durations in ms. */
export interface ReaperOptions {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly writer: PresenceWriter;
  /** This process's node, which is never found dead here. */
  readonly nodeLease: NodeLease;
  readonly redisClock: RedisClock;
  readonly roomGraces: RoomGraces;
  readonly keyTtl: number;
  readonly lastSeenTtl: number;
  readonly sweepInterval: number;
  readonly lease: number;
  readonly maxFailureRatio: number;
  readonly grace: number;
  readonly reporter: ErrorReporter;
}

export interface ReaperStats {
  reapedNodes: number;
  reapedSockets: number;
  suspectNodes: string[];
}

/** Entries or users per transaction: few enough not to block Redis. */
const BATCH = 128;
/** Up to this number, every node sweeps in every interval; more nodes take turns. */
const SWEEPERS = 8;
/** Each reaped node is counted once. */
const MAX_REMEMBERED = 1_000;
/** Members of the online index, and of rooms with graces, per lease: about a millisecond. */
const INDEX_PAGE = 1_000;
/** Batches of users per sweep whose grace or status has ended. */
const MAX_ROUNDS = 100;

/** Reply of read-leases.lua. */
interface PartitionState extends LeaseSnapshot {
  readonly leases: Map<string, number>;
  /** Users whose grace, own status or socket without a process has ended; user and room, joined: whose grace in it has. */
  readonly due: readonly string[];
}

/**
 * Removes the entries of dead nodes and ends graces. Every process sweeps; a claim in Redis gives each dead
 * node to one of them.
 */
export class Reaper {
  readonly stats: ReaperStats = { reapedNodes: 0, reapedSockets: 0, suspectNodes: [] };
  readonly #options: ReaperOptions;
  /** One per partition. */
  readonly #detectors: FailureDetector[];
  readonly #reaped = new Set<string>();
  #timer: Timer | undefined;
  #stopped = false;
  #sweeping: Promise<void> | undefined;
  /** By partition; the random part is new after every wipe. */
  #layouts: string[] = [];
  #onWipe = (): void => {};
  #onOtherServer = (): void => {};
  /** Found by the sweep in progress. */
  #wiped = false;
  /** Next sweep of each partition, by the monotonic clock. */
  readonly #dueAt: number[] = [];
  readonly #suspects: (readonly string[])[] = [];
  /** Last successful read of each partition's leases: by Redis's clock, by the monotonic one, and the planned pause after it. */
  readonly #lastReads: { redis: number; monotonic: number; pause: number }[] = [];
  /** Next page of the online index of each partition. */
  readonly #indexPages: { cursor: string; dueAt: number }[] = [];

  constructor(options: ReaperOptions) {
    this.#options = options;
    this.#detectors = options.keys.map(() => new FailureDetector(options));
    options.nodeLease.listen({ onDoubt: (partition) => this.#resetDetectors(partition) });
  }

  /** `layouts`: of the partitions. `onWipe`: Redis was wiped. `onOtherServer`: its clock or data had gone back. */
  start(layouts: readonly string[], onWipe: () => void, onOtherServer: () => void): void {
    this.#layouts = [...layouts];
    this.#onWipe = onWipe;
    this.#onOtherServer = onOtherServer;
    this.#schedule();
  }

  /** Resolves when the sweep in progress has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#sweeping;
  }

  /** Detection waits for a lease, in one partition or all. */
  #resetDetectors(partition?: number): void {
    if (partition === undefined) for (const detector of this.#detectors) detector.reset();
    else this.#detectors[partition]?.reset();
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

  /** In parallel: an unreachable partition does not delay the others. */
  async #sweep(): Promise<void> {
    const now = this.#options.client.clock.monotonic();
    const due = [...this.#detectors.keys()].filter((partition) => (this.#dueAt[partition] ?? 0) <= now);
    const swept = await Promise.allSettled(
      due.map(async (partition) => {
        try {
          this.#suspects[partition] = await this.#sweepPartition(partition);
        } catch (error) {
          this.#resetDetectors(partition);
          throw error;
        }
      }),
    );
    // Once, although a wiped server wipes many partitions.
    if (this.#wiped) this.#onWipe();
    this.#wiped = false;
    for (const outcome of swept) {
      if (outcome.status === 'rejected') return this.#report(outcome.reason);
    }
    this.stats.suspectNodes = [...new Set(this.#suspects.flat())];
  }

  /** Many nodes sweep only as often as their detectors need; otherwise the load would grow with N². */
  #scheduleNext(partition: number, nodes: number): void {
    const { client, sweepInterval, lease } = this.#options;
    const turn = Math.min(lease / 6, (sweepInterval * nodes) / SWEEPERS);
    const pause = turn > sweepInterval ? jitter(client.clock, turn) : 0;
    this.#dueAt[partition] = client.clock.monotonic() + pause;
    const last = this.#lastReads[partition];
    if (last !== undefined) last.pause = pause;
  }

  /**
   * For how long, in ms, Redis or this process may have been unable to work since the last successful sweep; then heartbeats
   * may have been impossible too. A step of Redis's clock counts as well.
   */
  #outageBefore(partition: number, redis: number): number {
    const monotonic = this.#options.client.clock.monotonic();
    const last = this.#lastReads[partition];
    this.#lastReads[partition] = { redis, monotonic, pause: 0 };
    if (last === undefined) return 0;
    const gap = Math.max(monotonic - last.monotonic, redis - last.redis);
    // A timer is up to a tenth late.
    return Math.max(0, gap - last.pause - this.#options.sweepInterval * 1.1);
  }

  #report(error: unknown): void {
    if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage: 'sweep' });
  }

  /** Returns the suspect nodes. */
  async #sweepPartition(partition: number): Promise<readonly string[]> {
    const { client, nodeLease } = this.#options;
    let state = await this.#readLeases(partition);
    const outage = this.#outageBefore(partition, state.now);
    // After the death of a large process there are many such users. Users that cannot be updated must not
    // prolong the loop.
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const updated = await this.#processDueUsers(partition, state.due, outage);
      if (state.due.length < BATCH || updated === 0 || this.#stopped) break;
      state = await this.#readLeases(partition);
    }
    this.#scheduleNext(partition, state.leases.size);
    state.leases.delete(nodeLease.id);
    const detector = this.#detectors[partition] as FailureDetector;
    const { dead, suspect } = detector.detect(state, client.clock.monotonic());
    if (detector.otherServer) {
      this.#onOtherServer();
      await this.#checkDeadlines(partition);
    }
    await this.#keepOwnerSets(partition, suspect);
    for (const node of dead) {
      // A node that cannot be reaped must not block the others.
      await this.#reap(partition, node, state.now).catch((error: unknown) =>
        this.#onWriteFailed(partition, error),
      );
    }
    await this.#sweepIndex(partition);
    return suspect;
  }

  /** After Redis's clock stepped back, graces would last too long: recomputes their users. */
  async #checkDeadlines(partition: number): Promise<void> {
    const keys = this.#options.keys[partition] as PartitionKeys;
    for (let offset = 0; !this.#stopped; offset += BATCH) {
      const page = ['ZRANGE', keys.due, String(offset), String(offset + BATCH - 1)] as const;
      const users = (await this.#run(page, keys)) as readonly string[];
      await this.#processDueUsers(partition, users);
      if (users.length < BATCH) return;
    }
  }

  /**
   * The owner set of a suspect node leads to its entries, but its TTL is not renewed. Extended once, when first
   * seen.
   */
  async #keepOwnerSets(partition: number, suspect: readonly string[]): Promise<void> {
    const { keys: all, keyTtl, lastSeenTtl } = this.#options;
    const keys = all[partition] as PartitionKeys;
    const ttl = String(Math.max(keyTtl, lastSeenTtl));
    const known = new Set(this.#suspects[partition]);
    for (const nodeId of suspect) {
      if (!known.has(nodeId)) await this.#run(['PEXPIRE', keys.node(nodeId), ttl], keys);
    }
  }

  /** Finds users without a record, and users and graces whose end Redis has lost: one page per lease. */
  async #sweepIndex(partition: number): Promise<void> {
    const { client, lease } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    const now = client.clock.monotonic();
    const page = this.#indexPages[partition] ?? { cursor: '0', dueAt: 0 };
    if (page.dueAt > now) return;
    const args = [page.cursor, String(INDEX_PAGE), keys.userPrefix];
    const reply = await this.#run({ script: sweepOnlineScript, keys: [keys.online, keys.due], args }, keys);
    const [cursor, users] = reply as readonly [string, readonly string[]];
    this.#indexPages[partition] = { cursor, dueAt: now + jitter(client.clock, lease) };
    await this.#processDueUsers(partition, users);
    await this.#sweepRoomGraces(partition);
  }

  async #sweepRoomGraces(partition: number): Promise<void> {
    const { roomGraces } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    const page = roomGraces.nextPage(partition);
    if (page === undefined) return;
    const names = [keys.due, ...page.rooms.map((room) => keys.room(room))];
    const args = [page.cursor, String(INDEX_PAGE), String(keys.roomPrefix.length)];
    const reply = await this.#run({ script: sweepRoomGracesScript, keys: names, args }, keys);
    const [done, cursor, lost, graced] = reply as readonly [
      number,
      string,
      readonly string[],
      readonly number[],
    ];
    const rooms = new Set(graced.map((number) => page.rooms[Number(number) - 1] as string));
    roomGraces.onPageRead(partition, page, Number(done), cursor, rooms);
    await this.#processDueUsers(partition, lost);
  }

  async #readLeases(partition: number): Promise<PartitionState> {
    const keys = this.#options.keys[partition] as PartitionKeys;
    const names = [keys.nodes, keys.due, keys.layout];
    const reply = await this.#run({ script: readLeasesScript, keys: names, args: [String(BATCH)] }, keys);
    const [now, flat, due, layout] = reply as readonly [string, readonly string[], readonly string[], string];
    const known = this.#layouts[partition] ?? '';
    this.#layouts[partition] = layout;
    if (known !== '' && known !== layout) this.#wiped = true;
    const leases = new Map<string, number>();
    this.#options.redisClock.observe(partition, Number(now));
    for (let at = 0; at < flat.length; at += 2) leases.set(flat[at] as string, Number(flat[at + 1]));
    return { now: Number(now), leases, due };
  }

  /**
   * Something of theirs has ended. `outage`: see {@link Reevaluation}; without it, sockets without a process stay. Returns the
   * number of successes.
   */
  async #processDueUsers(partition: number, due: readonly string[], outage?: number): Promise<number> {
    let updated = 0;
    await Promise.all(
      due.map(async (user) => {
        try {
          await this.#options.writer.apply(partition, toDueWrite(user, outage));
          updated++;
        } catch (error) {
          // A user that cannot be updated must not block the others.
          if (!(error instanceof CommandError)) throw error;
          this.#onWriteFailed(partition, error);
        }
      }),
    );
    return updated;
  }

  /**
   * A write that was refused or timed out may have failed for other nodes too, and so their renewals. A key of
   * another type concerns one user only.
   */
  #onWriteFailed(partition: number, error: unknown): void {
    if (!isWrongType(error)) this.#resetDetectors(partition);
    this.#report(error);
  }

  /** In batches; extends the claim before each. */
  async #reap(partition: number, { nodeId, score }: DeadNode, now: number): Promise<void> {
    const { client, writer, grace, lease } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    const watch = telemetry.reap.hasSubscribers ? new Stopwatch() : undefined;
    const readBatch = ['SRANDMEMBER', keys.node(nodeId), String(BATCH)] as const;
    // The last renewal, unless a claim has replaced it.
    const lastAlive = score > 0 && score - lease <= now ? Math.round(score - lease) : undefined;
    const isRemoved = this.#undoneRemovals(nodeId);
    const request = { client, writer, keys, partition, owner: nodeId, grace, lastAlive, isRemoved };
    let sockets = 0;
    let claim = await this.#claim(keys, nodeId, String(score), false);
    while (claim !== null && !this.#stopped) {
      const members = (await this.#run(readBatch, keys)) as readonly string[];
      if (members.length === 0) {
        // Not its inbox: a node that was only frozen must not restore what others removed.
        const names = [keys.nodes, keys.node(nodeId)];
        await this.#run({ script: removeNodeScript, keys: names, args: [nodeId] }, keys);
        this.#count(nodeId);
        if (watch) telemetry.reap.emit({ nodeId, sockets, ...watch.stop() });
        return;
      }
      const removed = await Promise.all(members.map((member) => removeOwned(request, member)));
      const count = removed.reduce((sum, one) => sum + one, 0);
      this.stats.reapedSockets += count;
      sockets += count;
      claim = await this.#claim(keys, nodeId, claim, true);
    }
  }

  /** From the inbox of a dead node: users who were disconnected, or became invisible, have no grace in rooms. */
  #undoneRemovals(nodeId: string): (user: string, socket: string) => Promise<boolean> {
    const inboxes = new Map<number, Promise<ReadonlySet<string>>>();
    const read = async (partition: number): Promise<ReadonlySet<string>> => {
      const keys = this.#options.keys[partition] as PartitionKeys;
      const stored = await this.#run(['SMEMBERS', keys.inbox(instanceIdOf(nodeId))], keys);
      const found = new Set<string>();
      for (const notification of stored as readonly string[]) {
        const [user, rest = ''] = splitIds(notification);
        found.add(rest === '' ? user : joinIds(user, splitIds(rest)[0]));
      }
      return found;
    };
    return async (user, socket) => {
      const partition = partitionOf(unescapeId(user), this.#options.keys.length);
      const inbox = inboxes.get(partition) ?? read(partition);
      inboxes.set(partition, inbox);
      const found = await inbox;
      return found.has(joinIds(user, socket)) || found.has(user);
    };
  }

  /** Once, although a node has entries in many partitions. */
  #count(nodeId: string): void {
    if (this.#reaped.has(nodeId)) return;
    this.#reaped.add(nodeId);
    this.stats.reapedNodes++;
    const [oldest] = this.#reaped;
    if (this.#reaped.size > MAX_REMEMBERED) this.#reaped.delete(oldest as string);
  }

  /** Returns the new score; null: claimed or renewed by another process. */
  async #claim(keys: PartitionKeys, nodeId: string, score: string, extend: boolean): Promise<string | null> {
    const { lease } = this.#options;
    const duration = Math.max(1_000, lease / 3);
    const farthest = String(farthestLease(lease));
    const args = [nodeId, score, String(Math.ceil(duration)), extend ? '1' : '0', farthest];
    const reply = await this.#run({ script: claimNodeScript, keys: [keys.nodes], args }, keys);
    return reply === null ? null : String(reply);
  }

  async #run(command: Command, keys: PartitionKeys): Promise<Reply> {
    const [reply] = await this.#options.client.execute('sweep', [command], { key: keys.nodes });
    return reply as Reply;
  }
}
