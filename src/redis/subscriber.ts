import { runWithoutAsyncContext } from '../internal/async-context.js';
import { systemClock, type Timer, withTimeout } from '../internal/clock.js';
import { CommandError, ConnectionError } from '../internal/errors.js';
import { ConnectionState } from './connection-state.js';
import { type DriverListener, type Payload, SUBSCRIPTION_KINDS, type SubscriptionKind } from './driver.js';
import { toRollcallError } from './replies.js';

/** A connection for subscriptions, used once: it never reconnects. */
export interface PubSubConnection {
  /** Rejects when the first attempt fails, or when the server is a replica. */
  connect(): Promise<unknown>;
  /** The server's run id, if known. */
  readonly runId?: string | undefined;
  /** Resolves when Redis has confirmed all names. */
  subscribe(kind: SubscriptionKind, names: readonly string[], binary: boolean): Promise<unknown>;
  /** Resolves when Redis has confirmed all names. */
  unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<unknown>;
  /** Does not wait for the peer. Later errors are ignored. */
  destroy(): void;
}

/** Events of a {@link PubSubConnection}. */
export interface PubSubConnectionListener {
  /** As `message` of `DriverListener`. */
  message(kind: SubscriptionKind, name: string, channel: string, payload: Payload): void;
  /** An error; the connection may stay usable. */
  failed(error: unknown): void;
  /** The connection is gone. */
  ended(): void;
  /** Redis unsubscribed these names because their slot has moved. */
  withdrawn(kind: SubscriptionKind, names: readonly string[]): void;
}

/** Creates a connection that is not connected yet. */
export type PubSubConnectionFactory = (listener: PubSubConnectionListener) => PubSubConnection;

/** A node other than the client's own. */
export interface ConnectionTarget {
  readonly host: string;
  readonly port: number;
}

export interface PubSubConnectionOptions {
  readonly target?: ConnectionTarget;
  /**
   * For sharded channels of a Cluster. When a slot leaves the node, Redis sends replies that no command asked
   * for, and a client may assign them to another command. So anything unexpected ends the connection, and no
   * PING is sent, because it would hide them.
   */
  readonly sharded?: boolean;
}

/** Delay before a connection without subscriptions is closed, in ms. */
const CLOSE_DELAY = 10_000;
/** Time for the confirmation on a connection that was without subscriptions, in ms. */
const REUSE_TIMEOUT = 2_000;

class ActiveConnection {
  readonly state: ConnectionState;
  readonly connection: PubSubConnection;
  readonly opened: Promise<unknown>;
  /** Later events are ignored. */
  discarded = false;
  readonly confirmed: Record<SubscriptionKind, Set<string>> = {
    channel: new Set(),
    pattern: new Set(),
    sharded: new Set(),
  };
  /** Calls of `subscribe` that have not settled. */
  subscribing = 0;

  constructor(
    client: string,
    open: PubSubConnectionFactory,
    listener: DriverListener,
    onEnd: (ended: ActiveConnection) => void,
  ) {
    this.state = new ConnectionState(client);
    this.connection = open({
      message: (kind, name, channel, payload) => {
        if (!this.discarded) listener.message(kind, name, channel, payload);
      },
      failed: (error) => this.state.setError(error),
      ended: () => onEnd(this),
      withdrawn: (kind, names) => {
        if (this.discarded) return;
        const lost = names.filter((name) => this.confirmed[kind].delete(name));
        if (lost.length > 0)
          listener.dropped(kind, lost, new CommandError('Redis withdrew the subscription'));
      },
    });
    const connected = this.connection.connect().then(
      () => {
        // A client may finish connecting after `destroy`.
        if (this.discarded) this.connection.destroy();
        else this.state.up();
      },
      (error: unknown) => {
        if (!this.discarded) this.state.setError(error);
        onEnd(this);
        throw this.state.createOfflineError();
      },
    );
    // Some clients never settle: `track` rejects when the connection ends.
    this.opened = this.state.track(connected);
  }

  get hasNames(): boolean {
    return SUBSCRIPTION_KINDS.some((kind) => this.confirmed[kind].size > 0);
  }

  get idle(): boolean {
    return !this.hasNames && this.subscribing === 0;
  }

  end(): void {
    this.discarded = true;
    this.state.end();
    this.connection.destroy();
  }
}

/**
 * The subscribing connection, opened with the first subscription. When it breaks, `dropped` reports its names, and
 * the next `subscribe` opens another. The subscription manager resubscribes, because client libraries differ in how
 * they do it. Without subscriptions it is closed after 10 s, because it would be idle, and a connection that an idle time-out has
 * dropped in silence would not be noticed.
 */
