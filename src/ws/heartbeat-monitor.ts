import { type Clock, jitter, type Timer } from '../internal/clock.js';
import type { WebSocketIdentity } from './options.js';
import type { WebSocketConnection } from './web-socket-connection.js';

/** How often connections are looked at, as a share of the shorter limit. */
const CHECK_FRACTION = 1 / 4;

/** What {@link HeartbeatMonitor} looks after. */
export interface HeartbeatSettings {
  readonly clock: Clock;
  /** After how much silence, in ms, somebody is pinged. */
  readonly heartbeatInterval: number;
  /** How long, in ms, the answer may take. */
  readonly pongTimeout: number;
  readonly counters: { silent: number };
}

/** Pings whoever is silent, and gives up who stays so: one timer for all connections. */
export class HeartbeatMonitor<User extends WebSocketIdentity> {
  readonly #settings: HeartbeatSettings;
  readonly #connections: Iterable<WebSocketConnection<User>>;
  #looked: number;
  #timer: Timer | undefined;

  constructor(connections: Iterable<WebSocketConnection<User>>, settings: HeartbeatSettings) {
    this.#connections = connections;
    this.#settings = settings;
    this.#looked = settings.clock.monotonic();
    this.#next();
  }

  /** Looks no more. */
  stop(): void {
    this.#timer?.cancel();
  }

  get #every(): number {
    const { heartbeatInterval: heartbeat, pongTimeout } = this.#settings;
    return Math.min(heartbeat, pongTimeout) * CHECK_FRACTION;
  }

  #next(): void {
    const { clock } = this.#settings;
    this.#timer = clock.after(jitter(clock, this.#every), () => this.#checkAll(), { keepAlive: false });
  }

  #checkAll(): void {
    const { clock, heartbeatInterval: heartbeat, pongTimeout, counters } = this.#settings;
    const now = clock.monotonic();
    // A process that stood still has heard nobody, and that is no fault of theirs.
    const stoodStill = now - this.#looked > 2 * this.#every;
    this.#looked = now;
    for (const connection of this.#connections) {
      if (stoodStill) connection.resetHeartbeat(now);
      if (connection.checkAlive(now, heartbeat, pongTimeout)) continue;
      counters.silent++;
      connection.terminate();
    }
    this.#next();
  }
}
