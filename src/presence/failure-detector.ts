/** The leases of a partition at one time. */
export interface LeaseSnapshot {
  /** Time of Redis, in ms. */
  readonly now: number;
  /**
   * Node id → score in the `nodes` set. Positive: the lease expires then. Negative: the node is dead, and a reaper's
   * claim on its entries ends at minus the score.
   */
  readonly leases: ReadonlyMap<string, number>;
}

/** A dead node, and the score from which that was concluded. */
export interface DeadNode {
  readonly nodeId: string;
  readonly score: number;
}

/** Why no node was found dead although leases have expired. */
export type SuppressionReason = 'quarantine' | 'self-preservation';

/** Result of {@link FailureDetector.detect}. */
export interface DetectionResult {
  /** Nodes whose entries must be removed. */
  readonly dead: readonly DeadNode[];
  /** Nodes whose lease has expired, dead or not. */
  readonly suspect: readonly string[];
  /** Set when suspect nodes were not taken for dead. */
  readonly suppressed?: SuppressionReason;
}

/**
 * How far in the future, in ms, the end of a lease or claim can be. If it is further, Redis's clock stepped back after it
 * was written, and it is treated as expired; its node has until then to renew it. Twice the lease leaves room for
 * processes with another `lease`, as in a rolling deploy that changes it.
 */
export function farthestLease(lease: number): number {
  return 2 * Math.max(lease, 1_000);
}

/** Options of {@link FailureDetector}. All durations in ms. */
export interface FailureDetectorOptions {
  /** Duration of a lease, and of the uninterrupted view of Redis that detection requires. */
  readonly lease: number;
  /**
   * The largest share of nodes that may die at once. If more nodes, and more than two, have expired, a fault of Redis
   * or of the network is more likely, so detection waits for another lease.
   */
  readonly maxFailureRatio: number;
}

/**
 * Decides which nodes are dead, from snapshots of the leases and a monotonic clock; it has no I/O and no timers. Wall
 * clocks of different hosts are never compared: a lease expires by Redis's clock, with which it was written.
 *
 * A node is dead when all of these hold:
 * - Its lease has expired, or ends further in the future than a lease can. An earlier snapshot contained the same lease. A
 *   node seen for the first time is not dead, and one that was frozen together with Redis gets the time to renew.
 * - Snapshots and own renewals have succeeded without interruption for a whole lease. After a start, or after a freeze
 *   of Redis, of the network or of this process, all nodes look dead at first.
 * - Not too many nodes have died within a lease (self-preservation, as in Netflix Eureka), or they have been expired
 *   for another lease.
 *
 * A node claimed by a reaper that did not finish is known to be dead; it can be claimed when that claim has ended.
 */
export class FailureDetector {
  readonly #options: FailureDetectorOptions;
  #unbrokenSince: number | undefined;
  #lastMonotonic = 0;
  #lastNow = 0;
  #otherServer = false;
  #massFailureSince: number | undefined;
  /** Leases in the previous snapshot. */
  #previous = new Map<string, number>();
  /** Node found dead → when: in one large fault leases still expire one after the other. */
  readonly #foundDead = new Map<string, number>();

  constructor(options: FailureDetectorOptions) {
    this.#options = options;
  }

  /** The last snapshot was the first one, or Redis's clock or data had gone back: deadlines in Redis prove nothing. */
  get otherServer(): boolean {
    return this.#otherServer;
  }

  /** A renewal failed or a lease was lost: snapshots prove nothing until a lease has passed without interruption. */
  reset(): void {
    this.#unbrokenSince = undefined;
  }

  /** Evaluates `snapshot`, taken at `monotonic` ms by this process's clock. */
  detect(snapshot: LeaseSnapshot, monotonic: number): DetectionResult {
    this.#otherServer = this.#looksLikeOtherServer(snapshot, monotonic);
    if (this.#otherServer) this.reset();
    this.#lastNow = snapshot.now;
    const unbroken = this.#unbrokenFor(monotonic);
    const claimable: DeadNode[] = [];
    const expired: DeadNode[] = [];
    const suspect: string[] = [];
    for (const [nodeId, score] of snapshot.leases) {
      const left = Math.abs(score) - snapshot.now;
      const tooFar = left > farthestLease(this.#options.lease);
      if (left >= 0 && !tooFar) continue;
      if (score < 0 && !tooFar) {
        claimable.push({ nodeId, score });
        continue;
      }
      suspect.push(nodeId);
      if (this.#previous.get(nodeId) === score) expired.push({ nodeId, score });
    }
    this.#previous = new Map(snapshot.leases);

    if (expired.length === 0) {
      this.#massFailureSince = undefined;
      return { dead: claimable, suspect };
    }
    if (unbroken < this.#options.lease) return { dead: claimable, suspect, suppressed: 'quarantine' };
    if (this.#exceedsFailureRatio(expired, snapshot, monotonic)) {
      return { dead: claimable, suspect, suppressed: 'self-preservation' };
    }
    for (const { nodeId } of expired) this.#foundDead.set(nodeId, monotonic);
    return { dead: [...claimable, ...expired], suspect };
  }

  /**
   * A lease went back, or Redis's clock stepped, as when a replica is promoted: leases prove nothing then. A lease that
   * jumped too far ahead also shows a step, of a clock that has stepped back since.
   */
  #looksLikeOtherServer({ now, leases }: LeaseSnapshot, monotonic: number): boolean {
    const { lease } = this.#options;
    const step = now - this.#lastNow - (monotonic - this.#lastMonotonic);
    if (Math.abs(step) > lease / 2) return true;
    for (const [nodeId, score] of leases) {
      const previous = this.#previous.get(nodeId) ?? 0;
      if (score > 0 && (previous > score || (previous !== score && score - now > farthestLease(lease)))) {
        return true;
      }
    }
    return false;
  }

  #unbrokenFor(monotonic: number): number {
    const gap = monotonic - this.#lastMonotonic;
    this.#lastMonotonic = monotonic;
    // There are many snapshots per lease; a gap this long means that something was frozen.
    if (this.#unbrokenSince === undefined || gap > this.#options.lease / 2) this.#unbrokenSince = monotonic;
    return monotonic - this.#unbrokenSince;
  }

  #exceedsFailureRatio(expired: readonly DeadNode[], snapshot: LeaseSnapshot, monotonic: number): boolean {
    const recent = new Set(expired.map(({ nodeId }) => nodeId));
    for (const [nodeId, at] of this.#foundDead) {
      if (monotonic - at >= this.#options.lease) this.#foundDead.delete(nodeId);
      else recent.add(nodeId);
    }
    const dead = recent.size;
    const all = new Set([...snapshot.leases.keys(), ...recent]).size;
    if (dead <= 2 || dead <= all * this.#options.maxFailureRatio) {
      this.#massFailureSince = undefined;
      return false;
    }
    this.#massFailureSince ??= monotonic;
    return monotonic - this.#massFailureSince < this.#options.lease;
  }
}
