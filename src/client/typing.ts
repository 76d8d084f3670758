import type { ClientTimer } from './platform.js';
import type { createTimer as CreateTimer, TimerSettings } from './timer.js';

/** Minimum interval between two frames, in ms. */
const SEND_INTERVAL = 2_000;
/** In ms without a keystroke. */
const IDLE_TIMEOUT = 3_000;

export type Typing = ReturnType<typeof createTyping>;

/**
 * The typing indicators of a room: those of this user are sent with `send`, those of the others are a list.
 * `onChange` is called with each new list.
 */
export function createTyping(
  settings: TimerSettings,
  /** Imported by the caller: bundlers would otherwise make a third file of it. */
  createTimer: typeof CreateTimer,
  send: (on: boolean) => void,
  onChange: (users: readonly string[]) => void,
) {
  const idleTimer = createTimer(settings);
  const intervalTimer = createTimer(settings);
  const expiryTimers = new Map<string, ClientTimer>();
  let typing = false;
  /** The last frame had `on: true`. */
  let sent = false;

  const sendLatest = (): void => {
    sent = typing;
    send(typing);
    if (!typing) return;
    intervalTimer.set(SEND_INTERVAL, () => {
      // Stopped and started again within the interval.
      if (typing && !sent) sendLatest();
    });
  };
  const set = (on: boolean): void => {
    typing = on;
    idleTimer.clear();
    if (on) idleTimer.set(IDLE_TIMEOUT, () => set(false));
    if (on ? !intervalTimer.isActive() : sent) sendLatest();
  };
  /** The connection is lost. */
  const stop = (): void => {
    idleTimer.clear();
    intervalTimer.clear();
    sent = false;
  };

  /** `ttl` in ms; 0: stopped. */
  const update = (user: string, ttl: number): void => {
    const known = expiryTimers.get(user);
    known?.cancel();
    expiryTimers.delete(user);
    if (ttl > 0) {
      expiryTimers.set(
        user,
        settings.clock.after(ttl, () => update(user, 0)),
      );
    }
    if (!known !== !(ttl > 0)) onChange([...expiryTimers.keys()]);
  };

  return {
    set,
    stop,
    update,
    /** The room is left. Does not call `onChange`. */
    clear(): void {
      stop();
      for (const timer of expiryTimers.values()) timer.cancel();
      expiryTimers.clear();
    },
  };
}
