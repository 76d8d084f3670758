/** What one look at a partition's leases showed. */
export interface LeaseSnapshot {
  /** Redis's own time, in ms. */
  readonly now: number;
  /**
   * Node id → score in the `nodes` set. Positive: when its lease expires. Negative: it was judged
   * dead, and a reaper's claim on its remains ends at minus the score.
   */
  readonly leases: ReadonlyMap<string, number>;
}

/** A node whose remains may be removed, and the score by which it was judged. */
export interface DeadNode {
  readonly nodeId: string;
  readonly score: number;
}

/** Why nobody was judged although some leases have expired. */
export type SuppressionReason = 'quarantine' | 'self-preservation';

/** What to do about a survey. */
export interface DetectionResult {
  /** Whose sockets to remove. */
  readonly dead: readonly DeadNode[];
  /** Nodes whose lease has expired, dead or not: they look late. */
  readonly suspect: readonly string[];
  /** Set when `late` nodes were spared. */
  readonly suspended?: SuppressionReason;
}

/** Options of {@link FailureDetector}. All durations in ms. */
export interface FailureDetectorOptions {
  /** How long a lease lasts; also how long a judge must have had an unbroken view of Redis. */
  readonly lease: number;
  /**
   * The share of all nodes that may seem dead at once and be believed. More than that, and more
   * than two, is more likely a fault of Redis or the network: it must last another lease.
   */
  readonly maxFailureRatio: number;
}

/**
 * Decides who is dead. Pure: fed with surveys and a monotonic clock, it knows neither Redis nor
 * timers. Wall clocks of different hosts are never compared: a lease is judged by Redis's clock,
 * against which it was written, and by having been watched here, unchanged.
 *
 * A node is dead when all of this holds:
 * - its lease has expired, and the same lease was seen in an earlier survey: a node unknown to the
 *   judge is not dead, and one that was merely frozen together with Redis gets its chance to renew;
 * - surveys and own renewals have come through without a break for a whole lease. After a start, or
 *   a freeze of Redis, of the network or of this very process, everybody looks dead at first;
 * - not too many seem dead within a lease (the self-preservation of Netflix's Eureka), or they have
 *   seemed so for a further one.
 *
 * Whose remains were claimed by a reaper that did not finish has been judged before; the claim's end
 * is all that counts.
 */
export class FailureDetector {
  readonly #options: FailureDetectorOptions;
  #unbrokenSince: number | undefined;
  #lastLook = 0;
  #lastNow = 0;
  #massDeathSince: number | undefined;
  #watched = new Map<string, number>();
  /** Who was judged dead here, and when: leases end one after the other, also in one big fault. */
  readonly #judged = new Map<string, number>();

  constructor(options: FailureDetectorOptions) {
    this.#options = options;
  }

  /** A renewal failed or a lease was lost: what is seen from here is not to be trusted for a while. */
  reset(): void {
    this.#unbrokenSince = undefined;
  }

  /** Judges `survey`, taken at `monotonic` ms on this process's own clock. */
  detect(survey: LeaseSnapshot, monotonic: number): DetectionResult {
    if (this.#looksLikeOtherServer(survey, monotonic)) this.reset();
    this.#lastNow = survey.now;
    const unbroken = this.#unbrokenFor(monotonic);
    const claimable: DeadNode[] = [];
    const expired: DeadNode[] = [];
    const late: string[] = [];
    for (const [nodeId, score] of survey.leases) {
      if (Math.abs(score) >= survey.now) continue;
      if (score < 0) {
        claimable.push({ nodeId, score });
        continue;
      }
      late.push(nodeId);
      if (this.#watched.get(nodeId) === score) expired.push({ nodeId, score });
    }
    this.#watched = new Map(survey.leases);

    if (expired.length === 0) {
      this.#massDeathSince = undefined;
      return { dead: claimable, suspect: late };
    }
    if (unbroken < this.#options.lease) return { dead: claimable, suspect: late, suspended: 'quarantine' };
    if (this.#exceedsFailureRatio(expired, survey, monotonic)) {
      return { dead: claimable, suspect: late, suspended: 'self-preservation' };
    }
    for (const { nodeId } of expired) this.#judged.set(nodeId, monotonic);
    return { dead: [...claimable, ...expired], suspect: late };
  }

  /** Redis went back to an older state, or its clock stepped: a replica was promoted. Leases prove nothing. */
  #looksLikeOtherServer({ now, leases }: LeaseSnapshot, monotonic: number): boolean {
    const step = now - this.#lastNow - (monotonic - this.#lastLook);
    if (Math.abs(step) > this.#options.lease / 2) return true;
    for (const [nodeId, score] of leases) {
      if (score > 0 && (this.#watched.get(nodeId) ?? 0) > score) return true;
    }
    return false;
  }

  #unbrokenFor(monotonic: number): number {
    const gap = monotonic - this.#lastLook;
    this.#lastLook = monotonic;
    // Surveys come many times per lease; one that is this late means that something stood still.
    if (this.#unbrokenSince === undefined || gap > this.#options.lease / 2) this.#unbrokenSince = monotonic;
    return monotonic - this.#unbrokenSince;
  }

  #exceedsFailureRatio(expired: readonly DeadNode[], survey: LeaseSnapshot, monotonic: number): boolean {
    const lately = new Set(expired.map(({ nodeId }) => nodeId));
    for (const [nodeId, at] of this.#judged) {
      if (monotonic - at >= this.#options.lease) this.#judged.delete(nodeId);
      else lately.add(nodeId);
    }
    const dead = lately.size;
    const all = new Set([...survey.leases.keys(), ...lately]).size;
    if (dead <= 2 || dead <= all * this.#options.maxFailureRatio) {
      this.#massDeathSince = undefined;
      return false;
    }
    this.#massDeathSince ??= monotonic;
    return monotonic - this.#massDeathSince < this.#options.lease;
  }
}
