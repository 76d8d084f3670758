import { type Clock, jitter, type Timer } from '../internal/clock.js';
import type { LocalSocket, LocalSockets } from './local-sockets.js';

/** Options of {@link IdleMonitor}. Durations in ms. */
export interface IdleMonitorOptions {
  readonly clock: Clock;
  readonly localSockets: LocalSockets;
  /** After how long without activity an online socket is idle; 0 for never. */
  readonly idleAfter: number;
  /** Shortest time between two writes of activity. */
  readonly touchInterval: number;
}

/** Times of a socket's last activity and of its last write to Redis, on the monotonic clock. */
interface Activity {
  at: number;
  written: number;
}

/** Knows when each socket was last active, and finds the ones that have become idle. */
export class IdleMonitor {
  readonly #options: IdleMonitorOptions;
  readonly #activity = new Map<string, Activity>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: IdleMonitorOptions) {
    this.#options = options;
  }

  /** Calls `onIdle` with every socket that becomes idle, unless `idleAfter` is 0. */
  start(onIdle: (socket: LocalSocket) => void): void {
    if (this.#options.idleAfter > 0) this.#schedule(onIdle);
  }

  /** Stops the timer. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** `setPresence` counts as activity. */
  onSet(key: string): void {
    if (this.#options.idleAfter > 0) this.#touch(key);
  }

  /** Notes activity of a socket. Returns true when it must be written to Redis: if `force`, or once per `touchInterval`. */
  onTouch(key: string, force: boolean): boolean {
    const activity = this.#touch(key);
    if (!force && activity.at - activity.written < this.#options.touchInterval) return false;
    activity.written = activity.at;
    return true;
  }

  /** Forgets a removed socket. */
  forget(key: string): void {
    this.#activity.delete(key);
  }

  #touch(key: string): Activity {
    const now = this.#options.clock.monotonic();
    let activity = this.#activity.get(key);
    if (activity === undefined) {
      activity = { at: now, written: now };
      if (this.#options.localSockets.sockets.has(key)) this.#activity.set(key, activity);
    }
    activity.at = now;
    return activity;
  }

  #schedule(onIdle: (socket: LocalSocket) => void): void {
    if (this.#stopped) return;
    const { clock, idleAfter } = this.#options;
    const check = () => {
      this.#check(onIdle);
      this.#schedule(onIdle);
    };
    this.#timer = clock.after(jitter(clock, Math.max(10, idleAfter / 10)), check, { keepAlive: false });
  }

  #check(onIdle: (socket: LocalSocket) => void): void {
    const { clock, idleAfter, localSockets } = this.#options;
    const since = clock.monotonic() - idleAfter;
    for (const [key, socket] of localSockets.sockets) {
      if (socket.idle === true || socket.status !== 'online') continue;
      const activity = this.#activity.get(key);
      if (activity !== undefined && activity.at <= since) onIdle(socket);
    }
  }
}
