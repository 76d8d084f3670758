import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

/** The node id is part of every socket's entry and record. */
const MAX_DEFAULT_NAME = 12;

/** The end of the host's name, which differs between pods of a deployment. */
export function defaultNodeName(): string {
  return (
    hostname()
      .replace(/[^A-Za-z0-9_.:-]/g, '-')
      .slice(-MAX_DEFAULT_NAME) || 'node'
  );
}

/** The same for all incarnations of a process. */
export function instanceIdOf(nodeId: string): string {
  return nodeId.replace(/(#[\w-]+)\.\d+$/, '$1');
}

export interface LeaseListener {
  readonly onEntriesLost?: () => void;
  /**
   * In one partition or all, a lease was lost or a renewal failed: for a whole lease, the leases of other nodes
   * prove nothing.
   */
  readonly onDoubt?: (partition?: number) => void;
}

/**
 * This process's node id, and its lease in each partition. Every script that writes entries returns the lease
 * before and after; a comparison with the last known one shows what Redis has lost.
 */
export class NodeLease {
  /** Name and a random part, new at every start; names the inbox. */
  readonly instanceId: string;
  readonly #listeners: LeaseListener[] = [];
  /** Partition → lease as last seen, in ms by Redis's clock. */
  readonly #expiries = new Map<number, number>();
  #previousIds: readonly string[] = [];
  #id: string;
  #incarnations = 0;

  constructor(name: string) {
    this.instanceId = `${name}#${randomBytes(5).toString('base64url').slice(0, 6)}`;
    this.#id = this.instanceId;
  }

  /** Numbered after the first lost lease. */
  get id(): string {
    return this.#id;
  }

  /** Earlier incarnations whose entries may still be in Redis. */
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

  /** As last seen; 0: none. */
  knownLease(partition: number): number {
    return this.#expiries.get(partition) ?? 0;
  }

  /**
   * `before` (0: not listed) and `after` (0 or less: lost): lease found and left by a script of `nodeId`.
   * `known`: lease known when it was sent.
   */
  onLeaseSeen(partition: number, nodeId: string, known: number, before: number, after: number): void {
    // An earlier id proves nothing about the present lease.
    if (nodeId !== this.#id) return;
    if (after > 0) this.#expiries.set(partition, after);
    if (after <= 0 || (known > 0 && before === 0)) this.#renewIdentity();
    // A failover lost a written lease, and perhaps entries with it.
    else if (before < known) this.#notifyEntriesLost();
  }

  /** Also called without a connection. */
  onRenewalFailed(partition?: number): void {
    for (const { onDoubt } of this.#listeners) onDoubt?.(partition);
  }

  /** Their entries are no longer in Redis. */
  forgetPrevious(ids: readonly string[]): void {
    this.#previousIds = this.#previousIds.filter((id) => !ids.includes(id));
  }

  /** Another node reaped this one, or Redis was wiped. */
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
