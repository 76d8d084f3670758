import { messageOf } from '../internal/diagnostics.js';
import { CommandError } from '../internal/errors.js';
import {
  answerOf,
  type CommandConnection,
  type CommandConnectionListener,
  KEEP_ALIVE,
} from './cluster-node.js';
import { ConnectionState } from './connection-state.js';
import { databaseOf, databaseRefusal } from './database.js';
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
import { INFO_SECTIONS, parseServerInfo } from './server-info.js';
import {
  type ConnectionTarget,
  type PubSubConnection,
  type PubSubConnectionListener,
  type PubSubConnectionOptions,
  Subscriber,
} from './subscriber.js';

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

type PayloadListener = (payload: Payload, channel: Payload) => void;
type SubscribeFunction = (
  names: readonly string[],
  listener: PayloadListener,
  bufferMode: boolean,
) => Promise<void>;
type UnsubscribeFunction = (
  names: readonly string[],
  listener?: PayloadListener,
  bufferMode?: boolean,
) => Promise<void>;

interface Multi {
  addCommand(args: readonly Payload[]): unknown;
  exec(): Promise<Reply[]>;
}

/**
 * Options of our commands. The user's `typeMapping` would change the replies, and the timer per command costs
 * about 11 µs, more than the command.
 */
const AS_TEXT = { timeout: undefined, typeMapping: {} };
/** Strings (RESP type `$`) as Buffers. */
const AS_BUFFERS = { timeout: undefined, typeMapping: { [0x24]: Buffer } };

/** The part of the client in use. The client's generic types are impractical to reference. */
export interface NodeRedisLike {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  readonly options?: { socket?: object; commandOptions?: object };
  connect(): Promise<unknown>;
  destroy(): void;
  duplicate(overrides: object): NodeRedisLike;
  withCommandOptions(options: object): NodeRedisLike;
  sendCommand(args: readonly Payload[], options?: object): Promise<Reply>;
  multi(): Multi;
  subscribe: SubscribeFunction;
  pSubscribe: SubscribeFunction;
  sSubscribe: SubscribeFunction;
  unsubscribe: UnsubscribeFunction;
  pUnsubscribe: UnsubscribeFunction;
  sUnsubscribe: UnsubscribeFunction;
  on(event: string, listener: (...args: unknown[]) => void): void;
  off(event: string, listener: (...args: unknown[]) => void): void;
  listenerCount(event: string): number;
}

export function isNodeRedisClient(value: object): value is NodeRedisClient {
  const client = value as Partial<NodeRedisLike>;
  return (
    typeof client.pSubscribe === 'function' &&
    typeof client.sendCommand === 'function' &&
    typeof client.withCommandOptions === 'function' &&
    typeof client.multi === 'function' &&
    typeof client.isReady === 'boolean'
  );
}

const PLACEHOLDER_EVENT = 'rollcall';

/** Runs until the returned function is called. */
function trackConnectionState(
  client: NodeRedisLike,
  state: ConnectionState,
  monitor: RoleMonitor,
  /** Whether rollcall itself ends the connection, to open another. */
  replacing: () => boolean,
): () => void {
  const listeners: [string, (...args: unknown[]) => void][] = [
    ['ready', () => monitor.handleReady()],
    // Without a listener for `error`, a lost connection would end the process.
    [
      'error',
      (error) => {
        // To leave a replica, rollcall closes the connection itself: that the server is a replica stays the reason.
        const closedByUs = !monitor.usable && messageOf(error) === 'Socket closed unexpectedly';
        if (client.isReady || closedByUs) return;
        const refusal = databaseRefusal(error, databaseOf(client));
        if (refusal === undefined) state.setError(error);
        else state.refuse(refusal);
      },
    ],
    [
      'reconnecting',
      () => {
        monitor.handleLost();
        state.down();
      },
    ],
    // Emitted by `close` and `destroy` only.
    [
      'end',
      () => {
        if (!replacing()) return state.endByOwner();
        monitor.handleLost();
        state.down();
      },
    ],
    [
      'terminated',
      (cause) => {
        monitor.handleLost();
        if (cause instanceof Error) state.setError(cause);
        state.end();
      },
    ],
  ];
  return addListeners(client, listeners);
}

export type EventEmitterLike = Pick<NodeRedisLike, 'on' | 'off' | 'listenerCount'>;

/** The returned function removes them. */
export function addListeners(
  client: EventEmitterLike,
  listeners: readonly [string, (...args: unknown[]) => void][],
): () => void {
  // A client inherits its listeners from the object that emits. Removing the last listener would give the
  // client its own empty list, and it would receive no event again. So one listener stays.
  if (client.listenerCount(PLACEHOLDER_EVENT) === 0) client.on(PLACEHOLDER_EVENT, () => {});
  for (const [event, listener] of listeners) client.on(event, listener);
  return () => {
    for (const [event, listener] of listeners) client.off(event, listener);
  };
}

