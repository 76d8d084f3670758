import { backoff, jitter, systemClock } from '../internal/clock.js';
import { messageOf } from '../internal/diagnostics.js';
import { ConnectionError } from '../internal/errors.js';
import { type ClusterClientAdapter, ClusterNode, sleep, withNodeTimeout } from './cluster-node.js';
import { SlotMap } from './cluster-slots.js';

/** Within how many ms a node has to say who has which slots, or another one is asked. */
const REFRESH_TIMEOUT = 500;
/** Between two times of asking, in ms, however many want to know. */
const MIN_REFRESH_INTERVAL = 50;
/** How often to ask though nobody wants to know: subscribed connections notice a failover by it. */
const REFRESH_INTERVAL = 3_000;
/** For how long, in ms, a node that failed is asked last. */
const SUSPECT_PERIOD = 5_000;
/** For how long, in ms, a node that could not be reached is not tried again. */
const REOPEN_DELAY = 50;
/** Between attempts to find any node, in ms: the first time, and at most. */
const FIRST_DISCOVERY_DELAY = 50;
const MAX_DISCOVERY_DELAY = 2_000;

/** What a {@link ClusterTopology} tells. */
export interface ClusterTopologyEvents {
  /** The map is another than before. */
  changed(map: SlotMap): void;
  /** There is a node in it that was not in the one before. */
  returned(): void;
  /** Some node answers, after none did. */
  reachable(): void;
  /** No node answers. */
  unreachable(cause: Error): void;
}

/**
 * Who has which slots, and a connection for commands to each of them. Client libraries have maps of
 * their own, but none notices that a node is frozen, and some not even that one is dead.
 */
export class ClusterTopology {
  readonly #client: ClusterClientAdapter;
  readonly #events: ClusterTopologyEvents;
  readonly #nodes = new Map<string, ClusterNode>();
  /** When a node failed last. */
  readonly #doubts = new Map<string, number>();
  /** Every node there ever was: one of them may be the first to come back. */
  readonly #known = new Set<string>();
  #map: SlotMap | undefined;
  #asking: Promise<boolean> | undefined;
  #lastAsked = Number.NEGATIVE_INFINITY;
  #reachable = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(client: ClusterClientAdapter, events: ClusterTopologyEvents) {
    this.#client = client;
    this.#events = events;
  }

  /** What is known, if anything is. */
  get map(): SlotMap | undefined {
    return this.#map;
  }

  /** True while the map is known and some node answers. */
  get ready(): boolean {
    return this.#reachable && !this.#closed;
  }

  /** True once it is of no use any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Asks until some node has answered, or `until` says that it is of no use. */
  async discover(until: () => boolean): Promise<void> {
    for (let attempt = 0; !this.#closed && !until(); attempt++) {
      if (await this.refresh()) return;
      await sleep(backoff(systemClock, attempt, FIRST_DISCOVERY_DELAY, MAX_DISCOVERY_DELAY));
    }
  }

  /** The connection to the node at `address`; opens it. */
  node(address: string): ClusterNode {
    const known = this.#nodes.get(address);
    if (known !== undefined) return known;
    if (this.#closed) throw new ConnectionError(`the ${this.#client.client} driver is closed`);
    if (performance.now() - this.#doubted(address) < REOPEN_DELAY) {
      throw new ConnectionError(`the node at ${address} could not be reached a moment ago`);
    }
    const node = new ClusterNode(address, (listener) => this.#client.open(address, listener), {
      ended: () => {
        if (this.#nodes.get(address) === node) this.#nodes.delete(address);
        if (!node.retired) this.suspect(address);
      },
      silent: () => {
        this.suspect(address);
        // If another has taken over, `#adopt` gives it up.
        void this.refresh();
      },
    });
    this.#nodes.set(address, node);
    return node;
  }

  /** The node at `address` failed: others are better asked. */
  suspect(address: string): void {
    this.#doubts.set(address, performance.now());
  }

  /** A master that may be expected to answer, another than `not` if there is one. */
  pick(not?: string): string | undefined {
    const masters = this.#map?.masters ?? [];
    const others = masters.filter((address) => address !== not);
    const trusted = others.filter((address) => this.isHealthy(address));
    if (trusted.length > 0) return trusted[Math.floor(systemClock.random() * trusted.length)];
    // The one that failed longest ago: whoever fails again goes to the end of the line.
    const byDoubt = (a: string, b: string) => this.#doubted(a) - this.#doubted(b);
    return (others.length > 0 ? others : [...masters]).sort(byDoubt)[0];
  }

  /** True for a master that has not failed lately, or has answered since. */
  isHealthy(address: string): boolean {
    if (this.#map?.masters.includes(address) !== true) return false;
    const doubted = this.#doubted(address);
    const node = this.#nodes.get(address);
    if (node?.unresponsive === true) return false;
    return performance.now() - doubted > SUSPECT_PERIOD || (node !== undefined && node.answered > doubted);
  }

  /** Whether the node at `address` answers anything. */
  async ping(address: string): Promise<boolean> {
    try {
      await withNodeTimeout(REFRESH_TIMEOUT, `PING at ${address}`, this.node(address).execute([['PING']]));
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Asks who has which slots, first the node at `from`; false when nobody answered. All who ask
   * meanwhile share the answer.
   */
  refresh(from?: string): Promise<boolean> {
    this.#asking ??= this.#askSoon(from).finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const node of [...this.#nodes.values()]) {
      node.destroy(new ConnectionError(`the ${this.#client.client} driver is closed`));
    }
  }

  async #askSoon(from: string | undefined): Promise<boolean> {
    const wait = this.#lastAsked + MIN_REFRESH_INTERVAL - performance.now();
    if (wait > 0) await sleep(wait);
    this.#lastAsked = performance.now();
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
        this.#doubts.delete(address);
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
    // Nobody may be asking when they come back.
    if (was && !this.#closed) void this.discover(() => this.#reachable);
    return false;
  }

  /** Whom to ask, the most promising first. */
  #candidates(from: string | undefined): string[] {
    const { masters = [], nodes = [] } = this.#map ?? {};
    const open = masters.filter((address) => this.#nodes.has(address));
    const all = new Set([...open, ...masters, ...nodes, ...this.#client.addresses(), ...this.#known]);
    const now = performance.now();
    const good = [...all].filter((address) => now - this.#doubted(address) > SUSPECT_PERIOD);
    // Not everybody asks the same one, nor is a wrong answer repeated for ever.
    const first = Math.floor(systemClock.random() * Math.min(open.length, good.length));
    good.unshift(...good.splice(first, 1));
    // Those that failed longest ago come first.
    const bad = [...all]
      .filter((address) => !good.includes(address))
      .sort((a, b) => this.#doubted(a) - this.#doubted(b));
    return [...new Set([...(from === undefined ? [] : [from]), ...good, ...bad])];
  }

  #doubted(address: string): number {
    return this.#doubts.get(address) ?? Number.NEGATIVE_INFINITY;
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
