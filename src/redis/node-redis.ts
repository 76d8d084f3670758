import { ConnectionState } from './connection-state.js';
import type {
  Capabilities,
  Command,
  Driver,
  DriverListener,
  ExecuteOptions,
  PlainCommand,
  Reply,
  SubscriptionKind,
} from './driver.js';
import { isServerError, repliesOf, toRollcallError } from './replies.js';
import { ScriptRunner } from './script.js';

/** The shape by which a node-redis client (`redis` 5 or 6) is recognised. */
export interface NodeRedisClient {
  /** @internal */
  readonly isOpen: boolean;
  /** @internal */
  readonly isReady: boolean;
  /** @internal */
  connect(): Promise<unknown>;
  /** @internal */
  destroy(): void;
  /** @internal */
  multi(): unknown;
  /** @internal */
  pSubscribe(...args: never[]): Promise<unknown>;
  /** @internal */
  sendCommand(...args: never[]): Promise<unknown>;
  /** @internal */
  duplicate(...args: never[]): unknown;
  /** @internal */
  withCommandOptions(...args: never[]): unknown;
}

type Listener = (payload: string, channel: string) => void;
type Subscribe = (names: readonly string[], listener: Listener) => Promise<void>;

interface Multi {
  addCommand(args: readonly string[]): unknown;
  exec(): Promise<Reply[]>;
}

/** What this adapter calls, in one place, for the client's own types are too generic to name. */
interface Client {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  readonly options?: { keyPrefix?: string };
  connect(): Promise<unknown>;
  destroy(): void;
  duplicate(): Client;
  withCommandOptions(options: { timeout: undefined }): Client;
  sendCommand(args: readonly string[]): Promise<Reply>;
  multi(): Multi;
  subscribe: Subscribe;
  pSubscribe: Subscribe;
  sSubscribe: Subscribe;
  unsubscribe(names: readonly string[]): Promise<void>;
  pUnsubscribe(names: readonly string[]): Promise<void>;
  sUnsubscribe(names: readonly string[]): Promise<void>;
  on(event: string, listener: (...args: unknown[]) => void): void;
  off(event: string, listener: (...args: unknown[]) => void): void;
  listenerCount(event: string): number;
}

const CAPABILITIES: Capabilities = {
  scriptsInTransactions: true,
  strict: true,
  sharded: true,
  patterns: true,
  cluster: false,
  reconnects: true,
};

/** True for a node-redis client, told by its shape. */
export function isNodeRedisClient(value: object): value is NodeRedisClient {
  const client = value as Partial<Client>;
  return (
    typeof client.pSubscribe === 'function' &&
    typeof client.sendCommand === 'function' &&
    typeof client.withCommandOptions === 'function' &&
    typeof client.multi === 'function' &&
    typeof client.isReady === 'boolean'
  );
}

/** An event that no client emits. */
const KEPT = 'rollcall';

/** Follows a client's events, and tells the connection's state from them. */
function follow(client: Client, state: ConnectionState): () => void {
  const listeners: [string, (...args: unknown[]) => void][] = [
    ['ready', () => state.up()],
    // Without a listener for `error`, the first lost connection would end the process.
    ['error', (error) => (client.isReady ? undefined : state.failed(error))],
    ['reconnecting', () => state.down()],
    ['end', () => state.end()],
    [
      'terminated',
      (cause) => {
        if (cause instanceof Error) state.failed(cause);
        state.end();
      },
    ],
  ];
  // A client inherits its list of listeners from the object that emits; when the last listener is
  // removed, Node gives the client an empty list of its own, and no event reaches it again. One stays.
  if (client.listenerCount(KEPT) === 0) client.on(KEPT, () => {});
  for (const [event, listener] of listeners) client.on(event, listener);
  return () => {
    for (const [event, listener] of listeners) client.off(event, listener);
  };
}

/** Drives a node-redis client. */
export class NodeRedisDriver implements Driver {
  readonly client = 'node-redis';
  readonly capabilities = CAPABILITIES;

  readonly #given: Client;
  /** The client without its per-command timer, which costs more than the command (facts: 11 µs). */
  readonly #untimed: Client;
  readonly #commands = new ConnectionState('commands', 'node-redis');
  readonly #scripts = new ScriptRunner();
  readonly #unfollow: () => void;
  #subscriber: Subscriber | undefined;
  #listener: DriverListener | undefined;
  #closed = false;

  constructor(client: NodeRedisClient) {
    this.#given = client as unknown as Client;
    this.#untimed = this.#given.withCommandOptions({ timeout: undefined });
    this.#unfollow = follow(this.#given, this.#commands);
  }

  get ready(): boolean {
    return !this.#closed && this.#given.isReady;
  }

  attach(listener: DriverListener): void {
    this.#listener = listener;
    this.#commands.attach({
      message: () => {},
      connection: (role, state, cause) => {
        if (state !== 'ready') this.#scripts.reset();
        listener.connection(role, state, cause);
      },
    });
  }

  async connect(): Promise<void> {
    if (this.#given.isReady) return this.#commands.up();
    const ready = this.#commands.whenReady();
    if (!this.#given.isOpen) {
      this.#given.connect().catch((error: unknown) => {
        this.#commands.failed(error);
        this.#commands.end();
      });
    }
    await ready;
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (this.#closed || !this.#given.isReady) throw this.#commands.offline();
    const send = options?.atomic === true ? this.#transaction : this.#pipeline;
    try {
      return await this.#commands.track(this.#scripts.run(commands, send));
    } catch (error) {
      throw toRollcallError(error);
    }
  }

  readonly #pipeline = (commands: readonly PlainCommand[]): Promise<Reply[]> =>
    repliesOf(commands.map((command) => this.#untimed.sendCommand(command)));

  readonly #transaction = async (commands: readonly PlainCommand[]): Promise<Reply[]> => {
    const multi = this.#untimed.multi();
    for (const command of commands) multi.addCommand(command);
    try {
      return await multi.exec();
    } catch (error) {
      // One refused command must not hide the replies of the others.
      if (error instanceof Error && 'replies' in error) return error.replies as Reply[];
      throw error;
    }
  };

  async subscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    if (this.#closed) throw this.#commands.offline();
    this.#subscriber ??= new Subscriber(this.#given, this.#listener as DriverListener);
    await this.#subscriber.subscribe(kind, names);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    await this.#subscriber?.unsubscribe(kind, names);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unfollow();
    this.#subscriber?.close();
    this.#commands.end();
  }
}

