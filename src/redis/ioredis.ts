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

/** The shape by which an ioredis client (5 or 6) is recognised. */
export interface IoredisClient {
  /** @internal */
  readonly status: string;
  /** @internal */
  connect(...args: never[]): Promise<unknown>;
  /** @internal */
  disconnect(...args: never[]): unknown;
  /** @internal */
  duplicate(...args: never[]): unknown;
  /** @internal */
  call(...args: never[]): unknown;
  /** @internal */
  multi(...args: never[]): unknown;
  /** @internal */
  psubscribe(...args: never[]): unknown;
}

type Outcome = [error: Error | null, reply: Reply];

/** What this adapter calls, in one place, for the client's own types are too overloaded to name. */
interface Client {
  readonly status: string;
  connect(): Promise<unknown>;
  disconnect(reconnect?: boolean): void;
  duplicate(options: Record<string, unknown>): Client;
  call(name: string, ...args: string[]): Promise<Reply>;
  /** The socket, while there is one. */
  readonly stream?: { cork?(): void; uncork?(): void } | null;
  multi(commands: (readonly string[])[]): { exec(): Promise<Outcome[] | null> };
  on(event: string, listener: (...args: never[]) => void): void;
  off(event: string, listener: (...args: never[]) => void): void;
}

const CAPABILITIES: Capabilities = {
  scriptsInTransactions: true,
  strict: true,
  sharded: true,
  patterns: true,
  cluster: false,
  reconnects: true,
};

/** True for an ioredis client, told by its shape. */
export function isIoredisClient(value: object): value is IoredisClient {
  const client = value as Partial<Client> & { psubscribe?: unknown };
  return (
    typeof client.psubscribe === 'function' &&
    typeof client.call === 'function' &&
    typeof client.multi === 'function' &&
    typeof client.status === 'string'
  );
}

/** Follows a client's events, and tells the connection's state from them. */
function follow(client: Client, state: ConnectionState, up: () => void): () => void {
  const listeners: [string, (...args: never[]) => void][] = [
    ['ready', up],
    ['error', (error: never) => state.failed(error)],
    ['close', () => state.down()],
    ['end', () => state.end()],
  ];
  for (const [event, listener] of listeners) client.on(event, listener);
  return () => {
    for (const [event, listener] of listeners) client.off(event, listener);
  };
}

/** Drives an ioredis client. */
export class IoredisDriver implements Driver {
  readonly client = 'ioredis';
  readonly capabilities = CAPABILITIES;

  readonly #given: Client;
  readonly #commands = new ConnectionState('commands', 'ioredis');
  readonly #scripts = new ScriptRunner();
  readonly #unfollow: () => void;
  readonly #subscribers: { subscriber?: Subscriber; sharded?: Subscriber } = {};
  #listener: DriverListener | undefined;
  #closed = false;

  constructor(client: IoredisClient) {
    this.#given = client as unknown as Client;
    this.#unfollow = follow(this.#given, this.#commands, () => this.#commands.up());
  }

  get ready(): boolean {
    return !this.#closed && this.#given.status === 'ready';
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
    if (this.ready) return this.#commands.up();
    await open(this.#given, this.#commands);
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (!this.ready) throw this.#commands.offline();
    const send = options?.atomic === true ? this.#transaction : this.#pipeline;
    try {
      return await this.#commands.track(this.#scripts.run(commands, send));
    } catch (error) {
      throw toRollcallError(error);
    }
  }

  /**
   * One write for all: ioredis makes one per command, which costs Redis more than the commands do. Its
   * own pipeline would do that too, but costs a promise chain per command.
   */
  readonly #pipeline = (commands: readonly PlainCommand[]): Promise<Reply[]> => {
    const { stream } = this.#given;
    if (commands.length > 1) stream?.cork?.();
    try {
      return repliesOf(commands.map((command) => this.#given.call(...command)));
    } finally {
      if (commands.length > 1) stream?.uncork?.();
    }
  };

  readonly #transaction = async (commands: readonly PlainCommand[]): Promise<Reply[]> => {
    const outcomes = await this.#given
      .multi(commands.map((command) => ['call', ...command]))
      .exec()
      .catch((error: { previousErrors?: Error[] }) => {
        // EXECABORT alone does not say what was refused.
        throw error.previousErrors?.[0] ?? error;
      });
    return (outcomes ?? []).map(([error, reply]) => error ?? reply);
  };

  async subscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    // Classic and sharded subscriptions on one ioredis connection lose messages: one for each.
    const role = kind === 'sharded' ? 'sharded' : 'subscriber';
    if (this.#closed) throw this.#commands.offline();
    this.#subscribers[role] ??= new Subscriber(this.#given, role, this.#listener as DriverListener);
    await this.#subscribers[role].subscribe(kind, names);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    await this.#subscribers[kind === 'sharded' ? 'sharded' : 'subscriber']?.unsubscribe(kind, names);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unfollow();
    this.#subscribers.subscriber?.close();
    this.#subscribers.sharded?.close();
    this.#commands.end();
  }
}

/** Connects a client that is not connecting yet, and waits until it is ready or gives up. */
async function open(client: Client, state: ConnectionState): Promise<void> {
  const ready = state.whenReady();
  if (client.status === 'wait' || client.status === 'end' || client.status === 'close') {
    // A rejection only means that the first attempt failed; `end` says when the client gives up.
    client.connect().catch((error: unknown) => {
      state.failed(error);
      if (client.status === 'end') state.end();
    });
  }
  await ready;
}

/** Redis takes any number of names per command; this many keeps each one's stall short. */
const NAMES_PER_COMMAND = 1000;

const COMMANDS = {
  channel: { subscribe: 'subscribe', unsubscribe: 'unsubscribe' },
  pattern: { subscribe: 'psubscribe', unsubscribe: 'punsubscribe' },
  sharded: { subscribe: 'ssubscribe', unsubscribe: 'sunsubscribe' },
} as const;

/**
 * The subscribed duplicate. ioredis says `ready` before it resubscribes, brings back channels that
 * were unsubscribed during an outage and forgets one named `__proto__`, so we resubscribe ourselves.
 */
class Subscriber {
  readonly #connection: Client;
  readonly #state: ConnectionState;
  readonly #unfollow: () => void;
  readonly #confirmed: Record<SubscriptionKind, Set<string>> = {
    channel: new Set(),
    pattern: new Set(),
    sharded: new Set(),
  };
  #opened = false;

