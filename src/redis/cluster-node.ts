import { runWithoutAsyncContext } from '../internal/async-context.js';
import { sleep as sleepBy, systemClock, type Timer, withTimeout } from '../internal/clock.js';
import { ConnectionError } from '../internal/errors.js';
import { ConnectionState } from './connection-state.js';
import type { Command, PlainCommand, Reply } from './driver.js';
import { isServerError } from './replies.js';
import { ScriptRunner } from './script.js';
import type { PubSubConnection, PubSubConnectionListener } from './subscriber.js';

/** Used once: it never reconnects. */
export interface CommandConnection {
  /** The client may know of the end before it emits the event. */
  readonly ready: boolean;
  connect(): Promise<unknown>;
  /** The reply of a refused command is an `Error`. */
  pipeline(commands: readonly PlainCommand[], buffers: boolean): Promise<Reply[]>;
  /** One MULTI; rejects with the error of the first command that Redis did not queue. */
  transaction(commands: readonly PlainCommand[]): Promise<Reply[]>;
  /** Does not wait for the peer. */
  destroy(): void;
}

export interface CommandConnectionListener {
  /** The reason if the connection ends next. */
  failed(error: unknown): void;
  ended(): void;
}

export interface ClusterClientAdapter {
  readonly client: string;
  readonly database: number;
  /** Resolves when the client knows at least one node. */
  connect(): Promise<void>;
  close(): void;
  /** As `host:port`. */
  addresses(): string[];
  /** Uses the client's options. */
  open(address: string, listener: CommandConnectionListener): CommandConnection;
  /** With `sharded`, any unexpected event ends the connection. */
  openPubSub(address: string, listener: PubSubConnectionListener, sharded: boolean): PubSubConnection;
}

/** In ms. */
export const CONNECT_DEADLINE = 1_000;
/** Time without a reply to a pending command, in ms. */
const UNRESPONSIVE_AFTER = 1_000;
/** In ms. */
const UNRESPONSIVE_CHECK_INTERVAL = 250;

/** Time without a reply, in ms, after which the connection may be dead. */
const DEAD_AFTER = 2_000;
/** For another connection to answer, in ms. */
const COMPARE_TIMEOUT = 2_000;
/** Longest time without a command, in ms. Idle time-outs of services and load balancers are longer. */
const KEEP_ALIVE_INTERVAL = 10_000;

/** Allowed by the ACL rules of every user, unlike PING. No process subscribes to the channel. */
export const KEEP_ALIVE: PlainCommand = ['PUBLISH', 'rollcall:probe:idle', ''];

/** Resolves when another connection has answered, even with a refusal. */
export async function answerOf(
  open: (listener: CommandConnectionListener) => CommandConnection,
): Promise<void> {
  const connection = open({ failed: () => {}, ended: () => {} });
  const answered = async () => {
    await connection.connect();
    await connection.pipeline([KEEP_ALIVE], false);
  };
  try {
    await withNodeTimeout(COMPARE_TIMEOUT, 'another connection', answered());
  } finally {
    connection.destroy();
  }
}

/** Rejects with a ConnectionError after `ms`. */
export function withNodeTimeout<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  const late = () => new ConnectionError(`${what} took longer than ${ms} ms`, { outcome: 'unknown' });
  return withTimeout(systemClock, ms, work, late);
}

/** Does not keep the process alive. */
export function sleep(ms: number): Promise<void> {
  return sleepBy(systemClock, ms, { keepAlive: false });
}

export interface NodeEvents {
  ended(node: ClusterNode): void;
  /** Repeated while the node is unresponsive. */
  unresponsive(node: ClusterNode): void;
}

/** A connection for commands to one node. Discarded when it ends. */
export class ClusterNode {
  readonly address: string;
  readonly #state: ConnectionState;
  readonly #scripts = new ScriptRunner();
  readonly #connection: CommandConnection;
  readonly #opened: Promise<void>;
  #resolveOpened = (): void => {};
  readonly #events: NodeEvents;
  readonly #open: (listener: CommandConnectionListener) => CommandConnection;
  /** On the monotonic clock. */
  lastReplyAt = Number.NEGATIVE_INFINITY;
  #inFlight = 0;
  /** The last reply, or the first command sent after all were answered. */
  #pendingSince = 0;
  #checkTimer: Timer | undefined;
  #keepAliveTimer: Timer | undefined;
  #comparing = false;
  /** No longer a master; its end does not make the address suspect. */
  retired = false;

