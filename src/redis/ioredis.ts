import { systemClock, type Timer } from '../internal/clock.js';
import { CommandError } from '../internal/errors.js';
import {
  answerOf,
  type CommandConnection,
  type CommandConnectionListener,
  KEEP_ALIVE,
} from './cluster-node.js';
import { ConnectionState } from './connection-state.js';
import { createDatabaseError, databaseOf } from './database.js';
import {
  ALL_CAPABILITIES,
  type Command,
  type Driver,
  type DriverListener,
  type DriverSubscribeOptions,
  type ExecuteOptions,
  type Payload,
  type PlainCommand,
  type Reply,
  type SubscriptionKind,
} from './driver.js';
import { isServerError, settleReplies, toRollcallError } from './replies.js';
import { assertNotReplica, isReplicaError, RoleMonitor } from './role-monitor.js';
import { ScriptRunner } from './script.js';
import { isReplicaRole } from './server-info.js';
import {
  type ConnectionTarget,
  type PubSubConnection,
  type PubSubConnectionFactory,
  type PubSubConnectionListener,
  type PubSubConnectionOptions,
  Subscriber,
} from './subscriber.js';

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

type CallMethod = 'call' | 'callBuffer';
type ExecResult = [error: Error | null, reply: Reply];
type ListenerMap = Record<string, (...args: never[]) => void>;

/** The part of the client in use. The client's own types have too many overloads. */
export interface IoredisLike {
  readonly status: string;
  /** The database that the client asked for last. */
  readonly condition?: { readonly select?: number } | null;
  /** Fields of INFO, read by the client's own check that the server is ready. */
  readonly serverInfo?: { readonly role?: string; readonly run_id?: string };
  readonly options?: {
    enableAutoPipelining?: boolean;
    readonly db?: number;
    readonly retryStrategy?: ((attempt: number) => unknown) | null;
    readonly sentinels?: unknown;
    readonly sentinelRetryStrategy?: ((attempt: number) => unknown) | null;
  };
  /** Private to ioredis: its owner has called `disconnect` or `quit`. */
  readonly manuallyClosing?: unknown;
  connect(): Promise<unknown>;
  disconnect(reconnect?: boolean): void;
  duplicate(options: Record<string, unknown>): IoredisLike;
  call(name: string, ...args: Payload[]): Promise<Reply>;
  callBuffer(name: string, ...args: Payload[]): Promise<Reply>;
  readonly stream?: { cork?(): void; uncork?(): void; destroy?(): void; readonly bytesRead?: number } | null;
  multi(commands: (readonly Payload[])[]): { exec(): Promise<ExecResult[] | null> };
  on(event: string, listener: (...args: never[]) => void): void;
  off(event: string, listener: (...args: never[]) => void): void;
}

export function isIoredisClient(value: object): value is IoredisClient {
  const client = value as Partial<IoredisLike> & { psubscribe?: unknown };
  return (
    typeof client.psubscribe === 'function' &&
    typeof client.call === 'function' &&
    typeof client.multi === 'function' &&
    typeof client.status === 'string'
  );
}

/** In ms. */
const REVIVAL_DELAY = 100;

/** Runs until the returned function is called. */
function trackConnectionState(
  client: IoredisLike,
  state: ConnectionState,
  monitor: RoleMonitor,
  handleReady: () => void,
): () => void {
  let closed = false;
  let revival: Timer | undefined;
  const lost = (change: () => void) => () => {
    monitor.handleLost();
    change();
  };
  /**
   * With sentinels, ioredis gives up for good when it is disconnected while it asks them for the master. Its own
   * `failoverDetector` does so when the news of a failover arrives then. The policy of such a client is to
   * reconnect, so it is connected again. A client that its owner has closed emits `close` before `end`, or has the flag.
   */
  const gaveUp = () => !closed && client.options?.sentinels && client.manuallyClosing === false;
  const revive = () => {
    if (client.status === 'end' && gaveUp()) client.connect().catch(() => {});
  };
  const handleEnd = () => {
    if (!wouldReconnect(client)) return state.end();
    if (!gaveUp()) return state.endByOwner();
    state.down();
    revival = systemClock.after(REVIVAL_DELAY, revive);
  };
  const listeners: [string, (...args: never[]) => void][] = [
    [
      'connecting',
      () => {
        closed = false;
      },
    ],
    ['ready', handleReady],
    ['error', (error: never) => state.setError(error)],
    [
      'close',
      lost(() => {
        closed = true;
        state.down();
      }),
    ],
    ['end', lost(handleEnd)],
  ];
  for (const [event, listener] of listeners) client.on(event, listener);
  return () => {
    revival?.cancel();
    for (const [event, listener] of listeners) client.off(event, listener);
  };
}

