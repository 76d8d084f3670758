import { ConnectionError } from '../internal/errors.js';
import { type ClusterClient, type NodeConnection, type NodeListener, pause } from './cluster-node.js';
import { splitAddress } from './cluster-slots.js';
import { type Client, commandConnection, listenTo, subscribingWire, type Target } from './node-redis.js';
import type { Wire, WireListener } from './subscriber.js';

/** The shape by which a node-redis Cluster client (`createCluster` of `redis` 5 or 6) is recognised. */
export interface NodeRedisClusterClient {
  /** @internal */
  readonly slots: readonly unknown[];
  /** @internal */
  readonly masters: readonly unknown[];
  /** @internal */
  connect(): Promise<unknown>;
  /** @internal */
  nodeClient(...args: never[]): unknown;
}

interface ClusterNode {
  readonly client?: Client | undefined;
}

/** What this adapter calls, in one place, for the client's own types are too generic to name. */
interface Given {
  readonly isOpen: boolean;
  readonly masters: readonly ClusterNode[];
  readonly nodeByAddress: ReadonlyMap<string, ClusterNode>;
  readonly _options?: { nodeAddressMap?: Record<string, Target> | ((address: string) => Target | undefined) };
  connect(): Promise<unknown>;
  nodeClient(node: ClusterNode): Client | Promise<Client>;
  on(event: string, listener: (...args: unknown[]) => void): void;
  off(event: string, listener: (...args: unknown[]) => void): void;
  listenerCount(event: string): number;
}

/** How often, in ms, to look whether the client has found its nodes: no event tells. */
const LOOK = 20;

/** True for a node-redis Cluster client, told by its shape. */
export function isNodeRedisClusterClient(value: object): value is NodeRedisClusterClient {
  const client = value as Partial<Given> & { slots?: unknown };
  return (
    Array.isArray(client.slots) && Array.isArray(client.masters) && typeof client.nodeClient === 'function'
  );
}

/** What the driver needs of a node-redis Cluster client. */
export class NodeRedisCluster implements ClusterClient {
  readonly client = 'node-redis';
  readonly #given: Given;
  readonly #unfollow: () => void;
  /** One of its clients: its options are those of all. */
  #model: Client | undefined;

  constructor(client: NodeRedisClusterClient) {
    this.#given = client as unknown as Given;
    // Without a listener for `error`, the first failure to find a node would end the process.
    this.#unfollow = listenTo(this.#given, [['error', () => {}]]);
  }

  async connect(): Promise<void> {
    let connecting = !this.#given.isOpen;
    let failed: unknown;
    if (connecting) {
      // It waits for every node; we do with one.
      this.#given
        .connect()
        .catch((error: unknown) => {
          failed = error;
        })
        .finally(() => {
          connecting = false;
        });
    }
    while (this.#model === undefined) {
      if (failed !== undefined) throw failed;
      if (!this.#given.isOpen && !connecting)
        throw new ConnectionError('the node-redis cluster client is closed');
      this.#model = await this.#anyClient();
      if (this.#model === undefined) await pause(LOOK);
    }
  }

  addresses(): string[] {
    return [...this.#given.nodeByAddress.keys()];
  }

  open(address: string, listener: NodeListener): NodeConnection {
    return commandConnection(this.#like(), listener, this.#target(address));
  }

  subscribing(address: string, listener: WireListener, sharded: boolean): Wire {
    return subscribingWire(this.#like(), listener, { target: this.#target(address), sharded });
  }

  close(): void {
    this.#unfollow();
  }

  async #anyClient(): Promise<Client | undefined> {
    const { nodeByAddress, masters } = this.#given;
    for (const { client } of nodeByAddress.values()) if (client !== undefined) return client;
    // With `minimizeConnections` there is none until it is asked for.
    const [first] = masters;
    return first === undefined ? undefined : this.#given.nodeClient(first);
  }

  #like(): Client {
    if (this.#model === undefined)
      throw new ConnectionError('the node-redis cluster client is not connected');
    return this.#model;
  }

  #target(address: string): Target {
    const map = this.#given._options?.nodeAddressMap;
    const mapped = typeof map === 'function' ? map(address) : map?.[address];
    return mapped ?? splitAddress(address);
  }
}