export class NodeRedisDriver implements Driver {
  readonly client = 'node-redis';
  readonly capabilities = ALL_CAPABILITIES;
  readonly database: number;

  readonly #given: NodeRedisLike;
  readonly #view: NodeRedisLike;
  readonly #commands = new ConnectionState('node-redis');
  readonly #scripts = new ScriptRunner();
  readonly #monitor: RoleMonitor;
  readonly #untrack: () => void;
  #subscriber: Subscriber | undefined;
  #replacing = false;
  #closed = false;

  constructor(client: NodeRedisClient) {
    this.#given = client as unknown as NodeRedisLike;
    this.database = databaseOf(client);
    this.#view = this.#given.withCommandOptions(AS_TEXT);
    this.#monitor = new RoleMonitor(
      {
        isReady: () => this.#given.isReady,
        info: (sections) => readInfo(this.#view, sections),
        keepAlive: () => pipeline(this.#view, [KEEP_ALIVE], false),
        compare: () => answerOf((events) => createCommandConnection(this.#given, events)),
        // The client has no method for this. The server answers QUIT by closing the connection.
        reconnect: () => void this.#view.sendCommand(['QUIT']).catch(() => {}),
        replace: () => this.#replace(),
      },
      this.#commands,
      {
        demoted: (cause) => this.#subscriber?.reset(cause),
        master: (runId) => this.#subscriber?.followMaster(runId),
      },
    );
    this.#untrack = trackConnectionState(this.#given, this.#commands, this.#monitor, () => this.#replacing);
  }

  get ready(): boolean {
    return !this.#closed && this.#given.isReady && this.#monitor.usable;
  }

  attach(listener: DriverListener): void {
    this.#commands.attach((state, cause) => {
      if (state !== 'ready') this.#scripts.reset();
      listener.connection(state, cause);
    });
    // Its event was emitted before this driver existed.
    if (this.#given.isReady) this.#monitor.handleReady();
    this.#subscriber = new Subscriber(
      'node-redis',
      (events) => createPubSubConnection(this.#given, events),
      listener,
    );
  }

  async connect(): Promise<void> {
    if (this.ready) return this.#commands.up();
    const ready = this.#commands.whenReady();
    if (!this.#given.isOpen && !this.#commands.closedByOwner) this.#connectClient();
    await ready;
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (!this.ready) throw this.#commands.createOfflineError();
    const client = this.#view;
    const atomic = options?.atomic === true;
    const send = atomic
      ? (batch: readonly PlainCommand[]) => transaction(client, batch)
      : (batch: readonly PlainCommand[]) => pipeline(client, batch, options?.buffers === true);
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
    await this.#subscriber?.subscribe(kind, names, options?.binary);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    await this.#subscriber?.unsubscribe(kind, names);
  }

  resetSubscriptions(_kind: SubscriptionKind, cause: Error): void {
    this.#subscriber?.reset(cause);
  }

  #connectClient(): void {
    this.#given.connect().catch((error: unknown) => {
      this.#commands.setError(error);
      this.#commands.end();
    });
  }

  /** The client has no other method that ends a connection without the peer. It keeps its subscriptions. */
  #replace(): void {
    this.#replacing = true;
    this.#given.destroy();
    this.#replacing = false;
    this.#connectClient();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#untrack();
    this.#monitor.close();
    this.#subscriber?.close();
    this.#commands.end();
  }
}

function pipeline(
  client: NodeRedisLike,
  commands: readonly PlainCommand[],
  buffers: boolean,
): Promise<Reply[]> {
  // Version 5 ignores the options of a view here.
  const options = buffers ? AS_BUFFERS : AS_TEXT;
  return settleReplies(commands.map((command) => client.sendCommand(command, options)));
}

function readInfo(client: NodeRedisLike, sections: readonly string[]): Promise<Reply[]> {
  return Promise.all(sections.map((section) => client.sendCommand(['INFO', section], AS_TEXT)));
}

async function transaction(client: NodeRedisLike, commands: readonly PlainCommand[]): Promise<Reply[]> {
  const multi = client.multi();
  for (const command of commands) multi.addCommand(command);
  try {
    return await multi.exec();
  } catch (error) {
    // The client rejects when one command is refused; the replies of all are on the error.
    if (error instanceof Error && 'replies' in error) return error.replies as Reply[];
    throw error;
  }
}

const UNSUBSCRIBE = { channel: 'unsubscribe', pattern: 'pUnsubscribe', sharded: 'sUnsubscribe' } as const;
const SUBSCRIBE = { channel: 'subscribe', pattern: 'pSubscribe', sharded: 'sSubscribe' } as const;

