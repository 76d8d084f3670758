import { backoff, jitter, systemClock, type Timer, withTimeout } from '../internal/clock.js';
import { CommandError, ConnectionError } from '../internal/errors.js';
import type { ConnectionState } from './connection-state.js';
import type { Reply } from './driver.js';
import { isServerError } from './replies.js';
import { INFO_SECTIONS, parseServerInfo } from './server-info.js';

/** In ms. */
const CHECK_INTERVAL = 2_000;
/** In ms; a later reply is ignored. */
const CHECK_TIMEOUT = 2_000;
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
  /** The client then reconnects by its own policy. */
  reconnect(): void;
}

export interface RoleMonitorListener {
  /** Subscriptions at a replica may miss messages. */
  demoted(cause: Error): void;
  /** The connection leads to the master with this run id. */
  master(runId: string): void;
}

/**
 * Keeps the connection for commands at a master. After a planned failover behind a stable address (managed endpoint,
 * virtual IP, proxy) the demoted server keeps its connections and accepts PUBLISH, which no client of the new master
 * receives. So the role is checked regularly, after each reconnect, and on errors like READONLY, and a connection to
 * a replica is replaced.
 */
export class RoleMonitor {
  readonly #connection: MonitoredConnection;
  readonly #state: ConnectionState;
  readonly #listener: RoleMonitorListener;
  #demoted = false;
  /** Redis refuses INFO to this user. */
  #refused = false;
  #runId: string | undefined;
  #wasReady = false;
  #attempt = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(connection: MonitoredConnection, state: ConnectionState, listener: RoleMonitorListener) {
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
    if (this.#refused) return this.#handleMaster(undefined);
    const sections = this.#runId === undefined ? INFO_SECTIONS : (['replication'] as const);
    const late = () => new ConnectionError('INFO took too long');
    const work = this.#connection.info(sections);
    try {
      const replies = await withTimeout(systemClock, CHECK_TIMEOUT, work, late, { keepAlive: false });
      if (this.#closed || !this.#connection.isReady()) return;
      const { replica, runId } = parseServerInfo(replies);
      if (replica) return this.#demote(new ConnectionError(REPLICA));
      this.#attempt = 0;
      this.#handleMaster(runId);
    } catch (error) {
      this.#refused = isServerError(error);
      if (this.#refused) this.#handleMaster(undefined);
      else this.#schedule();
    }
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
    const delay = first + backoff(systemClock, this.#attempt++, first, MAX_RECONNECT_DELAY);
    this.#timer?.cancel();
    const reconnect = () => {
      if (!this.#closed && this.#connection.isReady()) this.#connection.reconnect();
    };
    this.#timer = systemClock.after(delay, reconnect, { keepAlive: false });
  }

  #schedule(): void {
    this.#timer?.cancel();
    if (this.#closed || this.#refused) return;
    const delay = jitter(systemClock, CHECK_INTERVAL);
    this.#timer = systemClock.after(delay, () => void this.#check(), { keepAlive: false });
  }
}
