import { ConnectionError } from '../internal/errors.js';
import {
  type ClusterClientAdapter,
  type CommandConnection,
  type CommandConnectionListener,
  sleep,
} from './cluster-node.js';
import { splitAddress } from './cluster-slots.js';
import {
  addListeners,
  type ConnectionTarget,
  createCommandConnection,
  createPubSubConnection,
  type NodeRedisLike,
} from './node-redis.js';
import type { PubSubConnection, PubSubConnectionListener } from './subscriber.js';

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

interface NodeRedisClusterNode {
  readonly client?: NodeRedisLike | undefined;
}

/** What this adapter calls, in one place, for the client's own types are too generic to name. */
interface NodeRedisClusterLike {
  readonly isOpen: boolean;
  readonly masters: readonly NodeRedisClusterNode[];
  readonly nodeByAddress: ReadonlyMap<string, NodeRedisClusterNode>;
  readonly _options?: {
    nodeAddressMap?: Record<string, ConnectionTarget> | ((address: string) => ConnectionTarget | undefined);
  };
  connect(): Promise<unknown>;
  nodeClient(node: NodeRedisClusterNode): NodeRedisLike | Promise<NodeRedisLike>;
  on(event: string, listener: (...args: unknown[]) => void): void;
  off(event: string, listener: (...args: unknown[]) => void): void;
  listenerCount(event: string): number;
}

/** How often, in ms, to look whether the client has found its nodes: no event tells. */
const POLL_INTERVAL = 20;

/** True for a node-redis Cluster client, told by its shape. */
export function isNodeRedisClusterClient(value: object): value is NodeRedisClusterClient {
  const client = value as Partial<NodeRedisClusterLike> & { slots?: unknown };
  return (
    Array.isArray(client.slots) && Array.isArray(client.masters) && typeof client.nodeClient === 'function'
  );
}

/** What the driver needs of a node-redis Cluster client. */
export class NodeRedisCluster implements ClusterClientAdapter {
  readonly client = 'node-redis';
  readonly #given: NodeRedisClusterLike;
  readonly #unfollow: () => void;
  /** One of its clients: its options are those of all. */
  #model: NodeRedisLike | undefined;

  constructor(client: NodeRedisClusterClient) {
    this.#given = client as unknown as NodeRedisClusterLike;
    // Without a listener for `error`, the first failure to find a node would end the process.
    this.#unfollow = addListeners(this.#given, [['error', () => {}]]);
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
      if (this.#model === undefined) await sleep(POLL_INTERVAL);
    }
  }

  addresses(): string[] {
    return [...this.#given.nodeByAddress.keys()];
  }

  open(address: string, listener: CommandConnectionListener): CommandConnection {
    return createCommandConnection(this.#like(), listener, this.#target(address));
  }

  openPubSub(address: string, listener: PubSubConnectionListener, sharded: boolean): PubSubConnection {
    return createPubSubConnection(this.#like(), listener, { target: this.#target(address), sharded });
  }

  close(): void {
    this.#unfollow();
  }

  async #anyClient(): Promise<NodeRedisLike | undefined> {
    const { nodeByAddress, masters } = this.#given;
    for (const { client } of nodeByAddress.values()) if (client !== undefined) return client;
    // With `minimizeConnections` there is none until it is asked for.
    const [first] = masters;
    return first === undefined ? undefined : this.#given.nodeClient(first);
  }

  #like(): NodeRedisLike {
    if (this.#model === undefined)
      throw new ConnectionError('the node-redis cluster client is not connected');
    return this.#model;
  }

  #target(address: string): ConnectionTarget {
    const map = this.#given._options?.nodeAddressMap;
    const mapped = typeof map === 'function' ? map(address) : map?.[address];
    return mapped ?? splitAddress(address);
  }
}
