import { type Clock, jitter, type Timer } from '../internal/clock.js';
import type { Connection } from './connection.js';
import type { ConnectionIdentity } from './options.js';

/** Interval of checks, as a share of the shorter limit. */
const CHECK_FRACTION = 1 / 4;

export interface HeartbeatSettings {
  readonly clock: Clock;
  /** Silence in ms before a ping. */
  readonly heartbeatInterval: number;
  /** In ms. */
  readonly pongTimeout: number;
  readonly counters: { silent: number };
}

/** Pings silent clients and cuts those without an answer, with one timer for all connections. */
export class HeartbeatMonitor<User extends ConnectionIdentity> {
  readonly #settings: HeartbeatSettings;
  readonly #connections: Iterable<Connection<User>>;
  #lastCheck: number;
  #timer: Timer | undefined;

  constructor(connections: Iterable<Connection<User>>, settings: HeartbeatSettings) {
    this.#connections = connections;
    this.#settings = settings;
    this.#lastCheck = settings.clock.monotonic();
    this.#schedule();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  get #checkInterval(): number {
    const { heartbeatInterval, pongTimeout } = this.#settings;
    return Math.min(heartbeatInterval, pongTimeout) * CHECK_FRACTION;
  }

  #schedule(): void {
    const { clock } = this.#settings;
    const delay = jitter(clock, this.#checkInterval);
    this.#timer = clock.after(delay, () => this.#checkAll(), { keepAlive: false });
  }

  #checkAll(): void {
    const { clock, heartbeatInterval, pongTimeout, counters } = this.#settings;
    const now = clock.monotonic();
    // A frozen process has received nothing; the clients were not silent.
    const frozen = now - this.#lastCheck > 2 * this.#checkInterval;
    this.#lastCheck = now;
    for (const connection of this.#connections) {
      if (frozen) connection.resetHeartbeat(now);
      if (connection.checkAlive(now, heartbeatInterval, pongTimeout)) continue;
      counters.silent++;
      connection.terminate();
    }
    this.#schedule();
  }
}
