import { type Clock, jitter, type Timer } from '../internal/clock.js';
import type { LocalSocket, LocalSockets, SocketRef } from './local-sockets.js';

/** Durations in ms. */
export interface IdleMonitorOptions {
  readonly clock: Clock;
  readonly localSockets: LocalSockets;
  /** Time without activity until an online socket is idle; 0: never. */
  readonly idleAfter: number;
  /** Minimum interval of writes. */
  readonly touchInterval: number;
}

/** Last activity and last write to Redis, on the monotonic clock. */
interface Activity {
  at: number;
  written: number;
}

/** Of all local sockets of a user. Kept for a while after the last one, because reconnecting is no activity. */
interface UserActivity {
  at: number;
  sockets: number;
  leftAt: number;
}

export class IdleMonitor {
  readonly #options: IdleMonitorOptions;
  readonly #activity = new Map<string, Activity>();
  readonly #users = new Map<string, UserActivity>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: IdleMonitorOptions) {
    this.#options = options;
  }

  /** `onIdle`: for every socket that becomes idle. No effect if `idleAfter` is 0. */
  start(onIdle: (socket: LocalSocket) => void): void {
    if (this.#options.idleAfter > 0) this.#schedule(onIdle);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /**
   * Counts as activity, unless it registers a socket of a user who was here before. `unknown`: of a user who was not, and
   * may be idle on other processes.
   */
  onSet({ key, user }: SocketRef): 'active' | 'idle' | 'unknown' {
    const { idleAfter, clock } = this.#options;
    if (idleAfter === 0) return 'active';
    const now = clock.monotonic();
    const known = this.#users.get(user);
    if (this.#activity.has(key) || known === undefined) {
      if (known === undefined) this.#users.set(user, { at: now, sockets: 1, leftAt: now });
      else known.at = now;
      this.#activity.set(key, { at: now, written: now });
      return known === undefined ? 'unknown' : 'active';
    }
    known.sockets++;
    this.#activity.set(key, { at: known.at, written: now });
    return known.at <= now - idleAfter ? 'idle' : 'active';
  }

  /** After `unknown`. */
  onIdleElsewhere({ key, user }: SocketRef): void {
    const at = this.#options.clock.monotonic() - this.#options.idleAfter;
    const known = this.#users.get(user);
    if (known !== undefined) known.at = at;
    const activity = this.#activity.get(key);
    if (activity !== undefined) activity.at = at;
  }

  /** True: write it to Redis, because of `force` or once per `touchInterval`. */
  onTouch({ key, user }: SocketRef, force: boolean): boolean {
    const activity = this.#touch(key);
    const known = this.#users.get(user);
    if (known !== undefined) known.at = activity.at;
    if (!force && activity.at - activity.written < this.#options.touchInterval) return false;
    activity.written = activity.at;
    return true;
  }

  forget({ key, user }: SocketRef): void {
    const known = this.#users.get(user);
    if (!this.#activity.delete(key) || known === undefined) return;
    known.sockets--;
    known.leftAt = this.#options.clock.monotonic();
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
    for (const [user, { sockets, leftAt }] of this.#users) {
      if (sockets <= 0 && leftAt <= since) this.#users.delete(user);
    }
    for (const [key, socket] of localSockets.sockets) {
      if (socket.idle === true || socket.status !== 'online') continue;
      const activity = this.#activity.get(key);
      if (activity !== undefined && activity.at <= since) onIdle(socket);
    }
  }
}
