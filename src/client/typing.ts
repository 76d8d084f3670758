import { Alarm } from './alarm.js';
import type { ClientClock } from './platform.js';

/** The server is told at most once in so many ms that somebody types. */
const EVERY = 2_000;
/** Who strikes no key for so many ms has stopped. */
const IDLE = 3_000;

/** Turns key strokes into as few calls of `say` as possible. */
export class OwnTyping {
  readonly #say: (on: boolean) => void;
  readonly #idle: Alarm;
  readonly #pause: Alarm;
  #on = false;
  #said = false;

  constructor(clock: ClientClock, say: (on: boolean) => void) {
    this.#say = say;
    this.#idle = new Alarm(clock);
    this.#pause = new Alarm(clock);
  }

  set(on: boolean): void {
    this.#on = on;
    this.#idle.off();
    if (on) {
      this.#idle.set(IDLE, () => this.set(false));
      if (!this.#pause.on) this.#start();
    } else if (this.#said) {
      this.#said = false;
      this.#say(false);
    }
  }

  /** The connection is gone, or the room: nothing is to be said any more. */
  reset(): void {
    this.#idle.off();
    this.#pause.off();
    this.#said = false;
  }

  #start(): void {
    this.#said = true;
    this.#say(true);
    this.#pause.set(EVERY, () => {
      // Stopped and begun again meanwhile.
      if (this.#on && !this.#said) this.#start();
    });
  }
}

/** Who else types. */
export class Typists {
  readonly #clock: ClientClock;
  readonly #changed: () => void;
  readonly #alarms = new Map<string, Alarm>();
  /** The same array until it changes. */
  list: readonly string[] = [];

  /** `changed` is called after that has changed. */
  constructor(clock: ClientClock, changed: () => void) {
    this.#clock = clock;
    this.#changed = changed;
  }

  /** `user` types for `ttl` ms; with 0 he has stopped. */
  heard(user: string, ttl: number): void {
    const known = this.#alarms.get(user);
    known?.off();
    this.#alarms.delete(user);
    if (ttl > 0) {
      const alarm = known ?? new Alarm(this.#clock);
      alarm.set(ttl, () => this.heard(user, 0));
      this.#alarms.set(user, alarm);
    }
    if (!known === !(ttl > 0)) return;
    this.list = [...this.#alarms.keys()];
    this.#changed();
  }

  /** Nobody is told. */
  clear(): void {
    for (const alarm of this.#alarms.values()) alarm.off();
    this.#alarms.clear();
    this.list = [];
  }
}
