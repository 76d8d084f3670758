import { backoff, systemClock } from '../internal/clock.js';
import { ConnectionError, UnsupportedError } from '../internal/errors.js';
import { ClusterNode, CONNECT_DEADLINE, sleep, withNodeTimeout } from './cluster-node.js';
import { isRetryableError } from './cluster-slots.js';
import { ConnectionState } from './connection-state.js';
import { databaseRefusal } from './database.js';
import {
  ALL_CAPABILITIES,
  type Command,
  type Driver,
  type DriverListener,
  type DriverSubscribeOptions,
  type ExecuteOptions,
  type Reply,
  type SubscriptionKind,
} from './driver.js';
import {
  addListeners,
  createCommandConnection,
  createPubSubConnection,
  type NodeRedisLike,
} from './node-redis.js';
import { toRollcallError } from './replies.js';
import {
  type ConnectionTarget,
  type PubSubConnection,
  type PubSubConnectionListener,
  Subscriber,
} from './subscriber.js';

/** The shape by which a node-redis Sentinel client (`createSentinel` of `redis` 5 or 6) is recognised. */
export interface NodeRedisSentinelClient {
  /** @internal */
  readonly isOpen: boolean;
  /** @internal */
  connect(): Promise<unknown>;
  /** @internal */
  acquire(...args: never[]): Promise<unknown>;
  /** @internal */
  getMasterNode(...args: never[]): unknown;
}

/** The client's generic types are impractical to reference. */
interface NodeRedisSentinelLike {
  readonly isOpen: boolean;
  connect(): Promise<unknown>;
  acquire(): Promise<unknown>;
  /** Undefined while the client looks for the master. */
  getMasterNode(): ConnectionTarget | undefined;
  readonly isReady?: boolean;
  /** Undocumented, but the only access to the master's client in both versions. */
  _execute?(readonly: boolean, use: (client: NodeRedisLike) => Promise<void>): Promise<void>;
  on(event: string, listener: (...args: unknown[]) => void): void;
  off(event: string, listener: (...args: unknown[]) => void): void;
  listenerCount(event: string): number;
}

/** In ms. */
const FIRST_RETRY_DELAY = 50;
const MAX_RETRY_DELAY = 500;
/** Limit for a first subscription, in ms. */
const FIND_MASTER_TIMEOUT = 2_000;

export function isNodeRedisSentinelClient(value: object): value is NodeRedisSentinelClient {
  const client = value as Partial<NodeRedisSentinelLike>;
  return typeof client.acquire === 'function' && typeof client.getMasterNode === 'function';
}

/**
 * The client finds the master, and we open our own connections to it, because the client's methods would repeat a
 * command that may have run. A failover by command leaves the old master writable for about a second: those writes
 * are acknowledged and lost.
 */
export class NodeRedisSentinelDriver implements Driver {
  readonly client = 'node-redis';
  readonly capabilities = ALL_CAPABILITIES;

  readonly #given: NodeRedisSentinelLike;
  readonly #state = new ConnectionState('node-redis sentinel');
  readonly #untrack: () => void;
  /** Its options are used to connect. */
  #templateClient: NodeRedisLike | undefined;
  #node: ClusterNode | undefined;
  #subscriber: Subscriber | undefined;
  #searching: Promise<void> | undefined;
  /** A client that was open and no longer is was closed by its owner. */
  #wasOpen: boolean;
  #closed = false;

  constructor(client: NodeRedisSentinelClient) {
    this.#given = client as unknown as NodeRedisSentinelLike;
    this.#wasOpen = this.#given.isOpen;
    if (typeof this.#given._execute !== 'function') {
      throw new UnsupportedError(
        'this version of the node-redis sentinel client does not lead to its master',
      );
    }
    this.#untrack = addListeners(this.#given, [
      ['topology-change', (event) => this.#handleTopologyChange(event as { type?: string })],
      // Without a listener for `error`, a failure would end the process.
      ['error', (error) => (this.#state.ready ? undefined : this.#state.setError(error))],
    ]);
  }

  get ready(): boolean {
    return this.#state.ready;
  }

  attach(listener: DriverListener): void {
    this.#state.attach((state, cause) => listener.connection(state, cause));
    this.#subscriber = new Subscriber(this.client, (events) => this.#openPubSub(events), listener);
  }

  async connect(): Promise<void> {
    if (this.#closed) throw this.#state.createOfflineError();
    if (this.ready) return;
    const ready = this.#state.whenReady();
    if (!this.#given.isOpen && this.#wasOpen) {
      this.#state.endByOwner();
      return ready;
    }
    if (!this.#given.isOpen) {
      this.#given.connect().catch((error: unknown) => {
        this.#state.setError(error);
        this.#state.end();
      });
    }
    this.#search();
    await ready;
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    const node = this.#node;
    if (node === undefined || !this.ready) throw this.#state.createOfflineError();
    try {
      const replies = await node.execute(commands, options?.atomic, options?.buffers);
      const refusal = replies.find(isRetryableError);
      if (refusal !== undefined) this.#handleDemotion(node, refusal);
      // None of them has run, so another master may run them.
      if (replies.length > 0 && replies.every(isRetryableError)) throw refusal;
      return replies;
    } catch (error) {
      if (!isRetryableError(error)) throw toRollcallError(error);
      this.#handleDemotion(node, error);
      throw new ConnectionError(`the master does not take commands: ${error.message}`, { cause: error });
    }
  }

