import { ConnectionError, InvalidArgumentError } from '../internal/errors.js';
import { choiceOption, numberOption } from '../internal/validate.js';
import { driverFor, type RedisClient } from '../redis/detect.js';
import {
  type Capabilities,
  type Command,
  type Driver,
  type DriverListener,
  type DriverSubscribeOptions,
  type ExecuteOptions,
  isScriptCall,
  type Reply,
  SUBSCRIPTION_KINDS,
  type SubscriptionKind,
} from '../redis/driver.js';

/** Failure of the next calls of a {@link ChaosDriver}. */
export type Fault =
  /** The connection breaks before the commands are sent: they do not run. */
  | 'request-lost'
  /** The connection breaks before the reply: they run, and the caller cannot know. */
  | 'reply-lost';

const FAULTS: readonly Fault[] = ['request-lost', 'reply-lost'];

/** Kind of a command. */
export type CommandKind =
  /** Publishes a message. */
  | 'publish'
  /** Changes presence or a read marker. */
  | 'write'
  /** Reads presence, a history or a read marker. */
  | 'read'
  /** Subscribes or unsubscribes channels or patterns. */
  | 'subscribe'
  /** Sent by rollcall itself: start-up, lease renewals, sweeps, repairs, probes. */
  | 'background';

const COMMAND_KINDS: readonly CommandKind[] = ['publish', 'write', 'read', 'subscribe', 'background'];

/** A driver whose connection a test can break. */
export interface ChaosDriver extends Driver {
  /**
   * Breaks both connections: commands reject, messages do not arrive, and the subscriptions are gone. To
   * other nodes a service that is never restored looks like a process that died. Resolves when Redis has
   * removed the subscriptions; never rejects.
   */
  cut(): Promise<void>;
  /** Restores both connections. Messages published in between are lost, as with Redis. */
  restore(): void;
  /**
   * Lets the next `count` commands of a kind fail. A transaction, and a SUBSCRIBE of several names, is one
   * command.
   *
   * @param count - @default 1
   * @param kind - @default every kind but `background`
   * @throws `InvalidArgumentError` for an unknown fault or kind, and a count that is no whole number
   * of at least 1.
   */
  failNext(fault: Fault, count?: number, kind?: CommandKind): void;
  /** Faults of `failNext` that have not happened yet. */
  readonly pendingFaults: number;
  /** Commands of the kind `background` so far, failed ones included. */
  readonly backgroundCommands: number;
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
  #faults: { readonly fault: Fault; readonly kind: CommandKind | undefined }[] = [];
  #waiting: (() => void)[] = [];
  /** The inner subscriptions are being removed. */
  #unsubscribing: Promise<unknown> = Promise.resolve();
  backgroundCommands = 0;

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

  get pendingFaults(): number {
    return this.#faults.length;
  }