  constructor(client: Client, role: 'subscriber' | 'sharded', listener: DriverListener) {
    this.#state = new ConnectionState(role, 'ioredis');
    this.#connection = client.duplicate({
      autoResubscribe: false,
      // SUBSCRIBE sent before `ready` breaks the client's ready check; we wait for it.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: null,
      lazyConnect: true,
    });
    this.#state.attach(listener);
    this.#unfollow = follow(this.#connection, this.#state, () => void this.#resubscribe());
    this.#connection.on('message', (channel: string, payload: string) =>
      listener.message('channel', channel, channel, payload),
    );
    this.#connection.on('pmessage', (pattern: string, channel: string, payload: string) =>
      listener.message('pattern', pattern, channel, payload),
    );
    this.#connection.on('smessage', (channel: string, payload: string) =>
      listener.message('sharded', channel, channel, payload),
    );
  }

  async subscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    if (!this.#opened || this.#state.ended) await this.#open();
    if (!this.#state.ready) throw this.#state.offline();
    try {
      await this.#state.track(this.#send(COMMANDS[kind].subscribe, names));
    } catch (error) {
      throw toRollcallError(error);
    }
    for (const name of names) this.#confirmed[kind].add(name);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    for (const name of names) this.#confirmed[kind].delete(name);
    if (!this.#state.ready) return;
    try {
      await this.#state.track(this.#send(COMMANDS[kind].unsubscribe, names));
    } catch (error) {
      if (isServerError(error)) throw toRollcallError(error);
    }
  }

  close(): void {
    this.#unfollow();
    this.#connection.on('error', () => {});
    this.#state.end();
    this.#connection.disconnect();
  }

  async #open(): Promise<void> {
    await open(this.#connection, this.#state);
    this.#opened = true;
  }

  async #send(command: string, names: readonly string[]): Promise<void> {
    const calls: Promise<Reply>[] = [];
    for (let at = 0; at < names.length; at += NAMES_PER_COMMAND) {
      calls.push(this.#connection.call(command, ...names.slice(at, at + NAMES_PER_COMMAND)));
    }
    await Promise.all(calls);
  }

  async #resubscribe(): Promise<void> {
    const kinds = Object.keys(COMMANDS) as SubscriptionKind[];
    const sent = kinds.map((kind) => ({ kind, names: [...this.#confirmed[kind]] }));
    try {
      await Promise.all(sent.map(({ kind, names }) => this.#send(COMMANDS[kind].subscribe, names)));
    } catch (error) {
      // A cut comes with events of its own. Refused, or timed out, this must not pass for a working
      // subscription: the client connects again, in its own time.
      if (isServerError(error)) this.#state.failed(error);
      if (this.#connection.status === 'ready') this.#connection.disconnect(true);
      return;
    }
    // Names that were unsubscribed while they were coming back.
    for (const { kind, names } of sent) {
      const unwanted = names.filter((name) => !this.#confirmed[kind].has(name));
      this.#send(COMMANDS[kind].unsubscribe, unwanted).catch(() => {});
    }
    this.#state.up();
  }
}