  async subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void> {
    // The template client is known only once the client is connected.
    if (this.#templateClient === undefined)
      await withNodeTimeout(FIND_MASTER_TIMEOUT, 'finding the master', this.connect());
    await this.#subscriber?.subscribe(kind, names, options?.binary);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    await this.#subscriber?.unsubscribe(kind, names);
  }

  resetSubscriptions(_kind: SubscriptionKind, cause: Error): void {
    this.#subscriber?.reset(cause);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#untrack();
    this.#subscriber?.close();
    this.#state.end();
    this.#node?.destroy(new ConnectionError('the node-redis sentinel driver is closed'));
  }

  /** The old master may be frozen, or may not know of the new one yet. */
  #handleTopologyChange({ type }: { type?: string }): void {
    this.#wasOpen = true;
    if (type !== 'MASTER_CHANGE' || this.#node === undefined) return;
    const cause = new ConnectionError('the sentinels announce another master');
    this.#node.destroy(cause);
    this.#subscriber?.reset(cause);
  }

  /** The node is a replica now. */
  #handleDemotion(node: ClusterNode, cause: Error): void {
    if (/^(?:READONLY|MASTERDOWN)/.test(cause.message)) node.destroy(cause);
  }

  #search(): void {
    this.#searching ??= this.#find().finally(() => {
      this.#searching = undefined;
    });
  }

  async #find(): Promise<void> {
    for (let attempt = 0; !this.#closed && this.#given.isOpen; attempt++) {
      try {
        await this.#findTemplate();
        const node = await this.#open();
        if (this.#closed)
          return node.destroy(new ConnectionError('the node-redis sentinel driver is closed'));
        this.#node = node;
        return this.#state.up();
      } catch (error) {
        const refusal = databaseRefusal(error, undefined);
        if (refusal === undefined) this.#state.setError(error);
        else this.#state.refuse(refusal);
        await sleep(backoff(systemClock, attempt, FIRST_RETRY_DELAY, MAX_RETRY_DELAY));
      }
    }
    // The owner has closed the client, or it has stopped trying.
    this.#state.end();
  }

  /**
   * Called once, while the client is ready: without a master, `_execute` retries so often that it blocks the
   * process, in version 5 forever.
   */
  async #findTemplate(): Promise<void> {
    if (this.#templateClient !== undefined) return;
    if (this.#given.isReady === false) throw new ConnectionError('the sentinel client is not ready');
    await this.#given._execute?.(false, async (client) => {
      this.#templateClient = client;
      this.#wasOpen = true;
    });
  }

  async #open(): Promise<ClusterNode> {
    const target = this.#target();
    const node = new ClusterNode(
      `${target.host}:${target.port}`,
      (listener) => createCommandConnection(this.#requireTemplate(), listener, target),
      {
        ended: () => {
          if (this.#node !== node) return;
          this.#node = undefined;
          if (this.#closed) return;
          if (node.lastError !== undefined) this.#state.setError(node.lastError);
          this.#state.down();
          this.#search();
        },
        // The sentinels detect a frozen master and announce another.
        unresponsive: () => {},
      },
      ['ROLE'],
    );
    try {
      await assertMaster(node);
    } catch (error) {
      node.destroy(error as Error);
      throw error;
    }
    return node;
  }

  #openPubSub(listener: PubSubConnectionListener): PubSubConnection {
    const connection = createPubSubConnection(this.#requireTemplate(), listener, { target: this.#target() });
    return {
      ...connection,
      connect: async () => {
        // During a failover the client may still lead to the old master.
        if (this.#node === undefined) throw this.#state.createOfflineError();
        await assertMaster(this.#node);
        await withNodeTimeout(CONNECT_DEADLINE, 'connecting to the master', connection.connect());
      },
    };
  }

  #target(): ConnectionTarget {
    const target = this.#given.getMasterNode();
    if (target === undefined) throw new ConnectionError('the sentinel client knows no master');
    return target;
  }

  #requireTemplate(): NodeRedisLike {
    if (this.#templateClient === undefined) throw this.#state.createOfflineError();
    return this.#templateClient;
  }
}

async function assertMaster(node: ClusterNode): Promise<void> {
  const [reply] = await withNodeTimeout(CONNECT_DEADLINE, 'ROLE', node.execute([['ROLE']]));
  const [role] = Array.isArray(reply) ? (reply as readonly Reply[]) : [];
  // An ACL rule may refuse ROLE; the server is then taken for a master.
  if (role !== 'master' && !(reply instanceof Error)) {
    throw new ConnectionError(`the node at ${node.address} is no master`);
  }
}