/** Never reconnects; `overrides` win over the client's options. */
function duplicateWithoutReconnect(
  client: NodeRedisLike,
  listener: CommandConnectionListener,
  target?: ConnectionTarget,
  overrides: object = {},
): NodeRedisLike {
  const connection = client.duplicate({
    ...overrides,
    commandOptions: { ...client.options?.commandOptions, typeMapping: {} },
    socket: { ...client.options?.socket, ...target, reconnectStrategy: false },
  });
  // When a connection that does not reconnect ends, version 5 emits only `error`.
  connection.on('error', (error) => {
    listener.failed(error);
    if (!connection.isOpen) listener.ended();
  });
  connection.on('end', () => listener.ended());
  connection.on('terminated', () => listener.ended());
  return connection;
}

export function createCommandConnection(
  client: NodeRedisLike,
  listener: CommandConnectionListener,
  target?: ConnectionTarget,
): CommandConnection {
  const connection = duplicateWithoutReconnect(client, listener, target, {
    readonly: false,
    disableOfflineQueue: true,
  });
  const view = connection.withCommandOptions(AS_TEXT);
  return {
    get ready() {
      return connection.isReady;
    },
    connect: () => connection.connect(),
    pipeline: (commands, buffers) => pipeline(view, commands, buffers),
    transaction: (commands) => transaction(view, commands),
    destroy() {
      if (connection.isOpen) connection.destroy();
    },
  };
}

export function createPubSubConnection(
  client: NodeRedisLike,
  listener: PubSubConnectionListener,
  options: PubSubConnectionOptions = {},
): PubSubConnection {
  const { target, sharded = false } = options;
  const overrides = target === undefined ? {} : { readonly: false, ...(sharded ? { pingInterval: 0 } : {}) };
  const connection = duplicateWithoutReconnect(client, listener, target, overrides);
  if (sharded) {
    connection.on('error', () => listener.ended());
    connection.on('sharded-channel-moved', () => {
      listener.failed(new CommandError('the slot of a sharded channel has moved'));
      listener.ended();
    });
  }

  // One function per mode, because the client keeps listeners in a Set.
  const texts = {
    channel: (payload: Payload, channel: Payload) =>
      listener.message('channel', channel as string, channel as string, payload),
    sharded: (payload: Payload, channel: Payload) =>
      listener.message('sharded', channel as string, channel as string, payload),
  };
  const bytes = {
    channel: (payload: Payload, channel: Payload) => {
      const name = channel.toString();
      listener.message('channel', name, name, payload);
    },
    sharded: (payload: Payload, channel: Payload) => {
      const name = channel.toString();
      listener.message('sharded', name, name, payload);
    },
  };
  // The client does not pass the matched pattern, so each pattern has its own listener.
  const patterns = new Map<string, PayloadListener>();
  const patternListener = (name: string): PayloadListener => {
    let own = patterns.get(name);
    if (own === undefined) {
      own = (payload, channel) => listener.message('pattern', name, channel.toString(), payload);
      patterns.set(name, own);
    }
    return own;
  };

  let runId: string | undefined;
  return {
    get runId() {
      return runId;
    },
    async connect() {
      await connection.connect();
      // Only for a single server: in a Cluster a replica receives every message.
      if (target !== undefined) return;
      const sections = await readInfo(connection, INFO_SECTIONS).catch((error: unknown) => {
        // The user may not be allowed to read it.
        if (isServerError(error)) return [];
        throw error;
      });
      const info = parseServerInfo(sections);
      assertNotReplica(info.replica);
      runId = info.runId;
    },
    async subscribe(kind, names, binary) {
      if (kind !== 'pattern') {
        await connection[SUBSCRIBE[kind]](names, (binary ? bytes : texts)[kind], binary);
        // With both modes each message would arrive twice. Removing a listener sends no command.
        if (binary) await forget(kind, names, () => texts[kind]);
        return;
      }
      await Promise.all(names.map((name) => connection.pSubscribe([name], patternListener(name), binary)));
      if (binary) await forget(kind, names, patternListener);
    },
    async unsubscribe(kind, names) {
      await connection[UNSUBSCRIBE[kind]](names);
      if (kind === 'pattern') for (const name of names) patterns.delete(name);
    },
    destroy() {
      if (connection.isOpen) connection.destroy();
    },
  };

  async function forget(
    kind: SubscriptionKind,
    names: readonly string[],
    text: (name: string) => PayloadListener,
  ): Promise<void> {
    await Promise.all(names.map((name) => connection[UNSUBSCRIBE[kind]]([name], text(name), false)));
  }
}
