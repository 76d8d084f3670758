import { createTimer, type ResettableTimer, type TimerSettings } from './timer.js';

/** The user is reported as typing at most once in so many ms. */
const SEND_INTERVAL = 2_000;
/** Without a keystroke for so many ms, the user has stopped typing. */
const IDLE_TIMEOUT = 3_000;

/** Turns keystrokes into as few calls of `send` as possible. */
export function createTypingSender(settings: TimerSettings, send: (on: boolean) => void) {
  const idleTimer = createTimer(settings);
  const intervalTimer = createTimer(settings);
  let typing = false;
  /** The last frame sent had `on: true`. */
  let sent = false;

  const start = (): void => {
    sent = true;
    send(true);
    intervalTimer.set(SEND_INTERVAL, () => {
      // Typing has stopped and started again within the interval.
      if (typing && !sent) start();
    });
  };
  const set = (on: boolean): void => {
    typing = on;
    idleTimer.clear();
    if (on) {
      idleTimer.set(IDLE_TIMEOUT, () => set(false));
      if (!intervalTimer.isActive()) start();
    } else if (sent) {
      sent = false;
      send(false);
    }
  };

  return {
    set,
    /** The connection is lost or the room is left. */
    reset(): void {
      idleTimer.clear();
      intervalTimer.clear();
      sent = false;
    },
  };
}

/** The other users who are typing. `onChange` is called after `list` has changed. */
export function createTypingUsers(settings: TimerSettings, onChange: () => void) {
  const timers = new Map<string, ResettableTimer>();
  let list: readonly string[] = [];

  /** `user` types for `ttl` ms, or has stopped if `ttl` is 0. */
  const update = (user: string, ttl: number): void => {
    const known = timers.get(user);
    known?.clear();
    timers.delete(user);
    if (ttl > 0) {
      const timer = createTimer(settings);
      timer.set(ttl, () => update(user, 0));
      timers.set(user, timer);
    }
    if (!known === !(ttl > 0)) return;
    list = [...timers.keys()];
    onChange();
  };

  return {
    /** The same array until it changes. */
    list: () => list,
    update,
    /** Does not call `onChange`. */
    clear(): void {
      for (const timer of timers.values()) timer.clear();
      timers.clear();
      list = [];
    },
  };
}
