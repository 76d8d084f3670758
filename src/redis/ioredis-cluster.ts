import { ConnectionError } from '../internal/errors.js';
import {
  type ClusterClientAdapter,
  type CommandConnection,
  type CommandConnectionListener,
  sleep,
} from './cluster-node.js';
import { joinAddress, splitAddress } from './cluster-slots.js';
import { databaseOfCluster } from './database.js';
import { createCommandConnection, createPubSubConnection, type IoredisLike } from './ioredis.js';
import type { ConnectionTarget, PubSubConnection, PubSubConnectionListener } from './subscriber.js';

/** The shape by which an ioredis Cluster client (5 or 6) is recognised. */
export interface IoredisClusterClient {
  /** @internal */
  readonly isCluster: boolean;
  /** @internal */
  readonly status: string;
  /** @internal */
  connect(...args: never[]): Promise<unknown>;
  /** @internal */
  nodes(...args: never[]): readonly unknown[];
}

type Node = IoredisLike & { readonly options: { readonly host?: string; readonly port?: number } };

/** The client's own types have too many overloads. */
interface IoredisClusterLike {
  readonly isCluster: boolean;
  readonly status: string;
  connect(): Promise<unknown>;
  nodes(role?: string): readonly Node[];
  readonly options?: { readonly clusterRetryStrategy?: (attempt: number) => unknown };
  natMapper?(node: ConnectionTarget): ConnectionTarget | null | undefined;
  on(event: string, listener: (...args: never[]) => void): void;
  off(event: string, listener: (...args: never[]) => void): void;
}

/** In ms: the client has no event for this. */
const POLL_INTERVAL = 20;

export function isIoredisClusterClient(value: object): value is IoredisClusterClient {
  const client = value as Partial<IoredisClusterLike>;
  return client.isCluster === true && typeof client.nodes === 'function';
}

export class IoredisCluster implements ClusterClientAdapter {
  readonly client = 'ioredis';
  readonly database: number;
  readonly #given: IoredisClusterLike;
  readonly #failed = (error: unknown): void => {
    this.#lastError = error;
  };
  readonly #ended = (): void => {
    const policy = this.#given.options?.clusterRetryStrategy;
    // A client that would reconnect ends only when its owner closes it.
    this.#closedByOwner = typeof policy === 'function' && typeof policy(1) === 'number';
  };
  readonly #connected = (): void => {
    this.#closedByOwner = false;
  };
  #closedByOwner = false;
  #lastError: unknown;
  /** Kept because the client has none while no node is reachable. All have the same options. */
  #templateClient: Node | undefined;

  constructor(client: IoredisClusterClient) {
    this.#given = client as unknown as IoredisClusterLike;
    this.database = databaseOfCluster(client);
    this.#given.on('error', this.#failed);
    this.#given.on('end', this.#ended);
    this.#given.on('connect', this.#connected);
  }

  async connect(): Promise<void> {
    const { status } = this.#given;
    if (this.#closedByOwner && (status === 'end' || status === 'close'))
      throw new ConnectionError('the ioredis cluster client is closed: its owner has closed it');
    // A rejection means that the first attempt failed; the status is `end` when the client stops trying.
    const given = ['wait', 'end', 'close'].includes(status)
      ? this.#given.connect().catch(this.#failed)
      : undefined;
    let tried = false;
    given?.finally(() => {
      tried = true;
    });
    while (this.#templateClient === undefined) {
      [this.#templateClient] = this.#given.nodes('all');
      if (this.#templateClient !== undefined) return;
      if (this.#given.status === 'end' && (given === undefined || tried)) {
        throw this.#lastError ?? new ConnectionError('the ioredis cluster client is closed');
      }
      await sleep(POLL_INTERVAL);
    }
  }

  addresses(): string[] {
    return this.#given
      .nodes('all')
      .map(({ options }) => joinAddress(options.host ?? '127.0.0.1', options.port ?? 6379));
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
    this.#given.off('error', this.#failed);
    this.#given.off('end', this.#ended);
    this.#given.off('connect', this.#connected);
  }

  #requireTemplate(): IoredisLike {
    if (this.#templateClient === undefined)
      throw new ConnectionError('the ioredis cluster client is not connected');
    return this.#templateClient;
  }

  #target(address: string): ConnectionTarget {
    const own = splitAddress(address);
    return this.#given.natMapper?.(own) ?? own;
  }
}
