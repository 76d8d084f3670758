import { backoff, type Clock, jitter, systemClock, type Timer, withTimeout } from '../internal/clock.js';
import { CommandError, ConnectionError } from '../internal/errors.js';
import type { ConnectionState } from './connection-state.js';
import type { Reply } from './driver.js';
import { isServerError } from './replies.js';
import { INFO_SECTIONS, parseServerInfo } from './server-info.js';

/** In ms. */
const CHECK_INTERVAL = 2_000;
/** The same for a user who may not read INFO, in ms. Idle time-outs of services and load balancers are longer. */
const KEEP_ALIVE_INTERVAL = 10_000;
/** Time without a reply, in ms, after which the connection may be dead. A blocking command of the owner delays replies as well. */
const CHECK_TIMEOUT = 5_000;
/** Delay before another attempt after a connection to a replica, in ms. */
const FIRST_RECONNECT_DELAY = 100;
const MAX_RECONNECT_DELAY = 1_000;

const REPLICA_ERROR = /^(?:READONLY|MASTERDOWN)\b/;

/** The command has not run. */
export function isReplicaError(error: unknown): error is Error {
  return error instanceof Error && REPLICA_ERROR.test(error.message);
}

const REPLICA = 'the server is a replica, not the master';

export function assertNotReplica(replica: boolean): void {
  if (replica) throw new ConnectionError(REPLICA);
}

export interface MonitoredConnection {
  isReady(): boolean;
  /** Rejects when Redis refuses or the connection breaks. */
  info(sections: readonly string[]): Promise<Reply[]>;
  /** Settles with any answer to the command that keeps the connection from being idle, a refusal included. */
  keepAlive(): Promise<unknown>;
  /** Bytes received so far, if known. */
  received?(): number | undefined;
  /** Resolves when another connection has answered; rejects soon if it does not. */
  compare(): Promise<unknown>;
  /** The client then reconnects by its own policy. */
  reconnect(): void;
  /** Does the same for a connection whose peer does not answer. */
  replace(): void;
}

export interface RoleMonitorListener {
  /** Subscriptions at a replica may miss messages. */
  demoted(cause: Error): void;
  /** The connection leads to the master with this run id. */
  master(runId: string): void;
}

/**
 * Keeps the connection for commands alive and at a master. After a planned failover behind a stable address (managed endpoint,
 * virtual IP, proxy) the demoted server keeps its connections and accepts PUBLISH, which no client of the new master
 * receives. So the role is checked regularly, after each reconnect, and on errors like READONLY, and a connection to
 * a replica is replaced.
 *
 * The same commands keep the connection from being idle. A connection that does not answer while another one does has been
 * dropped in silence, as load balancers do, and is replaced. If no other one answers, the server is frozen or cannot be reached, and a
 * new connection is no better.
 */
