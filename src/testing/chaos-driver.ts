import { ConnectionError } from '../internal/errors.js';
import { driverFor, type RedisClient } from '../redis/detect.js';
import {
  type Capabilities,
  type Command,
  type Driver,
  type DriverListener,
  type DriverSubscribeOptions,
  type ExecuteOptions,
  type Reply,
  SUBSCRIPTION_KINDS,
  type SubscriptionKind,
} from '../redis/driver.js';

/** How the next calls of a {@link ChaosDriver} fail. */
export type Fault =
  /** The connection breaks before the commands are sent: they do not run. */
  | 'request-lost'
  /** The connection breaks before the reply: they run, and the caller cannot know. */
  | 'reply-lost';

/** A driver whose connection a test can break. */
export interface ChaosDriver extends Driver {
  /**
   * Breaks both connections: commands reject, and messages do not arrive. To other nodes a service that
   * is never restored looks like a process that died.
   */
  cut(): void;
  /** Restores both connections. Messages published in between are lost, as with Redis. */
  restore(): void;
  /** Lets the next `count` calls of `execute` fail. */
  failNext(fault: Fault, count?: number): void;
}

/** Puts a {@link ChaosDriver} between a service and `client`. */
export function createChaosDriver(client: RedisClient): ChaosDriver {
  return new ChaosDriverImpl(driverFor(client));
}

class ChaosDriverImpl implements ChaosDriver {
  readonly client = 'chaos';
  readonly #inner: Driver;
  readonly #pending = new Set<(error: ConnectionError) => void>();
  #listener: DriverListener | undefined;
  readonly #subscribed: Record<SubscriptionKind, Set<string>> = {
    channel: new Set(),
    pattern: new Set(),
    sharded: new Set(),
  };
  #cut = false;
  #faults: Fault[] = [];
  #waiting: (() => void)[] = [];

  constructor(inner: Driver) {
    this.#inner = inner;
  }

  get capabilities(): Capabilities {
    return { ...this.#inner.capabilities, reconnects: true };
  }

  get database(): number {
    return this.#inner.database ?? 0;
  }

  get ready(): boolean {
    return !this.#cut && this.#inner.ready;
  }

  attach(listener: DriverListener): void {
    this.#listener = listener;
    this.#inner.attach({
      message: (kind, name, channel, payload) => {
        if (this.#subscribed[kind].has(name)) listener.message(kind, name, channel, payload);
      },
      connection: (...change) => {
        if (!this.#cut) listener.connection(...change);
      },
      dropped: (kind, names, cause) => this.#drop(kind, names, cause),
      nodeReturned: () => listener.nodeReturned?.(),
    });
  }

  cut(): void {
    if (this.#cut) return;
    this.#cut = true;
    const error = new ConnectionError('the connection was cut', { outcome: 'unknown' });
    for (const reject of this.#pending) reject(error);
    this.#pending.clear();
    this.#listener?.connection('lost', error);
    for (const kind of SUBSCRIPTION_KINDS) this.resetSubscriptions(kind, error);
  }

  restore(): void {
    if (!this.#cut) return;
    this.#cut = false;
    for (const resume of this.#waiting.splice(0)) resume();
    if (this.#inner.ready) this.#listener?.connection('ready');
  }

  failNext(fault: Fault, count = 1): void {
    for (let added = 0; added < count; added++) this.#faults.push(fault);
  }

  async connect(): Promise<void> {
    if (this.#cut) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    await this.#inner.connect();
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (this.#cut) throw this.#offline();
    const fault = this.#faults.shift();
    if (fault === 'request-lost') throw this.#offline();
    const replies = await this.#unlessCut(this.#inner.execute(commands, options));
    if (fault === 'reply-lost') throw new ConnectionError('the reply was lost', { outcome: 'unknown' });
    return replies;
  }

  async subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void> {
    if (this.#cut) throw this.#offline();
    await this.#unlessCut(this.#inner.subscribe(kind, names, options));
    for (const name of names) this.#subscribed[kind].add(name);
  }

  unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    for (const name of names) this.#subscribed[kind].delete(name);
    const gone = this.#inner.unsubscribe(kind, names);
    if (!this.#cut) return gone;
    gone.catch(() => {});
    return Promise.resolve();
  }

  /** The inner connection stays open; its messages for these names are no longer passed on. */
  resetSubscriptions(kind: SubscriptionKind, cause: Error): void {
    this.#drop(kind, [...this.#subscribed[kind]], cause);
  }

  #drop(kind: SubscriptionKind, names: readonly string[], cause: Error): void {
    const lost = names.filter((name) => this.#subscribed[kind].delete(name));
    if (lost.length > 0) this.#listener?.dropped(kind, lost, cause);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #offline(): ConnectionError {
    return new ConnectionError('the connection is cut', { outcome: 'failed' });
  }

  #unlessCut<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#pending.add(reject);
      work.then(resolve, reject).finally(() => this.#pending.delete(reject));
    });
  }
}
