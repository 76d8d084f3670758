import { backoff, jitter, systemClock } from '../internal/clock.js';
import { messageOf } from '../internal/diagnostics.js';
import { ConnectionError } from '../internal/errors.js';
import { type ClusterClientAdapter, ClusterNode, sleep, withNodeTimeout } from './cluster-node.js';
import { SlotMap } from './cluster-slots.js';

/** How long a node may take to reply to CLUSTER SLOTS, in ms, before another is asked. */
const REFRESH_TIMEOUT = 500;
/** Minimum time between two refreshes, in ms. */
const MIN_REFRESH_INTERVAL = 50;
/** Time between periodic refreshes, in ms. Without traffic, subscribers notice a failover only by these. */
const REFRESH_INTERVAL = 3_000;
/** How long a failed node is suspect and asked last, in ms. */
const SUSPECT_PERIOD = 5_000;
/** How long an unreachable node is not connected to again, in ms. */
const REOPEN_DELAY = 50;
/** Delay between attempts to find any node, in ms: of the first retry, and at most. */
const FIRST_DISCOVERY_DELAY = 50;
const MAX_DISCOVERY_DELAY = 2_000;

/** Events of a {@link ClusterTopology}. */
export interface ClusterTopologyEvents {
  /** The slot map has changed. */
  changed(map: SlotMap): void;
  /** The map contains a node that the previous map did not. */
  returned(): void;
  /** A node replies, after none did. */
  reachable(): void;
  /** No node replies. */
  unreachable(cause: Error): void;
}

/**
 * The slot map, and a connection for commands to each master. Client libraries keep slot maps too, but
 * none detects a frozen node, and some do not detect a dead one.
 */
