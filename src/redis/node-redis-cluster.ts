import { messageOf } from '../internal/diagnostics.js';
import { ConnectionError } from '../internal/errors.js';
import {
  type ClusterClientAdapter,
  type CommandConnection,
  type CommandConnectionListener,
  sleep,
} from './cluster-node.js';
import { joinAddress, splitAddress } from './cluster-slots.js';
import { databaseOfCluster, databaseRefusal } from './database.js';
import {
  addListeners,
  createCommandConnection,
  createPubSubConnection,
  type NodeRedisLike,
} from './node-redis.js';
import type { ConnectionTarget, PubSubConnection, PubSubConnectionListener } from './subscriber.js';

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

/** The client's generic types are impractical to reference. */
interface NodeRedisClusterLike {
  readonly isOpen: boolean;
  readonly masters: readonly NodeRedisClusterNode[];
  readonly nodeByAddress: ReadonlyMap<string, NodeRedisClusterNode>;
  readonly _options?: {
    rootNodes?: readonly { url?: string; socket?: { host?: string; port?: number } }[];
    nodeAddressMap?: Record<string, ConnectionTarget> | ((address: string) => ConnectionTarget | undefined);
  };
  connect(): Promise<unknown>;
  nodeClient(node: NodeRedisClusterNode): NodeRedisLike | Promise<NodeRedisLike>;
  on(event: string, listener: (...args: unknown[]) => void): void;
  off(event: string, listener: (...args: unknown[]) => void): void;
  listenerCount(event: string): number;
}

/** In ms: the client has no event for this. */
const POLL_INTERVAL = 20;

/** False for a node that announces no host: the client writes `null`, `undefined` or nothing for it. */
function hasHost(address: string): boolean {
  return !/^(?:null|undefined|\?)?:\d+$/.test(address);
}

/** Needed if no node announces a host: they have the host of the node that was asked. */
function rootAddress({ url, socket }: { url?: string; socket?: { host?: string; port?: number } }): string[] {
  if (url !== undefined && URL.canParse(url)) {
    const { hostname, port } = new URL(url);
    return [joinAddress(hostname.replace(/^\[|\]$/g, '') || '127.0.0.1', Number(port || 6379))];
  }
  return [joinAddress(socket?.host ?? '127.0.0.1', socket?.port ?? 6379)];
}

export function isNodeRedisClusterClient(value: object): value is NodeRedisClusterClient {
  const client = value as Partial<NodeRedisClusterLike> & { slots?: unknown; withCommandOptions?: unknown };
  return (
    Array.isArray(client.slots) &&
    Array.isArray(client.masters) &&
    typeof client.nodeClient === 'function' &&
    // Version 4 has no such method, and no type mapping.
    typeof client.withCommandOptions === 'function'
  );
}

export class NodeRedisCluster implements ClusterClientAdapter {
  readonly client = 'node-redis';
  readonly database: number;
  readonly #given: NodeRedisClusterLike;
  readonly #untrack: () => void;
  /** All node clients have the same options. */
  #templateClient: NodeRedisLike | undefined;
  #closedByOwner = false;
  /** The error of the client's `connect` names no reason. */
  #lastError: Error | undefined;

  constructor(client: NodeRedisClusterClient) {
    this.#given = client as unknown as NodeRedisClusterLike;
    this.database = databaseOfCluster(client);
    // Without a listener for `error`, a failure would end the process.
    this.#untrack = addListeners(this.#given, [
      [
        'error',
        (error) => {
          this.#lastError = error as Error;
        },
      ],
      // Emitted by `close` and `destroy` only.
      ['disconnect', this.#setClosed(true)],
      ['connect', this.#setClosed(false)],
    ]);
  }

  async connect(): Promise<void> {
    let connecting = !this.#given.isOpen;
    if (connecting && this.#closedByOwner)
      throw new ConnectionError('the node-redis cluster client is closed: its owner has closed it');
    let failed: unknown;
    if (connecting) {
      // `connect` waits for every node; one is enough here.
      this.#given
        .connect()
        .catch((error: unknown) => {
          failed = error;
        })
        .finally(() => {
          connecting = false;
        });
    }
    while (this.#templateClient === undefined) {
      if (failed !== undefined) throw this.#connectError(failed);
      if (!this.#given.isOpen && !connecting)
        throw (
          databaseRefusal(this.#lastError, this.database) ??
          new ConnectionError('the node-redis cluster client is closed')
        );
      this.#templateClient = await this.#anyClient();
      if (this.#templateClient === undefined) await sleep(POLL_INTERVAL);
    }
  }

  addresses(): string[] {
    const announced = [...this.#given.nodeByAddress.keys()].filter(hasHost);
    return [...announced, ...(this.#given._options?.rootNodes ?? []).flatMap(rootAddress)];
  }

  open(address: string, listener: CommandConnectionListener): CommandConnection {
    return createCommandConnection(this.#requireTemplate(), listener, this.#target(address));
  }

  openPubSub(address: string, listener: PubSubConnectionListener, sharded: boolean): PubSubConnection {
    return createPubSubConnection(this.#requireTemplate(), listener, {
      target: this.#target(address),
      sharded,
    });
  }

  close(): void {
    this.#untrack();
  }

  #connectError(failed: unknown): unknown {
    const cause = this.#lastError;
    if (cause === undefined || cause === failed) return failed;
    const text = `${messageOf(failed)}: ${cause.message}`;
    return databaseRefusal(cause, this.database) ?? new ConnectionError(text, { cause });
  }

  #setClosed(closed: boolean): () => void {
    return () => {
      this.#closedByOwner = closed;
    };
  }

  async #anyClient(): Promise<NodeRedisLike | undefined> {
    const { nodeByAddress, masters } = this.#given;
    for (const { client } of nodeByAddress.values()) if (client !== undefined) return client;
    // With `minimizeConnections` the client makes node clients on demand.
    const [first] = masters;
    return first === undefined ? undefined : this.#given.nodeClient(first);
  }

  #requireTemplate(): NodeRedisLike {
    if (this.#templateClient === undefined)
      throw new ConnectionError('the node-redis cluster client is not connected');
    return this.#templateClient;
  }

  #target(address: string): ConnectionTarget {
    const map = this.#given._options?.nodeAddressMap;
    const mapped = typeof map === 'function' ? map(address) : map?.[address];
    return mapped ?? splitAddress(address);
  }
}
