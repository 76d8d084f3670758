/** What Redis knows a subscription as: a plain channel, a glob pattern, or a sharded channel. */
export type SubscriptionKind = 'channel' | 'pattern' | 'sharded';

/** All of them. */
export const SUBSCRIPTION_KINDS = ['channel', 'pattern', 'sharded'] as const;

/** What a message carries: text, or bytes where they were asked for. */
export type Payload = string | Buffer;

/** A command as it goes over the wire, its name first. */
export type PlainCommand = readonly [name: string, ...args: Payload[]];

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
  readonly args: readonly Payload[];
}

/** One command of an {@link Driver.execute} call. */
export type Command = PlainCommand | ScriptCall;

/** What Redis answers; an `Error` stands for a command that it refused. */
export type Reply = string | number | null | Buffer | Error | readonly Reply[];

/** What {@link Driver.execute} is told beside the commands. */
export interface ExecuteOptions {
  /** One MULTI / EXEC instead of a plain pipeline. Default `false`. */
  readonly atomic?: boolean;
  /** A key that all commands share their slot with; on a Cluster it picks the node. */
  readonly key?: string;
  /** Strings in replies come as Buffers, byte for byte; not together with `atomic`. Default `false`. */
  readonly buffers?: boolean;
}

/** What {@link Driver.subscribe} is told beside the names. */
export interface DriverSubscribeOptions {
  /** Payloads come as Buffers, byte for byte. Default `false`: as text. */
  readonly binary?: boolean;
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
  /** Scripts hand on bytes that are not UTF-8 as they are. */
  readonly binaryScripts: boolean;
}

/** What a client of a single server can do, where nothing is known to be missing. */
export const ALL_CAPABILITIES: Capabilities = {
  scriptsInTransactions: true,
  strict: true,
  sharded: true,
  patterns: true,
  cluster: false,
  reconnects: true,
  binaryScripts: true,
};

/** What a driver tells its session. All functions are safe to call: they never throw. */
export interface DriverListener {
  /** A message; `name` is what was subscribed: the channel itself, or the pattern it matched. */
  message(kind: SubscriptionKind, name: string, channel: string, payload: Payload): void;
  /**
   * The connection that commands use. `ready`: they are sent at once. `lost`: gone, the client is
   * trying to get it back. `ended`: gone, and the client has given up.
   */
  connection(state: 'ready' | 'lost' | 'ended', cause?: Error): void;
  /**
   * These names were subscribed and are not any more, though nobody asked for it: their connection is
   * gone, or their slot has moved. Names whose first SUBSCRIBE is under way are not among them; it rejects,
   * unless the driver itself tries it again elsewhere.
   */
  dropped(kind: SubscriptionKind, names: readonly string[], cause: Error): void;
  /**
   * A node of the Cluster is there that was not. One that was replaced while it was frozen or cut off may
   * have run, before it learned of that, what it had yet to read; and what it published to a sharded
   * channel meanwhile came to the subscribers of its successor.
   */
  nodeReturned?(): void;
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
   * The caller never has two commands under way for one name. It MAY call for names that are
   * subscribed, to have their payloads as bytes from now on; no message is lost by that. MUST reject
   * with a `ConnectionError` when no connection can be had or it breaks before the confirmation, and
   * with a `CommandError` when Redis refuses; nothing is subscribed later by itself then, nor after
   * `dropped`: to subscribe anew, in its own time, is up to the caller.
   */
  subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void>;

  /**
   * Unsubscribes; resolves when Redis has confirmed. When the connection breaks first it MUST
   * resolve too: the server forgot the names with the connection.
   */
  unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void>;

  /**
   * Gives up the connection that carries subscriptions of `kind`, because it is dead whatever the
   * client thinks. MUST tell `dropped` for all it carried, at once; MUST NOT wait for the peer. Where
   * there are several, the one that carries `name`.
   */
  resetSubscriptions(kind: SubscriptionKind, cause: Error, name: string): void;

  /**
   * Names that begin with `base`, one for each connection that carries sharded subscriptions now: what
   * is published to a name comes, if it does, by that connection. MAY be left out where there is one.
   */
  probeChannels?(base: string): readonly string[];

  /** Closes what the driver opened, never the client it was given. MUST NOT hang on a dead peer. */
  close(): Promise<void>;
}

/** True for a script call, false for a plain command. */
export function isScriptCall(command: Command): command is ScriptCall {
  return 'script' in command;
}
