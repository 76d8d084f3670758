import { CommandError, ConnectionError } from '../internal/errors.js';
import { ConnectionState } from './connection-state.js';
import { type DriverListener, type Payload, SUBSCRIPTION_KINDS, type SubscriptionKind } from './driver.js';
import { toRollcallError } from './replies.js';

/** One connection in subscribed mode, as a client library offers it. Used once: it never reconnects. */
export interface PubSubConnection {
  /** Connects; rejects when that fails, the first time. */
  connect(): Promise<unknown>;
  /** Resolves when Redis has confirmed all names. */
  subscribe(kind: SubscriptionKind, names: readonly string[], binary: boolean): Promise<unknown>;
  /** Resolves when Redis has confirmed. */
  unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<unknown>;
  /** Closes it at once, whatever the peer does. Its failures from then on are nobody's. */
  destroy(): void;
}

/** What a {@link PubSubConnection} tells. */
export interface PubSubConnectionListener {
  /** A message, as {@link DriverListener} wants it. */
  message(kind: SubscriptionKind, name: string, channel: string, payload: Payload): void;
  /** Something went wrong; the connection may go on. */
  failed(error: unknown): void;
  /** The connection is gone. */
  ended(): void;
  /** Redis itself took these names away: their slot has moved. */
  withdrawn(kind: SubscriptionKind, names: readonly string[]): void;
}

/** Opens a {@link PubSubConnection}. */
export type PubSubConnectionFactory = (listener: PubSubConnectionListener) => PubSubConnection;

/** One {@link PubSubConnection} and what is subscribed on it. */
class ActiveConnection {
  readonly state: ConnectionState;
  readonly wire: PubSubConnection;
  readonly opened: Promise<unknown>;
  /** Given up: what it says from now on is nobody's concern. */
  over = false;
  readonly confirmed: Record<SubscriptionKind, Set<string>> = {
    channel: new Set(),
    pattern: new Set(),
    sharded: new Set(),
  };

  constructor(
    client: string,
    make: PubSubConnectionFactory,
    listener: DriverListener,
    over: (line: ActiveConnection) => void,
  ) {
    this.state = new ConnectionState(client);
    this.wire = make({
      message: (kind, name, channel, payload) => {
        if (!this.over) listener.message(kind, name, channel, payload);
      },
      failed: (error) => this.state.setError(error),
      ended: () => over(this),
      withdrawn: (kind, names) => {
        if (this.over) return;
        const lost = names.filter((name) => this.confirmed[kind].delete(name));
        if (lost.length > 0)
          listener.dropped(kind, lost, new CommandError('Redis withdrew the subscription'));
      },
    });
    const connected = this.wire.connect().then(
      () => {
        // A client may finish connecting after it was told not to.
        if (this.over) this.wire.destroy();
        else this.state.up();
      },
      (error: unknown) => {
        if (!this.over) this.state.setError(error);
        over(this);
        throw this.state.createOfflineError();
      },
    );
    // … or neither finish nor fail: who waits is told all the same.
    this.opened = this.state.track(connected);
  }

  /** Gives the connection up, and fails what is under way. */
  end(): void {
    this.over = true;
    this.state.end();
    this.wire.destroy();
  }
}

/**
 * The subscribed side of a driver: a connection of our own, opened with the first subscription. When
 * it breaks it is thrown away with all it carried, and `dropped` is told; the next `subscribe` opens
 * another. So no client library's own idea of resubscribing, of which there are many, comes in: who
 * wants what, in which order and how often to try is decided in one place, above.
 */
export class Subscriber {
  readonly #client: string;
  readonly #make: PubSubConnectionFactory;
  readonly #listener: DriverListener;
  #line: ActiveConnection | undefined;
  #closed = false;

  constructor(client: string, make: PubSubConnectionFactory, listener: DriverListener) {
    this.#client = client;
    this.#make = make;
    this.#listener = listener;
  }

  async subscribe(kind: SubscriptionKind, names: readonly string[], binary = false): Promise<void> {
    if (this.#closed) throw new ConnectionError(`the ${this.#client} subscriber is closed`);
    this.#line ??= new ActiveConnection(this.#client, this.#make, this.#listener, (line) =>
      this.#dropConnection(line),
    );
    const line = this.#line;
    try {
      await line.opened;
    } catch {
      throw line.state.createOfflineError();
    }
    if (!line.state.ready) throw line.state.createOfflineError();
    try {
      await line.state.track(line.wire.subscribe(kind, names, binary));
    } catch (error) {
      throw toRollcallError(error);
    }
    // It broke between the confirmation and this line: nobody would be told of these names.
    if (line.over) throw new ConnectionError('the connection to Redis broke', { outcome: 'unknown' });
    for (const name of names) line.confirmed[kind].add(name);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    const line = this.#line;
    for (const name of names) line?.confirmed[kind].delete(name);
    if (line?.state.ready !== true) return;
    try {
      await line.state.track(line.wire.unsubscribe(kind, names));
    } catch (error) {
      const known = toRollcallError(error);
      // A connection that broke has done the work.
      if (!(known instanceof ConnectionError)) throw known;
    }
  }

  /** Gives up the connection, as if it had broken. */
  reset(cause: Error): void {
    const line = this.#line;
    if (line === undefined) return;
    line.state.setError(cause);
    this.#dropConnection(line, cause);
  }

  close(): void {
    this.#closed = true;
    const line = this.#line;
    this.#line = undefined;
    if (line === undefined) return;
    line.end();
  }

  #dropConnection(line: ActiveConnection, cause?: Error): void {
    if (this.#line !== line) return;
    this.#line = undefined;
    line.end();
    const why = cause ?? line.state.lastError ?? new ConnectionError('the connection to Redis was closed');
    for (const kind of SUBSCRIPTION_KINDS) {
      const names = [...line.confirmed[kind]];
      if (names.length > 0) this.#listener.dropped(kind, names, why);
    }
  }
}
