import { systemClock, withTimeout } from '../internal/clock.js';
import { ConnectionError } from '../internal/errors.js';
import { ConnectionState } from './connection-state.js';
import type { Command, PlainCommand, Reply } from './driver.js';
import { isServerError } from './replies.js';
import { ScriptRunner } from './script.js';
import type { PubSubConnection, PubSubConnectionListener } from './subscriber.js';

/** A connection for commands to one node, made by a client library. Used once: it never reconnects. */
export interface CommandConnection {
  /** False when it cannot send. The client may know of its end before it emits the event. */
  readonly ready: boolean;
  /** Connects; resolves when commands can be sent. */
  connect(): Promise<unknown>;
  /** Sends all commands at once; the reply of a refused command is an `Error`. */
  pipeline(commands: readonly PlainCommand[], buffers: boolean): Promise<Reply[]>;
  /** Sends all commands as one MULTI; rejects with the error of the first command that Redis did not queue. */
  transaction(commands: readonly PlainCommand[]): Promise<Reply[]>;
  /** Closes it at once without waiting for the peer. */
  destroy(): void;
}

/** Events of a {@link CommandConnection}. */
export interface CommandConnectionListener {
  /** An error; the reason if the connection ends next. */
  failed(error: unknown): void;
  /** The connection is gone. */
  ended(): void;
}

/** What the Cluster driver needs from a client library's Cluster client. */
export interface ClusterClientAdapter {
  /** The client's name, for error texts. */
  readonly client: string;
  /** The logical database of all its connections. */
  readonly database: number;
  /** Connects the client unless it is connected; resolves when it knows at least one node. */
  connect(): Promise<void>;
  /** Removes our listeners from the client. */
  close(): void;
  /** The nodes that the client knows, as `host:port`. */
  addresses(): string[];
  /** Opens our own connection to a node, with the client's options. */
  open(address: string, listener: CommandConnectionListener): CommandConnection;
  /** The same for subscribing. With `sharded`, any unexpected event ends the connection. */
  openPubSub(address: string, listener: PubSubConnectionListener, sharded: boolean): PubSubConnection;
}

/** How long connecting to a node may take, in ms. */
export const CONNECT_DEADLINE = 1_000;
/** A node is unresponsive when it has not replied to a pending command for this long, in ms. */
const UNRESPONSIVE_AFTER = 1_000;
/** How often an unresponsive node is reported, in ms. */
const UNRESPONSIVE_CHECK_INTERVAL = 250;

/** Settles as `work` does, or rejects with a ConnectionError after `ms`. */
export function withNodeTimeout<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  const late = () => new ConnectionError(`${what} took longer than ${ms} ms`, { outcome: 'unknown' });
  return withTimeout(systemClock, ms, work, late);
}

/** Resolves after `ms`; does not keep the process alive. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

/** Events of a {@link ClusterNode}. */
export interface NodeEvents {
  /** The connection has ended; the node object is of no further use. */
  ended(node: ClusterNode): void;
  /** The node is unresponsive; repeated while that lasts. */
  unresponsive(node: ClusterNode): void;
}

/** Our own connection for commands to one node. Discarded when it ends. */
export class ClusterNode {
  readonly address: string;
  readonly #state: ConnectionState;
  readonly #scripts = new ScriptRunner();
  readonly #connection: CommandConnection;
  readonly #opened: Promise<void>;
  #resolveOpened = (): void => {};
  readonly #events: NodeEvents;
  /** Time of the last reply, on the monotonic clock. */
  lastReplyAt = Number.NEGATIVE_INFINITY;
  #inFlight = 0;
  /** Since when a reply is pending: the last reply, or the first command sent after all were answered. */
  #pendingSince = 0;
  #checkTimer: NodeJS.Timeout | undefined;
  /** No longer a master. Its end does not make the address suspect. */
  retired = false;

  constructor(
    address: string,
    open: (listener: CommandConnectionListener) => CommandConnection,
    events: NodeEvents,
  ) {
    this.address = address;
    this.#events = events;
    this.#state = new ConnectionState(`Redis (${address})`);
    this.#connection = open({
      failed: (error) => this.#state.setError(error),
      ended: () => this.#end(),
    });
    this.#opened = new Promise((resolve) => {
      this.#resolveOpened = resolve;
    });
    withNodeTimeout(CONNECT_DEADLINE, `connecting to ${address}`, this.#connection.connect()).then(
      () => {
        if (!this.#state.ended) this.#state.up();
        this.#resolveOpened();
      },
      (error: unknown) => {
        this.#state.setError(error);
        this.#end();
      },
    );
  }

  /** True when a command is pending and no reply has arrived for a second. */
  get unresponsive(): boolean {
    return this.#inFlight > 0 && performance.now() - this.#pendingSince >= UNRESPONSIVE_AFTER;
  }

  /** The error that ended the connection, if it has ended. */
  get lastError(): Error | undefined {
    return this.#state.lastError;
  }

  /** Rejects with outcome `failed` when there is no connection, and `unknown` when it breaks. */
  async execute(commands: readonly Command[], atomic = false, buffers = false): Promise<Reply[]> {
    await this.#opened;
    // The client may have ended without an event yet; without this the caller would retry in a loop.
    if (!this.#connection.ready) this.#end();
    if (!this.#state.ready) throw this.#state.createOfflineError();
    const send = (batch: readonly PlainCommand[]) =>
      atomic ? this.#connection.transaction(batch) : this.#connection.pipeline(batch, buffers);
    if (this.#inFlight++ === 0) this.#pendingSince = performance.now();
    this.#checkTimer ??= this.#scheduleCheck(UNRESPONSIVE_AFTER);
    try {
      const replies = await this.#state.track(this.#scripts.run(commands, send, atomic));
      this.lastReplyAt = performance.now();
      return replies;
    } catch (error) {
      // Not a reply of the server but a failure of the client: a new connection may work.
      if (!isServerError(error)) this.destroy(error as Error);
      throw error;
    } finally {
      this.#pendingSince = performance.now();
      if (--this.#inFlight === 0 && this.retired) this.#end();
    }
  }

  /** No longer needed: ends when no reply is pending, or at once when the node is unresponsive. */
  retire(): void {
    this.retired = true;
    if (this.#inFlight === 0 || this.unresponsive)
      this.destroy(new ConnectionError('the node is no longer a master'));
  }

  /** Cancels `retire`. */
  unretire(): void {
    this.retired = false;
  }

  /** Ends the connection; commands in progress have outcome `unknown`. */
  destroy(cause: Error): void {
    this.#state.setError(cause);
    this.#end();
  }

  #scheduleCheck(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#checkTimer = undefined;
      if (this.#inFlight === 0) return;
      const { unresponsive } = this;
      this.#checkTimer = this.#scheduleCheck(unresponsive ? UNRESPONSIVE_CHECK_INTERVAL : UNRESPONSIVE_AFTER);
      if (unresponsive) this.#events.unresponsive(this);
    }, ms).unref();
  }

  #end(): void {
    if (this.#state.ended) return;
    clearTimeout(this.#checkTimer);
    this.#state.end();
    this.#resolveOpened();
    this.#connection.destroy();
    this.#events.ended(this);
  }
}
