import { backoff, jitter, systemClock, type Timer } from '../internal/clock.js';
import { messageOf } from '../internal/diagnostics.js';
import { ConnectionError } from '../internal/errors.js';
import {
  type ClusterClientAdapter,
  ClusterNode,
  type CommandConnectionListener,
  type NodeEvents,
  sleep,
  withNodeTimeout,
} from './cluster-node.js';
import { SlotMap } from './cluster-slots.js';

/** Time for a reply to CLUSTER SLOTS, in ms, before another node is asked. */
const REFRESH_TIMEOUT = 500;
/** In ms. */
const MIN_REFRESH_INTERVAL = 50;
/** In ms. Without traffic, subscribers notice a failover only by these. */
const REFRESH_INTERVAL = 3_000;
/** Time in ms during which a failed node is asked last. */
const SUSPECT_PERIOD = 5_000;
/** In ms. */
const REOPEN_DELAY = 50;
/** In ms. */
const FIRST_DISCOVERY_DELAY = 50;
const MAX_DISCOVERY_DELAY = 2_000;

export interface ClusterTopologyEvents {
  changed(map: SlotMap): void;
  /** The map contains a node that the previous map did not. */
  returned(): void;
  /** A node replies, after none did. */
  reachable(): void;
  unreachable(cause: Error): void;
}

/**
 * The slot map, and a connection for commands to each master. No client library detects a frozen node, and
 * some miss a dead one.
 */
export class ClusterTopology {
  readonly #client: ClusterClientAdapter;
  readonly #events: ClusterTopologyEvents;
  readonly #nodes = new Map<string, ClusterNode>();
  readonly #failedAt = new Map<string, number>();
  /** After an outage any node may be the first to reply. */
  readonly #known = new Set<string>();
  #map: SlotMap | undefined;
  #refreshing: Promise<boolean> | undefined;
  #lastRefresh = Number.NEGATIVE_INFINITY;
  #reachable = false;
  /** Kept while the client knows no node that could be asked. */
  #lastCause: Error | undefined;
  #timer: Timer | undefined;
  #closed = false;

  constructor(client: ClusterClientAdapter, events: ClusterTopologyEvents) {
    this.#client = client;
    this.#events = events;
  }

  get map(): SlotMap | undefined {
    return this.#map;
  }

  /** The map is known and a node replies. */
  get ready(): boolean {
    return this.#reachable && !this.#closed;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Ends when a node has replied or `done` returns true. */
  async discover(done: () => boolean): Promise<void> {
    for (let attempt = 0; !this.#closed && !done(); attempt++) {
      if (await this.refresh()) return;
      await sleep(backoff(systemClock, attempt, FIRST_DISCOVERY_DELAY, MAX_DISCOVERY_DELAY));
    }
  }

  /** Opens the connection if necessary. */
  node(address: string): ClusterNode {
    const known = this.#nodes.get(address);
    if (known !== undefined) return known;
    if (this.#closed) throw new ConnectionError(`the ${this.#client.client} driver is closed`);
    if (performance.now() - this.#lastFailure(address) < REOPEN_DELAY) {
      throw new ConnectionError(`the node at ${address} could not be reached a moment ago`);
    }
    const events: NodeEvents = {
      ended: () => {
        if (this.#nodes.get(address) === node) this.#nodes.delete(address);
        if (!node.retired) this.suspect(address);
      },
      unresponsive: () => {
        this.suspect(address);
        // If a replica has been promoted, `#applySlotMap` retires this connection.
        void this.refresh();
      },
    };
    const open = (listener: CommandConnectionListener) => this.#client.open(address, listener);
    const node = new ClusterNode(address, open, events, ['PING']);
    this.#nodes.set(address, node);
    return node;
  }

  /** Prefers other nodes for a while. */
  suspect(address: string): void {
    this.#failedAt.set(address, performance.now());
  }

  /** A master that is expected to reply; not `not` if there is another. */
  pick(not?: string): string | undefined {
    const masters = this.#map?.masters ?? [];
    const others = masters.filter((address) => address !== not);
    const healthy = others.filter((address) => this.isHealthy(address));
    if (healthy.length > 0) return healthy[Math.floor(systemClock.random() * healthy.length)];
    const byLastFailure = (a: string, b: string) => this.#lastFailure(a) - this.#lastFailure(b);
    return (others.length > 0 ? others : [...masters]).sort(byLastFailure)[0];
  }

  /** The master has not failed lately, or has replied since. */
  isHealthy(address: string): boolean {
    if (this.#map?.masters.includes(address) !== true) return false;
    const failedAt = this.#lastFailure(address);
    const node = this.#nodes.get(address);
    if (node?.unresponsive === true) return false;
    return (
      performance.now() - failedAt > SUSPECT_PERIOD || (node !== undefined && node.lastReplyAt > failedAt)
    );
  }

  async ping(address: string): Promise<boolean> {
    try {
      await withNodeTimeout(REFRESH_TIMEOUT, `PING at ${address}`, this.node(address).execute([['PING']]));
      return true;
    } catch {
      return false;
    }
  }

  /** Asks `from` first; resolves with false when no node replied. Calls during a refresh share its result. */
  refresh(from?: string): Promise<boolean> {
    this.#refreshing ??= this.#refreshSoon(from).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const node of [...this.#nodes.values()]) {
      node.destroy(new ConnectionError(`the ${this.#client.client} driver is closed`));
    }
  }

  async #refreshSoon(from: string | undefined): Promise<boolean> {
    const wait = this.#lastRefresh + MIN_REFRESH_INTERVAL - performance.now();
    if (wait > 0) await sleep(wait);
    this.#lastRefresh = performance.now();
    const answered = await this.#fetchSlots(this.#candidates(from));
    this.#timer?.cancel();
    if (!this.#closed && answered) {
      const delay = jitter(systemClock, REFRESH_INTERVAL);
      this.#timer = systemClock.after(delay, () => void this.refresh(), { keepAlive: false });
    }
    return answered;
  }

  async #fetchSlots(candidates: readonly string[]): Promise<boolean> {
    let cause: Error = this.#lastCause ?? new ConnectionError('the cluster client knows no node');
    for (const address of candidates) {
      if (this.#closed) return false;
      try {
        const work = this.node(address).execute([['CLUSTER', 'SLOTS']]);
        const [reply] = await withNodeTimeout(REFRESH_TIMEOUT, `CLUSTER SLOTS at ${address}`, work);
        if (reply instanceof Error) throw reply;
        const map = SlotMap.from(reply, address);
        if (map === undefined) throw new ConnectionError(`the node at ${address} knows of no slots`);
        this.#failedAt.delete(address);
        this.#lastCause = undefined;
        this.#applySlotMap(map);
        return true;
      } catch (error) {
        this.suspect(address);
        cause = error instanceof Error ? error : new ConnectionError(messageOf(error));
      }
    }
    const was = this.#reachable;
    this.#reachable = false;
    if (candidates.length > 0) this.#lastCause = cause;
    this.#events.unreachable(cause);
    // Otherwise no caller may notice that the nodes are back.
    if (was && !this.#closed) void this.discover(() => this.#reachable);
    return false;
  }

  #candidates(from: string | undefined): string[] {
    const { masters = [], nodes = [] } = this.#map ?? {};
    const open = masters.filter((address) => this.#nodes.has(address));
    const all = new Set([...open, ...masters, ...nodes, ...this.#client.addresses(), ...this.#known]);
    const now = performance.now();
    const good = [...all].filter((address) => now - this.#lastFailure(address) > SUSPECT_PERIOD);
    // Random, to spread the load and not to trust one node's wrong reply forever.
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
