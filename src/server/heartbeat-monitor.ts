import { type Clock, jitter, type Timer } from '../internal/clock.js';
import { HandlerError } from '../internal/errors.js';
import type { ConnectionIdentity } from './options.js';
import type { ServerConnection } from './server-connection.js';

/** Interval of checks, as a share of the shorter limit. */
const CHECK_FRACTION = 1 / 4;

export interface HeartbeatSettings {
  readonly clock: Clock;
  /** Silence in ms before a ping. */
  readonly heartbeatInterval: number;
  /** In ms. */
  readonly pongTimeout: number;
  readonly counters: { silent: number };
  /** Set by the first pong that the transport reports. */
  readonly pongs: { reported: boolean };
  readonly report: (error: unknown) => void;
}

/** Pings silent clients and cuts those without an answer, with one timer for all connections. */
export class HeartbeatMonitor<User extends ConnectionIdentity> {
  readonly #settings: HeartbeatSettings;
  readonly #connections: Iterable<ServerConnection<User>>;
  #lastCheck: number;
  #timer: Timer | undefined;
  #warned = false;

  constructor(connections: Iterable<ServerConnection<User>>, settings: HeartbeatSettings) {
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
      if (connection.peer.canPing) this.#warnWithoutPongs();
    }
    this.#schedule();
  }

  /** Once: every client would be cut. */
  #warnWithoutPongs(): void {
    const { pongs, report } = this.#settings;
    if (pongs.reported || this.#warned) return;
    this.#warned = true;
    report(
      new HandlerError(
        'a client has not answered a ping, and no answer of any client was ever reported: ' +
          'call pong of the handler, or pass peers without ping',
      ),
    );
  }
}
