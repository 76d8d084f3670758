import type { ClientClock } from './platform.js';
import { ResettableTimer } from './resettable-timer.js';

/** The server is told at most once in so many ms that somebody types. */
const SEND_INTERVAL = 2_000;
/** Who strikes no key for so many ms has stopped. */
const IDLE_TIMEOUT = 3_000;

/** Turns key strokes into as few calls of `say` as possible. */
export class TypingSender {
  readonly #send: (on: boolean) => void;
  readonly #idle: ResettableTimer;
  readonly #pause: ResettableTimer;
  #on = false;
  #sent = false;

  constructor(clock: ClientClock, say: (on: boolean) => void) {
    this.#send = say;
    this.#idle = new ResettableTimer(clock);
    this.#pause = new ResettableTimer(clock);
  }

  set(on: boolean): void {
    this.#on = on;
    this.#idle.clear();
    if (on) {
      this.#idle.set(IDLE_TIMEOUT, () => this.set(false));
      if (!this.#pause.active) this.#start();
    } else if (this.#sent) {
      this.#sent = false;
      this.#send(false);
    }
  }

  /** The connection is gone, or the room: nothing is to be said any more. */
  reset(): void {
    this.#idle.clear();
    this.#pause.clear();
    this.#sent = false;
  }

  #start(): void {
    this.#sent = true;
    this.#send(true);
    this.#pause.set(SEND_INTERVAL, () => {
      // Stopped and begun again meanwhile.
      if (this.#on && !this.#sent) this.#start();
    });
  }
}

/** Who else types. */
export class TypingUsers {
  readonly #clock: ClientClock;
  readonly #changed: () => void;
  readonly #alarms = new Map<string, ResettableTimer>();
  /** The same array until it changes. */
  list: readonly string[] = [];

  /** `changed` is called after that has changed. */
  constructor(clock: ClientClock, changed: () => void) {
    this.#clock = clock;
    this.#changed = changed;
  }

  /** `user` types for `ttl` ms; with 0 he has stopped. */
  update(user: string, ttl: number): void {
    const known = this.#alarms.get(user);
    known?.clear();
    this.#alarms.delete(user);
    if (ttl > 0) {
      const alarm = known ?? new ResettableTimer(this.#clock);
      alarm.set(ttl, () => this.update(user, 0));
      this.#alarms.set(user, alarm);
    }
    if (!known === !(ttl > 0)) return;
    this.list = [...this.#alarms.keys()];
    this.#changed();
  }

  /** Nobody is told. */
  clear(): void {
    for (const alarm of this.#alarms.values()) alarm.clear();
    this.#alarms.clear();
    this.list = [];
  }
}
