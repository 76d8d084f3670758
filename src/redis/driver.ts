/** What Redis knows a subscription as: a plain channel, a glob pattern, or a sharded channel. */
export type SubscriptionKind = 'channel' | 'pattern' | 'sharded';

/** A command as it goes over the wire, its name first. */
export type PlainCommand = readonly [name: string, ...args: string[]];

/** A Lua script and the digest Redis knows it by. */
export interface Script {
  /** For people. */
  readonly name: string;
  /** The Lua text. */
  readonly source: string;
  /** Its SHA-1 in hexadecimal. */
  readonly sha: string;
}

/** A call of a script; the driver sees to it that the server has the script. */
export interface ScriptCall {
  /** What to run. */
  readonly script: Script;
  /** All keys it touches, for a Cluster to find its node by. */
  readonly keys: readonly string[];
  /** What it is told beside. */
  readonly args: readonly string[];
}

/** One command of an {@link Driver.execute} call. */
export type Command = PlainCommand | ScriptCall;

/** What Redis answers; an `Error` stands for a command that it refused. */
export type Reply = string | number | null | Error | readonly Reply[];

/** What {@link Driver.execute} is told beside the commands. */
export interface ExecuteOptions {
  /** One MULTI / EXEC instead of a plain pipeline. Default `false`. */
  readonly atomic?: boolean;
  /** A key that all commands share their slot with; on a Cluster it picks the node. */
  readonly key?: string;
}

/**
 * What a client and its server can do. What is `false` here is refused with an `UnsupportedError`
 * or done in the best way left, never silently skipped.
 */
export interface Capabilities {
  /** Scripts may run inside MULTI. Otherwise they follow the transaction, as calls of their own. */
  readonly scriptsInTransactions: boolean;
  /** Commands that do not fit their key, or their arguments, are refused. */
  readonly strict: boolean;
  /** SSUBSCRIBE and SPUBLISH. */
  readonly sharded: boolean;
  /** Patterns on this topology. */
  readonly patterns: boolean;
  /** Keys are spread over slots, so that one transaction must stay in one of them. */
  readonly cluster: boolean;
  /** The connection can break and come back; the embedded engine's cannot. */
  readonly reconnects: boolean;
}

/**
 * A connection of the driver: the one commands use, or the one that is subscribed; `sharded` where
 * sharded subscriptions have one of their own.
 */
export type ConnectionRole = 'commands' | 'subscriber' | 'sharded';

/** What a driver tells its session. Both functions are safe to call: they never throw. */
export interface DriverListener {
  /** A message; `name` is what was subscribed: the channel itself, or the pattern it matched. */
  message(kind: SubscriptionKind, name: string, channel: string, payload: string): void;
  /**
   * `ready`: usable, and for the subscriber: everything subscribed before is subscribed again.
   * `lost`: gone, the client is trying to get it back. `ended`: gone for good.
   */
  connection(role: ConnectionRole, state: 'ready' | 'lost' | 'ended', cause?: Error): void;
}

/**
 * The port between rollcall and a Redis client. To support another client, implement these and run
 * the conformance suite of `rollcall/testing` against it.
 */
export interface Driver {
  /** The client's name, for people: `node-redis`, `ioredis`, … */
  readonly client: string;
  /** What this client and topology can do. */
  readonly capabilities: Capabilities;
  /** True while a command would be sent at once. */
  readonly ready: boolean;

  /** MUST be called once, before anything else; events go to `listener` from then on. */
  attach(listener: DriverListener): void;

  /**
   * Connects the command connection, unless its owner did.
   *
   * MUST resolve only when commands can be sent. MUST go on waiting while the client retries by its
   * own policy, and reject when the client has given up. MUST be callable again after a rejection.
   */
  connect(): Promise<void>;

  /**
   * Sends all commands at once, in order, and resolves with one reply each; a command that Redis
   * refused has an `Error` in its place.
   *
   * MUST reject with a `ConnectionError` whose `outcome` is `failed`, sending nothing, while the
   * connection is not ready: no offline queue, so nothing executes long after its caller gave up.
   * MUST reject with `outcome: 'unknown'` as soon as the connection breaks before the replies came.
   * MUST reject with a `CommandError` when a transaction was discarded as a whole.
   * MUST run scripts a server has forgotten (SCRIPT FLUSH, failover) without the caller noticing; it
   * MAY run an atomic batch twice for that, so batches with scripts must be idempotent.
   */
  execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]>;

  /**
   * Subscribes; resolves when Redis has confirmed every name. The first call opens the connection.
   *
   * The caller never has two commands under way for one name. MUST keep what is confirmed alive
   * over reconnects. MUST reject with a `ConnectionError` when the connection is not there or breaks
   * before the confirmation; such names MUST NOT be subscribed later by themselves.
   */
  subscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void>;

  /**
   * Unsubscribes; resolves when Redis has confirmed. When the connection breaks first it MUST
   * resolve too, and the names MUST NOT come back with the next connection.
   */
  unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void>;

  /** Closes what the driver opened, never the client it was given. MUST NOT hang on a dead peer. */
  close(): Promise<void>;
}

/** True for a script call, false for a plain command. */
export function isScriptCall(command: Command): command is ScriptCall {
  return 'script' in command;
}