export class ClusterTopology {
  readonly #client: ClusterClientAdapter;
  readonly #events: ClusterTopologyEvents;
  readonly #nodes = new Map<string, ClusterNode>();
  /** Time of each node's last failure. */
  readonly #failedAt = new Map<string, number>();
  /** Every node ever seen: after an outage any of them may be the first to reply. */
  readonly #known = new Set<string>();
  #map: SlotMap | undefined;
  #refreshing: Promise<boolean> | undefined;
  #lastRefresh = Number.NEGATIVE_INFINITY;
  #reachable = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(client: ClusterClientAdapter, events: ClusterTopologyEvents) {
    this.#client = client;
    this.#events = events;
  }

  /** The latest map; undefined until a node has replied. */
  get map(): SlotMap | undefined {
    return this.#map;
  }

  /** True while the map is known and a node replies. */
  get ready(): boolean {
    return this.#reachable && !this.#closed;
  }

  /** True once `close` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Refreshes until a node has replied or `done` returns true. */
  async discover(done: () => boolean): Promise<void> {
    for (let attempt = 0; !this.#closed && !done(); attempt++) {
      if (await this.refresh()) return;
      await sleep(backoff(systemClock, attempt, FIRST_DISCOVERY_DELAY, MAX_DISCOVERY_DELAY));
    }
  }

  /** The connection to the node at `address`; opened if necessary. */
  node(address: string): ClusterNode {
    const known = this.#nodes.get(address);
    if (known !== undefined) return known;
    if (this.#closed) throw new ConnectionError(`the ${this.#client.client} driver is closed`);
    if (performance.now() - this.#lastFailure(address) < REOPEN_DELAY) {
      throw new ConnectionError(`the node at ${address} could not be reached a moment ago`);
    }
    const node = new ClusterNode(address, (listener) => this.#client.open(address, listener), {
      ended: () => {
        if (this.#nodes.get(address) === node) this.#nodes.delete(address);
        if (!node.retired) this.suspect(address);
      },
      unresponsive: () => {
        this.suspect(address);
        // If a replica has been promoted, `#applySlotMap` retires this connection.
        void this.refresh();
      },
    });
    this.#nodes.set(address, node);
    return node;
  }

  /** The node at `address` failed: prefer others for a while. */
  suspect(address: string): void {
    this.#failedAt.set(address, performance.now());
  }

  /** A master that is expected to reply; another than `not` if there is one. */
  pick(not?: string): string | undefined {
    const masters = this.#map?.masters ?? [];
    const others = masters.filter((address) => address !== not);
    const healthy = others.filter((address) => this.isHealthy(address));
    if (healthy.length > 0) return healthy[Math.floor(systemClock.random() * healthy.length)];
    // The one that failed longest ago; a node that fails again moves to the end.
    const byLastFailure = (a: string, b: string) => this.#lastFailure(a) - this.#lastFailure(b);
    return (others.length > 0 ? others : [...masters]).sort(byLastFailure)[0];
  }

  /** True for a master that has not failed lately, or has replied since. */
  isHealthy(address: string): boolean {
    if (this.#map?.masters.includes(address) !== true) return false;
    const failedAt = this.#lastFailure(address);
    const node = this.#nodes.get(address);
    if (node?.unresponsive === true) return false;
    return (
      performance.now() - failedAt > SUSPECT_PERIOD || (node !== undefined && node.lastReplyAt > failedAt)
    );
  }

  /** Whether the node at `address` replies to PING. */
  async ping(address: string): Promise<boolean> {
    try {
      await withNodeTimeout(REFRESH_TIMEOUT, `PING at ${address}`, this.node(address).execute([['PING']]));
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Reads the slot map, from the node at `from` if given; resolves with false when no node replied. Calls
   * during a refresh share its result.
   */
  refresh(from?: string): Promise<boolean> {
    this.#refreshing ??= this.#refreshSoon(from).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const node of [...this.#nodes.values()]) {
      node.destroy(new ConnectionError(`the ${this.#client.client} driver is closed`));
    }
  }

  async #refreshSoon(from: string | undefined): Promise<boolean> {
    const wait = this.#lastRefresh + MIN_REFRESH_INTERVAL - performance.now();
    if (wait > 0) await sleep(wait);
    this.#lastRefresh = performance.now();
    const answered = await this.#fetchSlots(this.#candidates(from));
    clearTimeout(this.#timer);
    if (!this.#closed && answered) {
      this.#timer = setTimeout(() => void this.refresh(), jitter(systemClock, REFRESH_INTERVAL)).unref();
    }
    return answered;
  }

  async #fetchSlots(candidates: readonly string[]): Promise<boolean> {
    let cause: Error = new ConnectionError('the cluster client knows no node');
    for (const address of candidates) {
      if (this.#closed) return false;
      try {
        const work = this.node(address).execute([['CLUSTER', 'SLOTS']]);
        const [reply] = await withNodeTimeout(REFRESH_TIMEOUT, `CLUSTER SLOTS at ${address}`, work);
        if (reply instanceof Error) throw reply;
        const map = SlotMap.from(reply, address);
        if (map === undefined) throw new ConnectionError(`the node at ${address} knows of no slots`);
        this.#failedAt.delete(address);
        this.#applySlotMap(map);
        return true;
      } catch (error) {
        this.suspect(address);
        cause = error instanceof Error ? error : new ConnectionError(messageOf(error));
      }
    }
    const was = this.#reachable;
    this.#reachable = false;
    this.#events.unreachable(cause);
    // Without this, no caller may notice that the nodes are back.
    if (was && !this.#closed) void this.discover(() => this.#reachable);
    return false;
  }

  /** The nodes to ask, the most promising first. */
  #candidates(from: string | undefined): string[] {
    const { masters = [], nodes = [] } = this.#map ?? {};
    const open = masters.filter((address) => this.#nodes.has(address));
    const all = new Set([...open, ...masters, ...nodes, ...this.#client.addresses(), ...this.#known]);
    const now = performance.now();
    const good = [...all].filter((address) => now - this.#lastFailure(address) > SUSPECT_PERIOD);
    // Random, to spread the load and so that one node's wrong reply is not used forever.
    const first = Math.floor(systemClock.random() * Math.min(open.length, good.length));
    good.unshift(...good.splice(first, 1));
    // Those that failed longest ago come first.
    const bad = [...all]
      .filter((address) => !good.includes(address))
      .sort((a, b) => this.#lastFailure(a) - this.#lastFailure(b));
    return [...new Set([...(from === undefined ? [] : [from]), ...good, ...bad])];
  }

  #lastFailure(address: string): number {
    return this.#failedAt.get(address) ?? Number.NEGATIVE_INFINITY;
  }

  #applySlotMap(map: SlotMap): void {
    const before = this.#map;
    const changed = before?.equals(map) !== true;
    const returned = before !== undefined && map.nodes.some((address) => !before.nodes.includes(address));
    this.#map = map;
    for (const address of map.nodes) this.#known.add(address);
    for (const [address, node] of [...this.#nodes]) {
      if (map.masters.includes(address)) node.unretire();
      else node.retire();
    }
    const was = this.#reachable;
    this.#reachable = true;
    if (!was) this.#events.reachable();
    if (changed) this.#events.changed(map);
    if (returned) this.#events.returned();
  }
}
