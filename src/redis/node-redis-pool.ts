import { systemClock, type Timer } from '../internal/clock.js';
import { ConfigurationError, ConnectionError } from '../internal/errors.js';
import { sleep } from './cluster-node.js';
import { databaseOf } from './database.js';
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
import { type NodeRedisClient, NodeRedisDriver, type NodeRedisLike } from './node-redis.js';

/** The shape by which a node-redis pool (`createClientPool` of `redis` 5 or 6) is recognised. */
export interface NodeRedisPoolClient {
  /** @internal */
  readonly isOpen: boolean;
  /** @internal */
  readonly totalClients: number;
  /** @internal */
  readonly idleClients: number;
  /** @internal */
  connect(): Promise<unknown>;
  /** @internal */
  execute(...args: never[]): Promise<unknown>;
}

/** The client's generic types are impractical to reference. */
interface NodeRedisPoolLike {
  readonly isOpen: boolean;
  readonly idleClients: number;
  connect(): Promise<unknown>;
  /** Calls `use` at once if a client is idle. */
  execute<T>(use: (client: NodeRedisLike) => T): Promise<T>;
  on(event: string, listener: (...args: unknown[]) => void): void;
  off(event: string, listener: (...args: unknown[]) => void): void;
}

/** In ms: the pool has no event for its end. */
const POLL_INTERVAL = 100;
/** Delay before a pool without an idle client is asked again, in ms. */
const RETRY_DELAY = 50;
const CLOSED_BY_OWNER = 'its owner has closed it';

export function isNodeRedisPool(value: object): value is NodeRedisPoolClient {
  const pool = value as Partial<NodeRedisPoolClient & { withCommandOptions: unknown }>;
  return (
    typeof pool.execute === 'function' &&
    typeof pool.withCommandOptions === 'function' &&
    typeof pool.totalClients === 'number' &&
    typeof pool.idleClients === 'number'
  );
}

/**
 * A pool spreads commands over connections, so their order would be lost. The driver therefore opens one connection
 * for commands, with the options of the pool's clients, and ends it with the pool.
 */
export class NodeRedisPoolDriver implements Driver {
  readonly client = 'node-redis';
  readonly capabilities = ALL_CAPABILITIES;
  readonly database: number;

  readonly #pool: NodeRedisPoolLike;
  readonly #onError = (error: unknown): void => {
    this.#lastError = error;
  };
  #listener: DriverListener | undefined;
  /** Both undefined unless the pool is open. */
  #own: NodeRedisLike | undefined;
  #inner: NodeRedisDriver | undefined;
  #opening: Promise<NodeRedisDriver> | undefined;
  #lastError: unknown;
  /** A pool that was open and no longer is was closed by its owner. */
  #wasOpen: boolean;
  #timer: Timer | undefined;
  #closed = false;

  constructor(pool: NodeRedisPoolClient) {
    this.#pool = pool as unknown as NodeRedisPoolLike;
    this.#wasOpen = this.#pool.isOpen;
    let database = 0;
    if (this.#pool.isOpen && this.#pool.idleClients > 0) {
      const use = (client: NodeRedisLike): void => {
        database = databaseOf(client);
      };
      this.#pool.execute(use).catch(() => {});
    }
    this.database = database;
    // Without a listener for `error`, a lost connection would end the process.
    this.#pool.on('error', this.#onError);
  }

  get ready(): boolean {
    return this.#pool.isOpen && this.#inner?.ready === true;
  }

  attach(listener: DriverListener): void {
    this.#listener = listener;
  }

  async connect(): Promise<void> {
    const inner = await this.#open();
    await inner.connect();
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    this.#checkPool();
    if (this.#inner === undefined) throw this.#offline();
    return this.#inner.execute(commands, options);
  }

  async subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void> {
    const inner = await this.#open();
    await inner.subscribe(kind, names, options);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    await this.#inner?.unsubscribe(kind, names);
  }

  resetSubscriptions(kind: SubscriptionKind, cause: Error): void {
    this.#inner?.resetSubscriptions(kind, cause);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#pool.off('error', this.#onError);
    this.#end();
  }

  /** Connects the pool unless its owner has done so. */
  #open(): Promise<NodeRedisDriver> {
    this.#checkPool();
    if (this.#closed || (this.#wasOpen && !this.#pool.isOpen)) return Promise.reject(this.#offline());
    if (this.#inner !== undefined) return Promise.resolve(this.#inner);
    this.#opening ??= this.#createInner().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #createInner(): Promise<NodeRedisDriver> {
    if (!this.#pool.isOpen) await this.#pool.connect();
    this.#wasOpen = true;
    const own = await this.#duplicate();
    const database = databaseOf(own);
    if (database !== this.database) {
      throw new ConfigurationError(
        `the clients of the pool use database ${database}, which shows only while one of them is idle: pass the pool to rollcall after its connect()`,
      );
    }
    if (this.#closed || !this.#pool.isOpen) throw this.#offline();
    const inner = new NodeRedisDriver(own as unknown as NodeRedisClient);
    this.#own = own;
    this.#inner = inner;
    inner.attach({
      message: (kind, name, channel, payload) => this.#listener?.message(kind, name, channel, payload),
      dropped: (kind, names, cause) => this.#listener?.dropped(kind, names, cause),
      // Its own end is reported with the reason.
      connection: (state, cause) => {
        if (this.#inner === inner) this.#listener?.connection(state, cause);
      },
    });
    this.#poll();
    return inner;
  }

  /** The pool rejects while all its clients are busy. */
  async #duplicate(): Promise<NodeRedisLike> {
    for (;;) {
      try {
        return await this.#pool.execute((client) => client.duplicate({ clientSideCache: undefined }));
      } catch (error) {
        if (this.#closed || !this.#pool.isOpen) throw this.#offline();
        this.#onError(error);
        await sleep(RETRY_DELAY);
      }
    }
  }

  #poll(): void {
    this.#timer = systemClock.after(
      POLL_INTERVAL,
      () => {
        this.#checkPool();
        if (this.#inner !== undefined) this.#poll();
      },
      { keepAlive: false },
    );
  }

  #checkPool(): void {
    if (this.#inner === undefined || this.#pool.isOpen) return;
    const cause = new ConnectionError(CLOSED_BY_OWNER);
    this.#inner.resetSubscriptions('channel', cause);
    this.#end();
    this.#listener?.connection('ended', cause);
  }

  #end(): void {
    const inner = this.#inner;
    const own = this.#own;
    this.#timer?.cancel();
    this.#inner = undefined;
    this.#own = undefined;
    void inner?.close();
    if (own?.isOpen === true) own.destroy();
  }

  #offline(): ConnectionError {
    if (this.#closed) return new ConnectionError('the node-redis driver is closed');
    if (this.#wasOpen && !this.#pool.isOpen)
      return new ConnectionError(`the node-redis pool is closed: ${CLOSED_BY_OWNER}`);
    const reason = this.#lastError instanceof Error ? `: ${this.#lastError.message}` : '';
    return new ConnectionError(`the node-redis pool is not connected${reason}`, { cause: this.#lastError });
  }
}
