import type { ClientTimer } from './platform.js';
import { createTimer, type TimerSettings } from './timer.js';

/** Minimum interval between two frames, in ms. */
const SEND_INTERVAL = 2_000;
/** In ms without a keystroke. */
const IDLE_TIMEOUT = 3_000;

export function createTypingSender(settings: TimerSettings, send: (on: boolean) => void) {
  const idleTimer = createTimer(settings);
  const intervalTimer = createTimer(settings);
  let typing = false;
  /** The last frame had `on: true`. */
  let sent = false;

  const update = (): void => {
    sent = typing;
    send(typing);
    if (!typing) return;
    intervalTimer.set(SEND_INTERVAL, () => {
      // Stopped and started again within the interval.
      if (typing && !sent) update();
    });
  };
  const set = (on: boolean): void => {
    typing = on;
    idleTimer.clear();
    if (on) idleTimer.set(IDLE_TIMEOUT, () => set(false));
    if (on ? !intervalTimer.isActive() : sent) update();
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

/** `onChange` is called after a change of `list`. */
export function createTypingUsers({ clock }: TimerSettings, onChange: () => void) {
  const timers = new Map<string, ClientTimer>();
  let list: readonly string[] = [];

  /** `ttl` in ms; 0: stopped. */
  const update = (user: string, ttl: number): void => {
    const known = timers.get(user);
    known?.cancel();
    timers.delete(user);
    if (ttl > 0)
      timers.set(
        user,
        clock.after(ttl, () => update(user, 0)),
      );
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
      for (const timer of timers.values()) timer.cancel();
      timers.clear();
      list = [];
    },
  };
}
