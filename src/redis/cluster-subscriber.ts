import { backoff, systemClock } from '../internal/clock.js';
import { CommandError, ConnectionError } from '../internal/errors.js';
import { type ClusterClientAdapter, CONNECT_DEADLINE, sleep, withNodeTimeout } from './cluster-node.js';
import { groupBy, isRetryableError, slotOf } from './cluster-slots.js';
import type { ClusterTopology } from './cluster-topology.js';
import type { DriverListener, SubscriptionKind } from './driver.js';
import { hashTagFor } from './hash-tag.js';
import { type PubSubConnection, type PubSubConnectionListener, Subscriber } from './subscriber.js';

/** In ms: some clients never reject. */
const SUBSCRIBE_DEADLINE = 3_000;
/** Limit for finding the owner of a slot, in ms. */
const RETRY_BUDGET = 2_000;
/** In ms. */
const FIRST_RETRY_DELAY = 20;
const MAX_RETRY_DELAY = 200;

/** Time a node that replies may be missing from the map, in ms. */
const MISSING_NODE_GRACE = 2_000;

interface Placement {
  readonly slot: number;
  readonly address: string;
}

/**
 * One connection to any node for classic subscriptions, because nodes forward classic messages, and one to
 * each master for its sharded channels.
 */
export class ClusterSubscriber {
  readonly #client: ClusterClientAdapter;
  readonly #topology: ClusterTopology;
  readonly #listener: DriverListener;
  readonly #classic: Subscriber;
  #classicAt: string | undefined;
  readonly #shards = new Map<string, Subscriber>();
  readonly #placements = new Map<string, Placement>();
  /** Refresh the slot map before the next subscribe. */
  #stale = false;
  #refreshed: Promise<unknown> | undefined;
  #closed = false;