  async cut(): Promise<void> {
    if (!this.#cut) {
      this.#cut = true;
      const error = new ConnectionError('the connection was cut', { outcome: 'unknown' });
      for (const reject of this.#pending) reject(error);
      this.#pending.clear();
      const calls = SUBSCRIPTION_KINDS.map((kind) => this.#forget(kind, [...this.#subscribed[kind]]));
      this.#listener?.connection('lost', error);
      for (const kind of SUBSCRIPTION_KINDS) this.resetSubscriptions(kind, error);
      this.#unsubscribing = Promise.all([this.#unsubscribing, ...calls]);
    }
    await this.#unsubscribing;
  }

  restore(): void {
    if (!this.#cut) return;
    this.#cut = false;
    for (const resume of this.#waiting.splice(0)) resume();
    if (this.#inner.ready) this.#listener?.connection('ready');
  }

  failNext(fault: Fault, count = 1, kind?: CommandKind): void {
    if (fault === undefined)
      throw new InvalidArgumentError('fault', `must be one of ${FAULTS.join(', ')}, not undefined`);
    choiceOption('fault', fault, fault, FAULTS);
    numberOption('count', count, 1, { min: 1, integer: true });
    choiceOption('kind', kind, undefined, COMMAND_KINDS);
    for (let added = 0; added < count; added++) this.#faults.push({ fault, kind });
  }

  async connect(): Promise<void> {
    if (this.#cut) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    await this.#inner.connect();
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (this.#cut) throw this.#offline();
    if (options?.atomic === true) {
      const fault = this.#takeFault(options.background === true ? 'background' : 'write');
      if (fault === 'request-lost') throw this.#offline();
      const replies = await this.#unlessCut(this.#inner.execute(commands, options));
      if (fault === 'reply-lost') throw this.#replyLost();
      return replies;
    }
    const faults: (Fault | undefined)[] = [];
    for (const command of commands) {
      const fault = this.#takeFault(options?.background === true ? 'background' : kindOf(command));
      // The commands behind it would overtake it when it is sent again.
      if (fault === 'request-lost') break;
      faults.push(fault);
    }
    if (faults.length === 0 && commands.length > 0) throw this.#offline();
    const sent = commands.slice(0, faults.length);
    const replies = await this.#unlessCut(this.#inner.execute(sent, options));
    if (
      faults.length === commands.length &&
      faults.every((fault) => fault === 'reply-lost') &&
      faults.length > 0
    )
      throw this.#replyLost();
    return commands.map((_, at) => {
      if (at >= sent.length) return this.#offline();
      return faults[at] === 'reply-lost' ? this.#replyLost() : (replies[at] as Reply);
    });
  }

  async subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void> {
    if (this.#cut) throw this.#offline();
    const fault = this.#takeFault('subscribe');
    if (fault === 'request-lost') throw this.#offline();
    // Otherwise the names that a cut removes would be removed after this.
    await this.#unsubscribing;
    if (this.#cut) throw this.#offline();
    const subscribed = this.#inner.subscribe(kind, names, options);
    try {
      await this.#unlessCut(subscribed);
      if (this.#cut) throw this.#offline();
    } catch (error) {
      // The connection was cut: the server must forget the names when it has confirmed them.
      const forgotten = subscribed.then(
        () => this.#forget(kind, names),
        () => {},
      );
      this.#unsubscribing = Promise.all([this.#unsubscribing, forgotten]);
      throw error;
    }
    if (fault === 'reply-lost') {
      await this.#forget(kind, names);
      throw this.#replyLost();
    }
    for (const name of names) this.#subscribed[kind].add(name);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    for (const name of names) this.#subscribed[kind].delete(name);
    // A cut has removed them, and a server forgets the names of a lost connection.
    if (!this.#cut && this.#takeFault('subscribe') !== 'request-lost')
      await this.#inner.unsubscribe(kind, names);
    else void this.#forget(kind, names);
  }

  /** The inner connection stays open; its messages for these names are no longer passed on. */
  resetSubscriptions(kind: SubscriptionKind, cause: Error): void {
    this.#drop(kind, [...this.#subscribed[kind]], cause);
  }

  /** Never rejects. */
  async #forget(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    if (names.length > 0) await this.#inner.unsubscribe(kind, names).catch(() => {});
  }

  #takeFault(kind: CommandKind): Fault | undefined {
    if (kind === 'background') this.backgroundCommands++;
    const at = this.#faults.findIndex((next) =>
      next.kind === undefined ? kind !== 'background' : next.kind === kind,
    );
    return at < 0 ? undefined : this.#faults.splice(at, 1)[0]?.fault;
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

  #replyLost(): ConnectionError {
    return new ConnectionError('the reply was lost', { outcome: 'unknown' });
  }

  #unlessCut<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#pending.add(reject);
      work.then(resolve, reject).finally(() => this.#pending.delete(reject));
    });
  }
}

const READS = new Set([
  'GET',
  'MGET',
  'HGET',
  'HMGET',
  'HGETALL',
  'HLEN',
  'HSCAN',
  'SCARD',
  'SSCAN',
  'SMEMBERS',
]);

/** Of a command outside of a transaction. */
function kindOf(command: Command): CommandKind {
  const name = isScriptCall(command) ? command.script.name : command[0].toUpperCase();
  if (name === 'append' || name === 'PUBLISH' || name === 'SPUBLISH') return 'publish';
  return name === 'read' || READS.has(name) ? 'read' : 'write';
}
