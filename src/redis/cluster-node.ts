import { systemClock, withTimeout as withinTime } from '../internal/clock.js';
import { ConnectionError } from '../internal/errors.js';
import { ConnectionState } from './connection-state.js';
import type { Command, PlainCommand, Reply } from './driver.js';
import { isServerError } from './replies.js';
import { ScriptRunner } from './script.js';
import type { PubSubConnection, PubSubConnectionListener } from './subscriber.js';

/** A connection for commands to one node, as a client library offers it. Used once: it never reconnects. */
export interface CommandConnection {
  /** False when it would not send: the client may know of an end that it has yet to tell. */
  readonly ready: boolean;
  /** Connects; resolves when commands can be sent. */
  connect(): Promise<unknown>;
  /** Sends all at once; a refused command has an `Error` in its place. */
  pipeline(commands: readonly PlainCommand[], buffers: boolean): Promise<Reply[]>;
  /** The same as one MULTI; rejects with what Redis said of the first command it would not queue. */
  transaction(commands: readonly PlainCommand[]): Promise<Reply[]>;
  /** Closes it at once, whatever the peer does. */
  destroy(): void;
}

/** What a {@link CommandConnection} tells. */
export interface CommandConnectionListener {
  /** Something went wrong; it explains an end that follows. */
  failed(error: unknown): void;
  /** The connection is gone. */
  ended(): void;
}

/** What a driver needs of a client library's Cluster client. */
export interface ClusterClientAdapter {
  /** The client's name, for people. */
  readonly client: string;
  /** Connects it, unless its owner did; resolves when it knows at least one node. */
  connect(): Promise<void>;
  /** Stops listening to it. */
  close(): void;
  /** The nodes it knows, as `host:port`. */
  addresses(): string[];
  /** A connection of our own, with the options of the client's own. */
  open(address: string, listener: CommandConnectionListener): CommandConnection;
  /** The same for subscribing. With `sharded`, anything unexpected ends it. */
  openPubSub(address: string, listener: PubSubConnectionListener, sharded: boolean): PubSubConnection;
}

/** Within how many ms a node has to let us in. */
export const CONNECT_DEADLINE = 1_000;
/** A node that owes answers and has given none for so many ms is silent. */
const UNRESPONSIVE_AFTER = 1_000;
/** How often, in ms, to ask what has become of a silent node. */
const UNRESPONSIVE_CHECK_INTERVAL = 250;

/** `work`, or a ConnectionError after `ms`. */
export function withNodeTimeout<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  const late = () => new ConnectionError(`${what} took longer than ${ms} ms`, { outcome: 'unknown' });
  return withinTime(systemClock, ms, work, late);
}

/** Resolves after `ms`; the process may end meanwhile. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

/** Told of what happens to a {@link ClusterNode}. */
export interface NodeEvents {
  /** It cannot be used any more. */
  ended(node: ClusterNode): void;
  /** It is silent; told again and again as long as that lasts. */
  silent(node: ClusterNode): void;
}

/** Our own connection for commands to one node. When it ends it is thrown away. */
export class ClusterNode {
  readonly address: string;
  readonly #state: ConnectionState;
  readonly #scripts = new ScriptRunner();
  readonly #connection: CommandConnection;
  readonly #opened: Promise<void>;
  #openedOrOver = (): void => {};
  readonly #events: NodeEvents;
  /** When it last answered, on the monotonic clock. */
  answered = Number.NEGATIVE_INFINITY;
  #inFlight = 0;
  /** When it last answered, or was first asked after it had answered all. */
  #heard = 0;
  #watch: NodeJS.Timeout | undefined;
  /** It is no master any more; its end says nothing about its health. */
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
      this.#openedOrOver = resolve;
    });
    withNodeTimeout(CONNECT_DEADLINE, `connecting to ${address}`, this.#connection.connect()).then(
      () => {
        if (!this.#state.ended) this.#state.up();
        this.#openedOrOver();
      },
      (error: unknown) => {
        this.#state.setError(error);
        this.#end();
      },
    );
  }

  /** True when it has answered nothing for a second, although something was asked. */
  get unresponsive(): boolean {
    return this.#inFlight > 0 && performance.now() - this.#heard >= UNRESPONSIVE_AFTER;
  }

  /** Why it is over, if it is. */
  get lastError(): Error | undefined {
    return this.#state.lastError;
  }

  /** Rejects with `failed` when there is no connection, and with `unknown` when it breaks. */
  async execute(commands: readonly Command[], atomic = false, buffers = false): Promise<Reply[]> {
    await this.#opened;
    // A client that knows of its end before it tells must not be asked again and again.
    if (!this.#connection.ready) this.#end();
    if (!this.#state.ready) throw this.#state.createOfflineError();
    const send = (batch: readonly PlainCommand[]) =>
      atomic ? this.#connection.transaction(batch) : this.#connection.pipeline(batch, buffers);
    if (this.#inFlight++ === 0) this.#heard = performance.now();
    this.#watch ??= this.#scheduleCheck(UNRESPONSIVE_AFTER);
    try {
      const replies = await this.#state.track(this.#scripts.run(commands, send, atomic));
      this.answered = performance.now();
      return replies;
    } catch (error) {
      // What the server did not say, the client did: whatever that means, the next may do better.
      if (!isServerError(error)) this.destroy(error as Error);
      throw error;
    } finally {
      this.#heard = performance.now();
      if (--this.#inFlight === 0 && this.retired) this.#end();
    }
  }

  /** It is of no use any more: ends as soon as it owes no answer, and at once when it is silent. */
  retire(): void {
    this.retired = true;
    if (this.#inFlight === 0 || this.unresponsive)
      this.destroy(new ConnectionError('the node is no master any more'));
  }

  /** It is needed after all. */
  unretire(): void {
    this.retired = false;
  }

  /** Ends it; what is in flight is `unknown`. */
  destroy(cause: Error): void {
    this.#state.setError(cause);
    this.#end();
  }

  #scheduleCheck(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#watch = undefined;
      if (this.#inFlight === 0) return;
      const { unresponsive: silent } = this;
      this.#watch = this.#scheduleCheck(silent ? UNRESPONSIVE_CHECK_INTERVAL : UNRESPONSIVE_AFTER);
      if (silent) this.#events.silent(this);
    }, ms).unref();
  }

  #end(): void {
    if (this.#state.ended) return;
    clearTimeout(this.#watch);
    this.#state.end();
    this.#openedOrOver();
    this.#connection.destroy();
    this.#events.ended(this);
  }
}
