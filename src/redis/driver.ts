/** A classic channel, a glob pattern, or a sharded channel. */
export type SubscriptionKind = 'channel' | 'pattern' | 'sharded';

export const SUBSCRIPTION_KINDS = ['channel', 'pattern', 'sharded'] as const;

/** Text, or bytes if the subscription asked for bytes. */
export type Payload = string | Buffer;

/** A command's name, then its arguments. */
export type PlainCommand = readonly [name: string, ...args: Payload[]];

/** A Lua script and its digest. */
export interface Script {
  /** Shown in errors and traces. */
  readonly name: string;
  /** The Lua text. */
  readonly source: string;
  /** Its SHA-1 in hexadecimal. */
  readonly sha: string;
}

/** The driver makes sure that the server has the script. */
export interface ScriptCall {
  /** The script to run. */
  readonly script: Script;
  /** All keys of the script (KEYS); on a Cluster the first one picks the node. */
  readonly keys: readonly string[];
  /** The other arguments (ARGV). */
  readonly args: readonly Payload[];
}

/** One command of an {@link Driver.execute} call. */
export type Command = PlainCommand | ScriptCall;

/** A reply of Redis; an `Error` if Redis refused the command. */
export type Reply = string | number | null | Buffer | Error | readonly Reply[];

/** Options of {@link Driver.execute}. */
export interface ExecuteOptions {
  /** One MULTI / EXEC instead of a plain pipeline. Default `false`. */
  readonly atomic?: boolean;
  /** A key in the slot of all commands; on a Cluster it picks the node. */
  readonly key?: string;
  /** Strings in replies as Buffers, byte for byte; not together with `atomic`. Default `false`. */
  readonly buffers?: boolean;
  /** Sent by rollcall's own timers, not for a call. Drivers may ignore it. Default `false`. */
  readonly background?: boolean;
}

/** Options of {@link Driver.subscribe}. */
export interface DriverSubscribeOptions {
  /** Payloads as Buffers, byte for byte. Default `false`: as text. */
  readonly binary?: boolean;
}

/**
 * Capabilities of a client and its server. Without one, rollcall uses the next best way, or rejects the call
 * with an `UnsupportedError`.
 */
export interface Capabilities {
  /** Scripts can run inside MULTI. Otherwise they follow the transaction, one by one. */
  readonly scriptsInTransactions: boolean;
  /** Commands with a wrong key type or wrong arguments are refused. */
  readonly strict: boolean;
  /** SSUBSCRIBE and SPUBLISH are available. */
  readonly sharded: boolean;
  /** PSUBSCRIBE is available on this topology. */
  readonly patterns: boolean;
  /** Keys are spread over slots, so one transaction must stay in one slot. */
  readonly cluster: boolean;
  /** The connection can break and reconnect. */
  readonly reconnects: boolean;
  /** Scripts keep bytes that are not UTF-8. */
  readonly binaryScripts: boolean;
}

/** Of a client of a single server: all. */
export const ALL_CAPABILITIES: Capabilities = {
  scriptsInTransactions: true,
  strict: true,
  sharded: true,
  patterns: true,
  cluster: false,
  reconnects: true,
  binaryScripts: true,
};

/** Events of a driver. The functions never throw. */
export interface DriverListener {
  /** `name` is the subscribed name: the channel, or the pattern that it matched. */
  message(kind: SubscriptionKind, name: string, channel: string, payload: Payload): void;
  /**
   * State of the connection for commands. `ready`: commands are sent at once. `lost`: the client is
   * reconnecting. `ended`: it does not reconnect, or its owner has closed it.
   */
  connection(state: 'ready' | 'lost' | 'ended', cause?: Error): void;
  /**
   * Names that lost their subscription without an `unsubscribe`: the connection broke, or their slot moved.
   * Without names whose first SUBSCRIBE is in progress: that call rejects, unless the driver retries it at
   * another node.
   */
  dropped(kind: SubscriptionKind, names: readonly string[], cause: Error): void;
  /**
   * A node has joined the Cluster or returned to it. A node that was replaced while frozen or partitioned may have
   * run commands that waited in its socket, and its sharded messages did not reach the subscribers at its successor.
   */
  nodeReturned?(): void;
}

/**
 * The port between rollcall and a Redis client. For another client, implement it and run the conformance suite
 * of `rollcall/testing`.
 */
export interface Driver {
  /** The client's name, for error texts: `node-redis`, `ioredis`, … */
  readonly client: string;
  /** Capabilities of this client and topology. */
  readonly capabilities: Capabilities;
  /**
   * Logical database (SELECT) of the connection. MUST NOT change. rollcall's own channels carry it unless it is
   * 0, because channels belong to the server. @default 0
   */
  readonly database?: number;
  /** True while a command would be sent at once. */
  readonly ready: boolean;

  /** MUST be called once, before anything else; `listener` receives events from then on. */
  attach(listener: DriverListener): void;

  /**
   * Connects the connection for commands, unless its owner has done so. MUST resolve only when commands can be
   * sent, wait while the client retries by its own policy, and reject when the client stops retrying. MUST be
   * callable again after a rejection.
   */
  connect(): Promise<void>;

  /**
   * Sends all commands at once, in order; resolves with one reply each. The reply of a refused command is an
   * `Error`.
   *
   * MUST reject with a `ConnectionError` with `outcome: 'failed'`, sending nothing, while the connection is
   * not ready: an offline queue would run commands long after the caller timed out. MUST reject with
   * `outcome: 'unknown'` as soon as the connection breaks before the replies. MUST reject with a
   * `CommandError` when a whole transaction was discarded.
   *
   * MUST reload scripts that the server has forgotten (SCRIPT FLUSH, failover). It MAY run an atomic batch
   * twice for that, so batches with scripts must be idempotent.
   */
  execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]>;

  /**
   * Resolves when Redis has confirmed every name. The first call opens the connection. The caller never has
   * two commands in progress for one name. The caller MAY subscribe a name again to receive bytes from then
   * on; no message may be lost.
   *
   * MUST reject with a `ConnectionError` when connecting fails or the connection breaks first, and with a
   * `CommandError` when Redis refuses. MUST NOT subscribe these names later by itself, nor those of
   * `dropped`: the caller decides when.
   */
  subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void>;

  /**
   * Resolves when Redis has confirmed. MUST resolve too when the connection breaks first, because the server
   * forgets the names with the connection.
   */
  unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void>;

  /**
   * Closes the connection that carries subscriptions of `kind`; of several, the one that carries `name`. It is
   * dead, even if the client has not noticed. MUST report all its names by `dropped` at once; MUST NOT wait for
   * the peer.
   */
  resetSubscriptions(kind: SubscriptionKind, cause: Error, name: string): void;

  /**
   * Channel names that begin with `base`, one per connection with sharded subscriptions: a message published to
   * a name arrives by that connection. MAY be missing with one connection only.
   */
  probeChannels?(base: string): readonly string[];

  /** Closes what the driver opened, never the user's client. MUST NOT wait for a dead peer. */
  close(): Promise<void>;
}

/** Whether a command is a call of a script. */
export function isScriptCall(command: Command): command is ScriptCall {
  return 'script' in command;
}
