/** Leases of a partition at one time. */
export interface LeaseSnapshot {
  /** By Redis's clock, in ms. */
  readonly now: number;
  /**
   * Node id → score in the `nodes` set. Positive: end of the lease. Negative: the node is dead; a reaper's
   * claim on its entries ends at minus the score.
   */
  readonly leases: ReadonlyMap<string, number>;
}

/** With the score from which its death was concluded. */
export interface DeadNode {
  readonly nodeId: string;
  readonly score: number;
}

/** Why expired nodes are not taken for dead. */
export type SuppressionReason = 'quarantine' | 'self-preservation';

export interface DetectionResult {
  /** Their entries must be removed. */
  readonly dead: readonly DeadNode[];
  /** Their lease has expired, dead or not. */
  readonly suspect: readonly string[];
  /** Some suspect nodes were not taken for dead. */
  readonly suppressed?: SuppressionReason;
}

/**
 * Latest possible end of a lease or claim, in ms from now. A later end was written before Redis's clock stepped back,
 * and counts as expired. Twice the lease allows for processes with another `lease`, as in a rolling deploy.
 */
export function farthestLease(lease: number): number {
  return 2 * Math.max(lease, 1_000);
}

/** All durations in ms. */
export interface FailureDetectorOptions {
  /** Also the uninterrupted view of Redis that detection requires. */
  readonly lease: number;
  /**
   * Maximum share of nodes that may die at once. If more nodes, and more than two, have expired, a fault of
   * Redis or the network is more likely: detection waits for another lease.
   */
  readonly maxFailureRatio: number;
}

/**
 * Decides which nodes are dead, from snapshots of the leases and a monotonic clock; without I/O and timers. A
 * lease is written and expires by Redis's clock; wall clocks of hosts are never compared.
 *
 * A node is dead when all of these hold:
 * - Its lease has expired, or ends further in the future than a lease can. An earlier snapshot contained the
 *   same lease: a node seen for the first time is not dead, and one frozen together with Redis gets time to
 *   renew.
 * - Snapshots and own renewals have succeeded for a whole lease. After a start, or a freeze of Redis, the
 *   network or this process, all nodes look dead.
 * - Not too many nodes have died within a lease (self-preservation, as in Netflix Eureka), or they have been
 *   expired for another lease.
 *
 * A node whose reaper did not finish can be claimed again when the claim has ended.
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
  /** Node found dead → when. In one large fault, leases expire one after the other. */
  readonly #foundDead = new Map<string, number>();

  constructor(options: FailureDetectorOptions) {
    this.#options = options;
  }

  /** The last snapshot was the first, or Redis's clock or data had gone back: deadlines in Redis prove nothing. */
  get otherServer(): boolean {
    return this.#otherServer;
  }

  /** A renewal failed or a lease was lost: snapshots prove nothing for a lease. */
  reset(): void {
    this.#unbrokenSince = undefined;
  }

  /** `monotonic`: when `snapshot` was taken, in ms. */
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
   * A lease went back, or Redis's clock stepped, as after the promotion of a replica. A lease that jumped too far
   * ahead also shows a step, of a clock that has stepped back since.
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
    // A gap of several snapshots means that something was frozen.
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