  constructor(
    client: ClusterClientAdapter,
    topology: ClusterTopology,
    listener: DriverListener,
    publishing: () => string | undefined,
  ) {
    this.#client = client;
    this.#topology = topology;
    this.#listener = listener;
    this.#classic = new Subscriber(
      client.client,
      (events) => {
        // A partitioned node receives nothing from the others. A probe detects that only if published at
        // another node.
        const address = topology.pick(publishing()) ?? '';
        this.#classicAt = address;
        return this.#openWatched(address, events, false);
      },
      listener,
    );
  }

  async subscribe(kind: SubscriptionKind, names: readonly string[], binary = false): Promise<void> {
    if (this.#closed || this.#topology.map === undefined)
      throw new ConnectionError(`the ${this.#client.client} driver is not connected`);
    if (kind !== 'sharded') return this.#classic.subscribe(kind, names, binary);

    const end = performance.now() + RETRY_BUDGET;
    let left = names;
    for (let attempt = 0; ; attempt++) {
      if (this.#stale) {
        this.#stale = false;
        this.#refreshed = this.#topology.refresh();
      }
      await this.#refreshed;
      const missed = await this.#subscribeAtOwners(left, binary);
      if (missed === undefined) return;
      if (this.#closed || performance.now() > end) throw missed.cause;
      left = missed.names;
      this.#stale = true;
      await sleep(backoff(systemClock, attempt, FIRST_RETRY_DELAY, MAX_RETRY_DELAY));
    }
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    if (kind !== 'sharded') return this.#classic.unsubscribe(kind, names);
    const groups = groupBy(names, (name) => this.#placements.get(name)?.address);
    for (const name of names) this.#placements.delete(name);
    const calls = [...groups].map(async ([address, group]) => {
      const shard = address === undefined ? undefined : this.#shards.get(address);
      await shard?.unsubscribe(kind, group).catch((error: unknown) => {
        // That error ended the connection, and the server forgot the names.
        if (!isRetryableError((error as Error).cause)) throw error;
      });
    });
    await Promise.all(calls);
  }

  reset(kind: SubscriptionKind, cause: Error, name: string): void {
    if (kind !== 'sharded') {
      if (this.#classicAt !== undefined) this.#topology.suspect(this.#classicAt);
      return this.#classic.reset(cause);
    }
    const address = this.#placements.get(name)?.address ?? this.#topology.map?.owner(slotOf(name));
    if (address === undefined) return;
    this.#stale = true;
    this.#topology.suspect(address);
    this.#shards.get(address)?.reset(cause);
  }

  /** One name per node with subscriptions, in the slot of one of its channels. */
  probeChannels(base: string): readonly string[] {
    const names = new Map<string, string>();
    for (const [name, { address }] of this.#placements) {
      const tag = names.has(address) || name.startsWith(base) ? undefined : hashTagFor(name);
      if (tag !== undefined) names.set(address, `${base}:{${tag}}`);
    }
    return [...names.values()];
  }

  /** Channels at a node that has lost their slot receive nothing. */
  onSlotsChanged(): void {
    const { map } = this.#topology;
    if (map === undefined) return;
    const losers = new Set<string>();
    for (const { slot, address } of this.#placements.values()) {
      if (map.owner(slot) !== address) losers.add(address);
    }
    for (const address of losers) {
      this.#shards.get(address)?.reset(new CommandError('the slot of a sharded channel has moved'));
    }
    const used = new Set([...this.#placements.values()].map(({ address }) => address));
    for (const [address, shard] of this.#shards) {
      if (map.masters.includes(address) || used.has(address)) continue;
      shard.close();
      this.#shards.delete(address);
    }
    const at = this.#classicAt;
    if (at !== undefined && !map.nodes.includes(at)) void this.#checkMissingNode(at);
  }

  close(): void {
    this.#closed = true;
    this.#classic.close();
    for (const shard of this.#shards.values()) shard.close();
  }

  /**
   * A master that became a replica is missing from the map for a moment and still receives everything; a
   * dead, frozen or removed node receives nothing.
   */
  async #checkMissingNode(address: string): Promise<void> {
    if (await this.#topology.ping(address)) {
      await sleep(MISSING_NODE_GRACE);
      await this.#topology.refresh();
    }
    if (this.#classicAt !== address || this.#topology.map?.nodes.includes(address) === true) return;
    this.#classic.reset(new ConnectionError('the node is no longer part of the cluster'));
  }

  /** Resolves with the names that found no owner. */
  async #subscribeAtOwners(
    names: readonly string[],
    binary: boolean,
  ): Promise<{ names: string[]; cause: Error } | undefined> {
    const missed: string[] = [];
    let cause: Error = new ConnectionError('no node has the slot of a sharded channel');
    const refused: unknown[] = [];
    const groups = groupBy(names, (name) => this.#topology.map?.owner(slotOf(name)));
    const calls = [...groups].map(async ([address, group]) => {
      if (address === undefined) return void missed.push(...group);
      for (const name of group) this.#placements.set(name, { slot: slotOf(name), address });
      try {
        await this.#shard(address).subscribe('sharded', group, binary);
      } catch (error) {
        for (const name of group) this.#placements.delete(name);
        if (!(error instanceof ConnectionError) && !isRetryableError((error as Error).cause)) {
          return void refused.push(error);
        }
        cause = error instanceof ConnectionError ? error : noOwnerError(error as Error);
        missed.push(...group);
        // A message may have arrived before the break and ended a gap above; report the new gap.
        const open = !(error instanceof ConnectionError) || error.outcome === 'unknown';
        if (open && !this.#closed) this.#listener.dropped('sharded', group, cause);
      }
    });
    await Promise.all(calls);
    if (refused.length > 0) throw refused[0];
    return missed.length === 0 ? undefined : { names: missed, cause };
  }

  #shard(address: string): Subscriber {
    let shard = this.#shards.get(address);
    if (shard === undefined) {
      const make = (events: PubSubConnectionListener) => this.#sharded(address, events);
      shard = new Subscriber(this.#client.client, make, {
        ...this.#listener,
        dropped: (kind, names, cause) => {
          for (const name of names) {
            if (this.#placements.get(name)?.address === address) this.#placements.delete(name);
          }
          this.#listener.dropped(kind, names, cause);
        },
      });
      this.#shards.set(address, shard);
    }
    return shard;
  }

  /** Has a connect timeout; its end makes the node suspect. */
  #openWatched(address: string, listener: PubSubConnectionListener, sharded: boolean): PubSubConnection {
    const ended = () => {
      this.#topology.suspect(address);
      listener.ended();
    };
    const connection = this.#client.openPubSub(address, { ...listener, ended }, sharded);
    return {
      ...connection,
      connect: () =>
        withNodeTimeout(CONNECT_DEADLINE, `connecting to ${address}`, connection.connect()).catch(
          (error: unknown) => {
            this.#topology.suspect(address);
            throw error;
          },
        ),
    };
  }

  /** One command per slot, and none that Redis or the client loses track of. */
  #sharded(address: string, listener: PubSubConnectionListener): PubSubConnection {
    const ended = () => {
      this.#stale = true;
      listener.ended();
    };
    const connection = this.#openWatched(address, { ...listener, ended }, true);
    const send = async (names: readonly string[], command: (group: string[]) => Promise<unknown>) => {
      try {
        const calls = [...groupBy(names, slotOf).values()].map(command);
        await withNodeTimeout(SUBSCRIBE_DEADLINE, `subscribing at ${address}`, Promise.all(calls));
      } catch (error) {
        // A refusal by an ACL rule concerns one name. After any other error the connection may carry other
        // names than the client believes.
        if (error instanceof ConnectionError || isRetryableError(error)) {
          listener.failed(error);
          ended();
        }
        throw error;
      }
    };
    return {
      ...connection,
      subscribe: (kind, names, binary) => send(names, (group) => connection.subscribe(kind, group, binary)),
      unsubscribe: (kind, names) => send(names, (group) => connection.unsubscribe(kind, group)),
    };
  }
}

function noOwnerError(cause: Error): ConnectionError {
  return new ConnectionError(`a sharded channel could not be subscribed: ${cause.message}`, { cause });
}
