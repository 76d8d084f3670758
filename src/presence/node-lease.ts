import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

/** Longest default node name: every socket's entry and record contain the node id. */
const MAX_DEFAULT_NAME = 12;

/** Default of `nodeName`: the end of the host's name, which is what differs between pods of one deployment. */
export function defaultNodeName(): string {
  return (
    hostname()
      .replace(/[^A-Za-z0-9_.:-]/g, '-')
      .slice(-MAX_DEFAULT_NAME) || 'node'
  );
}

/** Instance id of the process whose node id, of whichever incarnation, is `nodeId`. */
export function instanceIdOf(nodeId: string): string {
  return nodeId.replace(/(#[\w-]+)\.\d+$/, '$1');
}

/** Receives what {@link NodeLease} infers from a lease. */
export interface LeaseListener {
  /** Entries of this node may be missing from Redis. */
  readonly onEntriesLost?: () => void;
  /**
   * The lease was lost or a renewal failed, in one partition or in all: until a whole lease has passed, the
   * leases of other nodes as seen from here prove nothing.
   */
  readonly onDoubt?: (partition?: number) => void;
}

/**
 * This process's node id and its lease in each partition it wrote to. Every script that writes entries returns the
 * lease before and after; comparing it with the last known one shows what Redis has lost.
 */
export class NodeLease {
  /** Name and a random part, new at every start. It names the inbox. */
  readonly instanceId: string;
  readonly #listeners: LeaseListener[] = [];
  /** Partition → the lease as last seen, in ms by Redis's clock. */
  readonly #expiries = new Map<number, number>();
  #previousIds: readonly string[] = [];
  #id: string;
  #incarnations = 0;

  constructor(name: string) {
    this.instanceId = `${name}#${randomBytes(5).toString('base64url').slice(0, 6)}`;
    this.#id = this.instanceId;
  }

  /** The node's id; numbered after the first lost lease. */
  get id(): string {
    return this.#id;
  }

  /** Ids of earlier incarnations whose entries may still be in Redis. */
  get previousIds(): readonly string[] {
    return this.#previousIds;
  }

  /** Partitions in which this node has a lease. */
  get partitions(): number[] {
    return [...this.#expiries.keys()];
  }

  listen(listener: LeaseListener): void {
    this.#listeners.push(listener);
  }

  /** The lease as last seen; 0 for none. */
  knownLease(partition: number): number {
    return this.#expiries.get(partition) ?? 0;
  }

  /**
   * Compares what a script of node `nodeId` found (`before`, 0: not listed) and left (`after`, 0 or less: lost) with
   * the lease that was known when it was sent.
   */
  onLeaseSeen(partition: number, nodeId: string, known: number, before: number, after: number): void {
    // A script sent under an earlier id says nothing about the present lease.
    if (nodeId !== this.#id) return;
    if (after > 0) this.#expiries.set(partition, after);
    if (after <= 0 || (known > 0 && before === 0)) this.#renewIdentity();
    // A failover lost a lease that was written, and may have lost entries written with it.
    else if (before < known) this.#notifyEntriesLost();
  }

  /** A renewal failed, or there is no connection to renew with. */
  onRenewalFailed(partition?: number): void {
    for (const { onDoubt } of this.#listeners) onDoubt?.(partition);
  }

  /** No entry of `ids`, earlier incarnations, is left in Redis. */
  forgetPrevious(ids: readonly string[]): void {
    this.#previousIds = this.#previousIds.filter((id) => !ids.includes(id));
  }

  /** Another node reaped this one, or Redis was wiped: all goes on under a new id. */
  #renewIdentity(): void {
    this.#previousIds = [...this.#previousIds, this.#id];
    this.#id = `${this.instanceId}.${++this.#incarnations}`;
    this.#expiries.clear();
    this.onRenewalFailed();
    this.#notifyEntriesLost();
  }

  #notifyEntriesLost(): void {
    for (const { onEntriesLost } of this.#listeners) onEntriesLost?.();
  }
}
