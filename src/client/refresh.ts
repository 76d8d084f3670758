import type { ClientFrame, RefreshReply } from '../protocol/frames.js';
import type { ClientError } from './client-error.js';
import type { ClientSettings } from './options.js';
import type { BackoffTimer } from './timer.js';

/** Share of the life of the credentials after which the client sends new ones. */
const REFRESH_AFTER = 0.8;
/** In ms. The URL function may return the same token for a while, with less and less time left. */
const MIN_DELAY = 1_000;

interface RefreshableConnection {
  readonly settings: ClientSettings;
  report(error: unknown): void;
  request(frame: ClientFrame, reply: (error: ClientError | undefined, data?: unknown) => void): void;
}

/** By socket: when its credentials are replaced, by the client's clock. */
const dueTimes = new WeakMap<object, number>();
/** By socket: starts the timer again. */
const schedules = new WeakMap<object, (expiresIn: number | undefined) => void>();

/** Replaces the credentials now. */
export async function refreshNow(
  socket: RefreshableConnection,
  queue: { request(frame: () => ClientFrame, options: object): Promise<unknown> },
): Promise<void> {
  const url = await socket.settings.url();
  const reply = await queue.request(() => ({ type: 'refresh', url }), {});
  schedules.get(socket)?.((reply as RefreshReply | undefined)?.expiresIn);
}

interface ConnectionLifetime {
  /** Cleared when the connection ends. */
  readonly timer: BackoffTimer;
  /** The returned function does nothing after the present connection. */
  during<A extends unknown[]>(task: (...args: A) => void): (...args: A) => void;
}

/**
 * Replaces the credentials of an open connection before they, or a permission, expire, with the query of a new URL. Of several
 * expiries the first counts. After a failure it tries again, until the server closes the connection with `EXPIRED`.
 */
export function scheduleRefresh(
  expiresIn: number | undefined,
  socket: RefreshableConnection,
  { timer, during }: ConnectionLifetime,
): void {
  const { settings, report, request } = socket;
  const { clock } = settings;
  const delayOf = (expiresIn: number): number => Math.max(MIN_DELAY, expiresIn * REFRESH_AFTER);
  const schedule = (expiresIn = 0): void => {
    timer.clear();
    if (!expiresIn) return;
    dueTimes.set(socket, clock.now() + delayOf(expiresIn));
    timer.set(delayOf(expiresIn), refresh);
  };
  const onReply = during((error: ClientError | undefined, data?: unknown) => {
    if (!error) return schedule((data as RefreshReply | undefined)?.expiresIn);
    report(error);
    timer.retry(refresh, error.retryAfter);
  });
  const send = during((url: string) => request({ type: 'refresh', url }, onReply));
  const refresh = (): void => {
    const readUrl = async () => settings.url();
    readUrl().then(send).catch(onReply);
  };
  schedules.set(socket, schedule);
  const due = timer.isActive() ? dueTimes.get(socket) : undefined;
  if (!(Number(due) <= clock.now() + delayOf(Number(expiresIn)))) schedule(expiresIn);
}
