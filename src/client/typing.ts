import type { EventFrame, TypingData } from '../protocol/frames.js';
import type { ClientTimer } from './platform.js';
import type { ReconnectingSocket, ReplyCallback } from './reconnecting-socket.js';
import type { createTimer as CreateTimer } from './timer.js';

/** Minimum interval between two frames, in ms. */
const SEND_INTERVAL = 2_000;
/** In ms without a keystroke. */
const IDLE_TIMEOUT = 3_000;

export type Typing = ReturnType<typeof createTyping>;

/** The typing indicators of a room: those of this user are sent, those of the others are a list. */
export function createTyping(
  room: string,
  socket: ReconnectingSocket,
  /** Imported by the caller: bundlers would otherwise make a third file of it. */
  createTimer: typeof CreateTimer,
  /** The room is joined. */
  joined: () => boolean,
  /** `users`: the others who are typing. */
  onChange: (users: readonly string[]) => void,
) {
  const { settings } = socket;
  const idleTimer = createTimer(settings);
  const intervalTimer = createTimer(settings);
  const retryTimer = createTimer(settings);
  const expiryTimers = new Map<string, ClientTimer>();
  let typing = false;
  /** The last frame had `on: true`. */
  let sent = false;

  const onReply: ReplyCallback = (error) => {
    const isRetryLater = /^(RATE_LIMITED|UNAVAILABLE)$/.test(error?.code ?? '');
    if (error && !isRetryLater) socket.report(error);
    // INTERNAL is temporary, as for a join. An indicator that cannot be removed ends by itself.
    if (typing && (isRetryLater || error?.code === 'INTERNAL')) retryTimer.retry(resume, error?.retryAfter);
    else retryTimer.clear();
  };
  const sendLatest = (): void => {
    sent = typing;
    socket.request({ type: 'typing', room, on: typing }, onReply);
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
    if (joined() && (on ? !intervalTimer.isActive() : sent)) sendLatest();
  };
  /** The room is joined, perhaps again: the keystrokes before count. */
  const resume = (): void => {
    if (typing && joined()) sendLatest();
  };
  /** The connection is lost. */
  const onLost = (): void => {
    intervalTimer.clear();
    retryTimer.clear();
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
    resume,
    onLost,
    receive({ from, data }: EventFrame): void {
      // Their own devices do not show users as typing.
      if (from && from !== socket.welcome()?.user) update(from, (data as TypingData | null)?.ttl ?? 0);
    },
    /** The room is left. Does not call `onChange`. */
    clear(): void {
      onLost();
      idleTimer.clear();
      typing = false;
      for (const timer of expiryTimers.values()) timer.cancel();
      expiryTimers.clear();
    },
  };
}