/**
 * True if the client's policy is to reconnect.
 */
function wouldReconnect({ options }: IoredisLike): boolean {
  const policy = options?.sentinels ? options.sentinelRetryStrategy : options?.retryStrategy;
  return typeof policy === 'function' && typeof policy(1) === 'number';
}

/**
 * Drives an ioredis client, also with sentinels: each duplicate asks them for the current master. Limits: the user's
 * client stays at a frozen master until that is resumed and demoted, unless created with `failoverDetector: true`.
 * After a failover by command, writes to the old master are acknowledged and lost for about a second.
 */
export class IoredisDriver implements Driver {
  readonly client = 'ioredis';
  readonly capabilities = ALL_CAPABILITIES;
  readonly database: number;

  readonly #client: IoredisLike;
  readonly #commands = new ConnectionState('ioredis');
  readonly #scripts = new ScriptRunner();
  readonly #monitor: RoleMonitor;
  readonly #untrack: () => void;
  #classic: Subscriber | undefined;
  /** Separate, because classic and sharded subscriptions on one ioredis connection lose messages. */
  #sharded: Subscriber | undefined;
  /** The stream on which the database was selected. */
  #selectedOn: unknown = Symbol('none');
  #closed = false;

  constructor(client: IoredisClient) {
    this.#client = client as unknown as IoredisLike;
    this.database = databaseOf(client);
    this.#monitor = new RoleMonitor(
      {
        isReady: () => this.#connectionReady,
        info: (sections) => Promise.all(sections.map((section) => this.#client.call('INFO', section))),
        keepAlive: () => pipeline(this.#client, [KEEP_ALIVE], false),
        received: () => this.#client.stream?.bytesRead,
        compare: () => answerOf((events) => createCommandConnection(this.#client, events)),
        reconnect: () => this.#client.disconnect(true),
        replace: () => {
          const { stream } = this.#client;
          this.#client.disconnect(true);
          // The client would wait two seconds for the peer.
          stream?.destroy?.();
        },
      },
      this.#commands,
      {
        demoted: (cause) => this.#eachSubscriber((subscriber) => subscriber.reset(cause)),
        master: (runId) => this.#eachSubscriber((subscriber) => subscriber.followMaster(runId)),
      },
    );
    this.#untrack = trackConnectionState(
      this.#client,
      this.#commands,
      this.#monitor,
      () => void this.#handleReady(),
    );
  }

  get ready(): boolean {
    return !this.#closed && this.#connectionReady && this.#monitor.usable;
  }

  /** Before its database is selected, the connection would use database 0. */
  get #connectionReady(): boolean {
    const { status, stream } = this.#client;
    return status === 'ready' && (this.database === 0 || this.#selectedOn === stream);
  }

  async #handleReady(): Promise<void> {
    if (await this.#select()) this.#monitor.handleReady();
  }

  /** If Redis refuses the client's own SELECT, the client goes on in database 0. */
  async #select(): Promise<boolean> {
    const { stream, condition } = this.#client;
    if (this.#connectionReady) return true;
    try {
      // A database that the owner has selected since stays.
      if ((condition?.select ?? this.database) === this.database)
        await this.#client.call('SELECT', String(this.database));
    } catch (error) {
      if (isServerError(error)) this.#commands.refuse(createDatabaseError(error, this.database));
      return false;
    }
    this.#selectedOn = stream;
    return this.#connectionReady;
  }

  attach(listener: DriverListener): void {
    this.#commands.attach((state, cause) => {
      if (state !== 'ready') this.#scripts.reset();
      listener.connection(state, cause);
    });
    // Its event was emitted before this driver existed.
    if (this.#client.status === 'ready') void this.#handleReady();
    const open: PubSubConnectionFactory = (events) => createPubSubConnection(this.#client, events);
    this.#classic = new Subscriber('ioredis', open, listener);
    this.#sharded = new Subscriber('ioredis', open, listener);
  }

  async connect(): Promise<void> {
    if (this.ready) return this.#commands.up();
    const connected = connectClient(this.#client, this.#commands);
    // Its database was refused.
    if (this.#client.status === 'ready' && !this.#connectionReady) void this.#handleReady();
    await connected;
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (!this.ready) throw this.#commands.createOfflineError();
    const atomic = options?.atomic === true;
    const send = atomic
      ? (batch: readonly PlainCommand[]) => transaction(this.#client, batch)
      : (batch: readonly PlainCommand[]) => pipeline(this.#client, batch, options?.buffers === true);
    try {
      const replies = await this.#commands.track(this.#scripts.run(commands, send, atomic));
      return this.#monitor.handleReplies(replies);
    } catch (error) {
      throw isReplicaError(error) ? this.#monitor.handleRefusal(error) : toRollcallError(error);
    }
  }

  async subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void> {
    await this.#subscriberFor(kind)?.subscribe(kind, names, options?.binary);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    await this.#subscriberFor(kind)?.unsubscribe(kind, names);
  }

  resetSubscriptions(kind: SubscriptionKind, cause: Error): void {
    this.#subscriberFor(kind)?.reset(cause);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#untrack();
    this.#monitor.close();
    this.#eachSubscriber((subscriber) => subscriber.close());
    this.#commands.end();
  }

  #eachSubscriber(action: (subscriber: Subscriber) => void): void {
    for (const subscriber of [this.#classic, this.#sharded]) if (subscriber !== undefined) action(subscriber);
  }

  #subscriberFor(kind: SubscriptionKind): Subscriber | undefined {
    return kind === 'sharded' ? this.#sharded : this.#classic;
  }
}

/**
 * Corks the socket so that all commands are one write: ioredis writes once per command, which costs Redis
 * more than the commands. The client's pipeline costs a promise chain per command.
 */
function pipeline(
  client: IoredisLike,
  commands: readonly PlainCommand[],
  buffers: boolean,
): Promise<Reply[]> {
  const call: CallMethod = buffers ? 'callBuffer' : 'call';
  const { stream, options } = client;
  // Auto-pipelining turns Buffer replies into text. The client reads the option during the call, so the
  // user's commands are not affected.
  const autoPipelining = options?.enableAutoPipelining === true;
  if (autoPipelining) options.enableAutoPipelining = false;
  if (commands.length > 1) stream?.cork?.();
  try {
    return settleReplies(commands.map((command) => client[call](...command)));
  } finally {
    if (commands.length > 1) stream?.uncork?.();
    if (autoPipelining) options.enableAutoPipelining = true;
  }
}

async function transaction(client: IoredisLike, commands: readonly PlainCommand[]): Promise<Reply[]> {
  const outcomes = await client
    .multi(commands.map((command) => ['call', ...command]))
    .exec()
    .catch((error: { previousErrors?: Error[] }) => {
      // EXECABORT itself does not name the refused command.
      throw error.previousErrors?.[0] ?? error;
    });
  return (outcomes ?? []).map(([error, reply]) => error ?? reply);
}

/** Connects a client that is not connecting yet; waits until it is ready or stops trying. */
async function connectClient(client: IoredisLike, state: ConnectionState): Promise<void> {
  const ready = state.whenReady();
  if (state.closedByOwner) return ready;
  if (client.status === 'wait' || client.status === 'end' || client.status === 'close') {
    // A rejection means that the first attempt failed; the client emits `end` when it stops trying.
    client.connect().catch((error: unknown) => {
      state.setError(error);
      if (client.status === 'end') state.end();
    });
  }
  await ready;
}

/** Names per SUBSCRIBE: one command blocks Redis while it runs. */
const NAMES_PER_COMMAND = 1000;

const SUBSCRIBE = { channel: 'subscribe', pattern: 'psubscribe', sharded: 'ssubscribe' } as const;
const UNSUBSCRIBE = { channel: 'unsubscribe', pattern: 'punsubscribe', sharded: 'sunsubscribe' } as const;

/** A duplicate that never reconnects. With sentinels it asks them for the current master. */
function duplicateWithoutReconnect(
  client: IoredisLike,
  listener: CommandConnectionListener,
  target?: ConnectionTarget,
): IoredisLike {
  const connection = client.duplicate({
    // A duplicate of a node client of a Cluster may be one for a replica.
    ...(target === undefined ? {} : { ...target, readOnly: false }),
    autoResubscribe: false,
    enableAutoPipelining: false,
    autoResendUnfulfilledCommands: false,
    // A SUBSCRIBE sent before `ready` breaks the client's ready check; `connect` waits for `ready`.
    enableOfflineQueue: false,
    lazyConnect: true,
    maxRetriesPerRequest: null,
    retryStrategy: () => null,
    sentinelRetryStrategy: () => null,
  });
  connection.on('error', (error: never) => listener.failed(error));
  connection.on('end', () => listener.ended());
  return connection;
}

export function createCommandConnection(
  client: IoredisLike,
  listener: CommandConnectionListener,
  target?: ConnectionTarget,
): CommandConnection {
  const connection = duplicateWithoutReconnect(client, listener, target);
  return {
    get ready() {
      return connection.status === 'ready';
    },
    async connect() {
      await connection.connect();
      const { db = 0 } = connection.options ?? {};
      // If Redis refuses the client's own SELECT, the client goes on in database 0.
      if (db !== 0) await connection.call('SELECT', String(db));
    },
    pipeline: (commands, buffers) => pipeline(connection, commands, buffers),
    transaction: (commands) => transaction(connection, commands),
    destroy: () => connection.disconnect(),
  };
}

export function createPubSubConnection(
  client: IoredisLike,
  listener: PubSubConnectionListener,
  options: PubSubConnectionOptions = {},
): PubSubConnection {
  const connection = duplicateWithoutReconnect(client, listener, options.target);
  if (options.sharded === true) {
    connection.on('error', () => listener.ended());
    // Version 5 emits only this when a name belongs to another node: its SSUBSCRIBE never settles.
    connection.on('moved', () => {
      listener.failed(new CommandError('the slot of a sharded channel has moved'));
      listener.ended();
    });
  }

  /** Names whose payloads are delivered as bytes. */
  const binary: Record<SubscriptionKind, Set<string>> = {
    channel: new Set(),
    pattern: new Set(),
    sharded: new Set(),
  };
  // A listener for text makes the client decode every message; one for bytes makes it emit bytes as well. So
  // only one of the two has listeners.
  let bytes = false;
  const textListeners: ListenerMap = {
    message: (channel: string, payload: string) => listener.message('channel', channel, channel, payload),
    pmessage: (pattern: string, channel: string, payload: string) =>
      listener.message('pattern', pattern, channel, payload),
    smessage: (channel: string, payload: string) => listener.message('sharded', channel, channel, payload),
  };
  const deliver = (kind: SubscriptionKind, name: string, channel: string, payload: Buffer) =>
    listener.message(kind, name, channel, binary[kind].has(name) ? payload : payload.toString());
  const byteListeners: ListenerMap = {
    messageBuffer: (name: Buffer, payload: Buffer) =>
      deliver('channel', name.toString(), name.toString(), payload),
    pmessageBuffer: (pattern: Buffer | string, channel: Buffer, payload: Buffer) =>
      deliver('pattern', pattern.toString(), channel.toString(), payload),
    smessageBuffer: (name: Buffer, payload: Buffer) =>
      deliver('sharded', name.toString(), name.toString(), payload),
  };
  const listenTo = (listeners: ListenerMap) => {
    for (const [event, handler] of Object.entries(listeners)) connection.on(event, handler);
  };
  listenTo(textListeners);

  const send = async (command: string, names: readonly string[]): Promise<void> => {
    const calls: Promise<Reply>[] = [];
    for (let at = 0; at < names.length; at += NAMES_PER_COMMAND) {
      calls.push(connection.call(command, ...names.slice(at, at + NAMES_PER_COMMAND)));
    }
    await Promise.all(calls);
  };

  let runId: string | undefined;
  return {
    get runId() {
      return runId;
    },
    async connect() {
      await connection.connect();
      // Only for a single server: in a Cluster a replica receives every message, and has other duties.
      if (options.target !== undefined) return;
      const { role, run_id } = connection.serverInfo ?? {};
      assertNotReplica(isReplicaRole(role));
      runId = run_id;
    },
    async subscribe(kind, names, wantsBytes) {
      if (wantsBytes) for (const name of names) binary[kind].add(name);
      if (wantsBytes && !bytes) {
        bytes = true;
        for (const [event, handler] of Object.entries(textListeners)) connection.off(event, handler);
        listenTo(byteListeners);
      }
      await send(SUBSCRIBE[kind], names);
    },
    async unsubscribe(kind, names) {
      await send(UNSUBSCRIBE[kind], names);
      for (const name of names) binary[kind].delete(name);
    },
    destroy: () => connection.disconnect(),
  };
}