export class Subscriber {
  readonly #client: string;
  readonly #open: PubSubConnectionFactory;
  readonly #listener: DriverListener;
  #active: ActiveConnection | undefined;
  #closeTimer: Timer | undefined;
  #closed = false;

  /**
   * @param client The client's name, for messages.
   * @param open Creates a connection.
   * @param listener Receives messages and dropped names.
   */
  constructor(client: string, open: PubSubConnectionFactory, listener: DriverListener) {
    this.#client = client;
    this.#open = open;
    this.#listener = listener;
  }

  /** As `subscribe` of `Driver`. */
  async subscribe(kind: SubscriptionKind, names: readonly string[], binary = false): Promise<void> {
    if (this.#closed) throw new ConnectionError(`the ${this.#client} subscriber is closed`);
    const isReused = this.#active?.idle === true;
    this.#active ??= runWithoutAsyncContext(
      () =>
        new ActiveConnection(this.#client, this.#open, this.#listener, (ended) =>
          this.#dropConnection(ended),
        ),
    );
    const active = this.#active;
    active.subscribing++;
    try {
      const confirmed = this.#subscribe(active, kind, names, binary);
      await (isReused ? this.#confirmedInTime(active, confirmed) : confirmed);
    } finally {
      active.subscribing--;
      this.#closeLater();
    }
  }

  async #subscribe(
    active: ActiveConnection,
    kind: SubscriptionKind,
    names: readonly string[],
    binary: boolean,
  ): Promise<void> {
    // On an open connection SUBSCRIBE is written in this call: before what the caller sends next.
    if (!active.state.ready) {
      try {
        await active.opened;
      } catch {
        throw active.state.createOfflineError();
      }
    }
    if (!active.state.ready) throw active.state.createOfflineError();
    try {
      await active.state.track(active.connection.subscribe(kind, names, binary));
    } catch (error) {
      throw toRollcallError(error);
    }
    // It broke after the confirmation, so `dropped` did not report these names.
    if (active.discarded) throw new ConnectionError('the connection to Redis broke', { outcome: 'unknown' });
    for (const name of names) active.confirmed[kind].add(name);
  }

  /** As `unsubscribe` of `Driver`. */
  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    const active = this.#active;
    for (const name of names) active?.confirmed[kind].delete(name);
    this.#closeLater();
    if (active?.state.ready !== true) return;
    try {
      await active.state.track(active.connection.unsubscribe(kind, names));
    } catch (error) {
      const known = toRollcallError(error);
      // The server forgets the names of a broken connection.
      if (!(known instanceof ConnectionError)) throw known;
    }
  }

  /** Drops the connection and its names, as if it had broken. */
  reset(cause: Error): void {
    const active = this.#active;
    if (active === undefined) return;
    active.state.setError(cause);
    this.#dropConnection(active, cause);
  }

  /** Closes a connection that does not lead to the master with this run id. */
  followMaster(runId: string): void {
    const connected = this.#active?.connection.runId;
    if (connected === undefined || connected === runId) return;
    this.reset(new ConnectionError('the subscribing connection led to a server that is not the master'));
  }

  /** Drops the connection without a report. Later calls of `subscribe` reject. */
  close(): void {
    this.#closed = true;
    this.#closeTimer?.cancel();
    const active = this.#active;
    this.#active = undefined;
    if (active === undefined) return;
    active.end();
  }

  /** The connection may have been dropped in silence while it was idle. Replacing it loses nothing. */
  async #confirmedInTime(active: ActiveConnection, confirmed: Promise<void>): Promise<void> {
    const late = () => {
      const error = new ConnectionError('an idle connection does not answer', { outcome: 'unknown' });
      if (this.#active === active && !active.hasNames) this.reset(error);
      return error;
    };
    await withTimeout(systemClock, REUSE_TIMEOUT, confirmed, late, { keepAlive: false });
  }

  #closeLater(): void {
    const active = this.#active;
    if (active === undefined || !active.idle) return;
    this.#closeTimer?.cancel();
    const close = () => {
      if (this.#active !== active || !active.idle) return;
      this.#active = undefined;
      active.end();
    };
    this.#closeTimer = systemClock.after(CLOSE_DELAY, close, { keepAlive: false });
  }

  #dropConnection(active: ActiveConnection, cause?: Error): void {
    if (this.#active !== active) return;
    this.#active = undefined;
    active.end();
    const why = cause ?? active.state.lastError ?? new ConnectionError('the connection to Redis was closed');
    for (const kind of SUBSCRIPTION_KINDS) {
      const names = [...active.confirmed[kind]];
      if (names.length > 0) this.#listener.dropped(kind, names, why);
    }
  }
}