export class RoleMonitor {
  readonly #connection: MonitoredConnection;
  readonly #state: ConnectionState;
  readonly #listener: RoleMonitorListener;
  readonly #clock: Clock;
  #demoted = false;
  /** Redis refuses INFO to this user. */
  #refused = false;
  #runId: string | undefined;
  #wasReady = false;
  /** Counts connections. */
  #epoch = 0;
  #attempt = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(
    connection: MonitoredConnection,
    state: ConnectionState,
    listener: RoleMonitorListener,
    clock: Clock = systemClock,
  ) {
    this.#clock = clock;
    this.#connection = connection;
    this.#state = state;
    this.#listener = listener;
  }

  /** False while the connection is known to lead to a replica. */
  get usable(): boolean {
    return !this.#demoted;
  }

  handleReady(): void {
    const reconnected = this.#wasReady;
    this.#wasReady = true;
    this.#runId = undefined;
    if (!this.#demoted) this.#state.up();
    if (reconnected || this.#demoted) void this.#check();
    else this.#schedule();
  }

  handleLost(): void {
    this.#epoch++;
    this.#timer?.cancel();
    this.#runId = undefined;
  }

  /** Replaces each refusal of a replica with a ConnectionError. */
  handleReplies(replies: Reply[]): Reply[] {
    const refusal = replies.find(isReplicaError);
    if (refusal === undefined) return replies;
    const error = this.handleRefusal(refusal);
    if (replies.every(isReplicaError)) throw error;
    return replies.map((reply) => (isReplicaError(reply) ? error : reply));
  }

  /** Returns the error for the caller. */
  handleRefusal(cause: Error): ConnectionError {
    if (!this.#demoted) this.#demote(new CommandError(`Redis refused: ${cause.message}`, { cause }));
    return new ConnectionError(`the server is a replica now: ${cause.message}`, { cause });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #check(): Promise<void> {
    this.#timer?.cancel();
    if (this.#closed || !this.#connection.isReady()) return;
    const epoch = this.#epoch;
    const received = this.#connection.received?.();
    const sections = this.#runId === undefined ? INFO_SECTIONS : (['replication'] as const);
    const work = this.#refused
      ? this.#connection.keepAlive().then(() => undefined)
      : this.#connection.info(sections);
    const late = () => new ConnectionError('the connection does not answer');
    try {
      const replies = await withTimeout(this.#clock, CHECK_TIMEOUT, work, late, { keepAlive: false });
      if (this.#closed || !this.#connection.isReady()) return;
      if (replies === undefined) return this.#handleMaster(undefined);
      const { replica, runId } = parseServerInfo(replies);
      if (replica) return this.#demote(new ConnectionError(REPLICA));
      this.#attempt = 0;
      this.#handleMaster(runId);
    } catch (error) {
      if (isServerError(error)) {
        this.#refused = true;
        this.#handleMaster(undefined);
      } else if (await this.#isDead(work, epoch, received)) {
        this.#state.setError(error);
        this.#connection.replace();
      } else this.#schedule();
    }
  }

  /** Whether the connection, which has not answered `work`, still does not while another one does. */
  async #isDead(work: Promise<unknown>, epoch: number, received: number | undefined): Promise<boolean> {
    let settled = false;
    const settle = () => {
      settled = true;
    };
    work.then(settle, settle);
    const isSame = () => !this.#closed && epoch === this.#epoch && this.#connection.isReady();
    // A long reply may be on its way.
    if (!isSame() || received !== this.#connection.received?.()) return false;
    try {
      await this.#connection.compare();
    } catch {
      return false;
    }
    return isSame() && !settled;
  }

  #handleMaster(runId: string | undefined): void {
    if (this.#closed || !this.#connection.isReady()) return;
    if (this.#demoted) {
      this.#demoted = false;
      this.#state.up();
    }
    this.#schedule();
    if (runId === undefined || runId === this.#runId) return;
    this.#runId = runId;
    this.#listener.master(runId);
  }

  #demote(cause: Error): void {
    if (this.#closed) return;
    const known = this.#demoted;
    this.#demoted = true;
    this.#state.setError(cause);
    this.#state.down();
    if (!known) this.#listener.demoted(cause);
    // Later attempts wait, because the address may lead to the replica for a while.
    const first = this.#attempt === 0 ? 0 : FIRST_RECONNECT_DELAY;
    const delay = first + backoff(this.#clock, this.#attempt++, first, MAX_RECONNECT_DELAY);
    this.#timer?.cancel();
    const reconnect = () => {
      if (!this.#closed && this.#connection.isReady()) this.#connection.reconnect();
    };
    this.#timer = this.#clock.after(delay, reconnect, { keepAlive: false });
  }

  #schedule(): void {
    this.#timer?.cancel();
    if (this.#closed) return;
    const delay = jitter(this.#clock, this.#refused ? KEEP_ALIVE_INTERVAL : CHECK_INTERVAL);
    this.#timer = this.#clock.after(delay, () => void this.#check(), { keepAlive: false });
  }
}