const UNSUBSCRIBE = { channel: 'unsubscribe', pattern: 'pUnsubscribe', sharded: 'sUnsubscribe' } as const;

/**
 * The subscribed duplicate. node-redis resubscribes by itself before it says `ready`; what it does
 * not do is forget a name whose UNSUBSCRIBE, or SUBSCRIBE, was under way when the connection broke.
 */
class Subscriber {
  readonly #connection: Client;
  readonly #state = new ConnectionState('subscriber', 'node-redis');
  readonly #listener: DriverListener;
  readonly #unfollow: () => void;
  /** The names the caller wants, as opposed to those node-redis holds. */
  readonly #wanted: Record<SubscriptionKind, Set<string>> = {
    channel: new Set(),
    pattern: new Set(),
    sharded: new Set(),
  };
  /** UNSUBSCRIBEs that the client has not finished, by name; the connection may break under them. */
  readonly #drops: Record<SubscriptionKind, Map<string, Promise<void>>> = {
    channel: new Map(),
    pattern: new Map(),
    sharded: new Map(),
  };
  /** One listener per pattern, each time the same, for the client keeps its listeners in a set. */
  readonly #patterns = new Map<string, Listener>();
  #opened = false;

  constructor(client: Client, listener: DriverListener) {
    this.#listener = listener;
    this.#connection = client.duplicate();
    this.#state.attach(listener);
    this.#unfollow = follow(this.#connection, this.#state);
  }

  async subscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    if (!this.#opened || this.#state.ended) await this.#open();
    if (!this.#connection.isReady) throw this.#state.offline();
    for (const name of names) this.#wanted[kind].add(name);
    let over = false;
    const subscribed = async () => {
      // While UNSUBSCRIBE is under way the client takes a name for subscribed, and sends nothing.
      await Promise.all(names.map((name) => this.#drops[kind].get(name)));
      if (over) return;
      const work = this.#send(kind, names);
      // A command that outlived its connection in the client's queue subscribes nobody.
      work.then(
        () => this.#dropUnwanted(kind, names),
        () => {},
      );
      await work;
    };
    try {
      await this.#state.track(subscribed());
    } catch (error) {
      over = true;
      for (const name of names) this.#wanted[kind].delete(name);
      throw toRollcallError(error);
    }
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    for (const name of names) this.#wanted[kind].delete(name);
    const dropped = this.#drop(kind, names);
    if (this.#connection.isReady) await dropped;
    // While the connection is away the server knows none of them; the client is told all the same.
    else dropped.catch(() => {});
  }

  close(): void {
    this.#unfollow();
    this.#connection.on('error', () => {});
    this.#state.end();
    if (this.#connection.isOpen) this.#connection.destroy();
  }

  async #open(): Promise<void> {
    const ready = this.#state.whenReady();
    if (!this.#connection.isOpen) {
      this.#connection.connect().catch((error: unknown) => {
        this.#state.failed(error);
        this.#state.end();
      });
    }
    await ready;
    this.#opened = true;
  }

  #send(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    if (kind === 'channel') return this.#connection.subscribe(names, this.#onMessage);
    if (kind === 'sharded') return this.#connection.sSubscribe(names, this.#onSharded);
    // The client does not tell a listener which pattern matched, so each pattern has its own.
    return Promise.all(
      names.map((name) => this.#connection.pSubscribe([name], this.#patternListener(name))),
    ).then(() => {});
  }

  #patternListener(name: string): Listener {
    let listener = this.#patterns.get(name);
    if (listener === undefined) {
      listener = (payload, channel) => this.#listener.message('pattern', name, channel, payload);
      this.#patterns.set(name, listener);
    }
    return listener;
  }

  readonly #onMessage: Listener = (payload, channel) =>
    this.#listener.message('channel', channel, channel, payload);

  readonly #onSharded: Listener = (payload, channel) =>
    this.#listener.message('sharded', channel, channel, payload);

  async #drop(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    const client = this.#connection;
    if (!client.isOpen) return;
    const work = client[UNSUBSCRIBE[kind]](names);
    const drops = this.#drops[kind];
    const over = work.then(
      () => {
        if (kind !== 'pattern') return;
        for (const name of names) if (!this.#wanted.pattern.has(name)) this.#patterns.delete(name);
      },
      (error: unknown) => {
        // Cut in flight, the client would resubscribe the names: say it again on the next connection.
        if (!isServerError(error)) this.#dropUnwanted(kind, names);
      },
    );
    for (const name of names) drops.set(name, over);
    void over.then(() => {
      for (const name of names) if (drops.get(name) === over) drops.delete(name);
    });
    try {
      await this.#state.track(work);
    } catch (error) {
      if (isServerError(error)) throw toRollcallError(error);
    }
  }

  #dropUnwanted(kind: SubscriptionKind, names: readonly string[]): void {
    const unwanted = names.filter((name) => !this.#wanted[kind].has(name));
    if (unwanted.length > 0) this.#drop(kind, unwanted).catch(() => {});
  }
}