  constructor(
    address: string,
    open: (listener: CommandConnectionListener) => CommandConnection,
    events: NodeEvents,
    keepAlive: PlainCommand,
  ) {
    this.address = address;
    this.#events = events;
    this.#open = open;
    this.#state = new ConnectionState(`Redis (${address})`);
    this.#connection = runWithoutAsyncContext(() =>
      open({ failed: (error) => this.#state.setError(error), ended: () => this.#end() }),
    );
    this.#opened = new Promise((resolve) => {
      this.#resolveOpened = resolve;
    });
    const connected = runWithoutAsyncContext(() => this.#connection.connect());
    withNodeTimeout(CONNECT_DEADLINE, `connecting to ${address}`, connected).then(
      () => {
        if (!this.#state.ended) {
          this.#state.up();
          this.#scheduleKeepAlive(keepAlive);
        }
        this.#resolveOpened();
      },
      (error: unknown) => {
        this.#state.setError(error);
        this.#end();
      },
    );
  }

  /** A command is pending and no reply has arrived for a second. */
  get unresponsive(): boolean {
    return this.#inFlight > 0 && performance.now() - this.#pendingSince >= UNRESPONSIVE_AFTER;
  }

  get lastError(): Error | undefined {
    return this.#state.lastError;
  }

  /** Outcome `failed` without a connection, `unknown` when it breaks. */
  async execute(commands: readonly Command[], atomic = false, buffers = false): Promise<Reply[]> {
    await this.#opened;
    // The client may end before its event; otherwise the caller would retry in a loop.
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
      // A failure of the client, not a reply: a new connection may work.
      if (!isServerError(error)) this.destroy(error as Error);
      throw error;
    } finally {
      this.#pendingSince = performance.now();
      if (--this.#inFlight === 0 && this.retired) this.#end();
    }
  }

  /** Ends when no reply is pending, or at once when the node is unresponsive. */
  retire(): void {
    this.retired = true;
    if (this.#inFlight === 0 || this.unresponsive)
      this.destroy(new ConnectionError('the node is no longer a master'));
  }

  unretire(): void {
    this.retired = false;
  }

  /** Commands in progress have outcome `unknown`. */
  destroy(cause: Error): void {
    this.#state.setError(cause);
    this.#end();
  }

  #scheduleCheck(ms: number): Timer {
    const check = () => {
      this.#checkTimer = undefined;
      if (this.#inFlight === 0) return;
      const { unresponsive } = this;
      this.#checkTimer = this.#scheduleCheck(unresponsive ? UNRESPONSIVE_CHECK_INTERVAL : UNRESPONSIVE_AFTER);
      if (!unresponsive) return;
      this.#events.unresponsive(this);
      if (performance.now() - this.#pendingSince >= DEAD_AFTER) void this.#endIfDead();
    };
    return systemClock.after(ms, check, { keepAlive: false });
  }

  /** If no other connection answers, the node is frozen or cannot be reached, and a new connection is no better. */
  async #endIfDead(): Promise<void> {
    if (this.#comparing) return;
    this.#comparing = true;
    const since = this.#pendingSince;
    try {
      await answerOf(this.#open);
      if (this.#inFlight > 0 && this.#pendingSince === since)
        this.destroy(new ConnectionError('the connection does not answer'));
    } catch {
      // The next check tries again.
    } finally {
      this.#comparing = false;
    }
  }

  #scheduleKeepAlive(command: PlainCommand): void {
    const send = () => {
      this.#scheduleKeepAlive(command);
      if (this.#inFlight === 0 && performance.now() - this.lastReplyAt >= KEEP_ALIVE_INTERVAL / 2)
        this.execute([command]).catch(() => {});
    };
    this.#keepAliveTimer = systemClock.after(KEEP_ALIVE_INTERVAL / 2, send, { keepAlive: false });
  }

  #end(): void {
    if (this.#state.ended) return;
    this.#checkTimer?.cancel();
    this.#keepAliveTimer?.cancel();
    this.#state.end();
    this.#resolveOpened();
    this.#connection.destroy();
    this.#events.ended(this);
  }
}
