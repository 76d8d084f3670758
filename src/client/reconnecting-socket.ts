import { shouldReconnect } from '../protocol/close-codes.js';
import {
  type ClientFrame,
  type ErrorFrame,
  type RefreshReply,
  type ServerFrame,
  SUBPROTOCOL,
  type WelcomeFrame,
} from '../protocol/frames.js';
import { assertValid, ClientError } from './client-error.js';
import type { ClientSettings } from './options.js';
import {
  byteLength,
  onPageEvent,
  platform,
  resolveUrl,
  uniqueId,
  type WebSocketConstructor,
  type WebSocketWithEvents,
} from './platform.js';
import type { Recovery } from './recovery.js';
import { createTimer } from './timer.js';
import type { ClientEvents, ClientState, CloseInfo } from './types.js';

/** From the call of the URL function until `welcome`, in ms. */
const WELCOME_TIMEOUT = 10_000;
/**
 * After a connection of this length, in ms, the back-off starts again from `first`. Some proxies cut WebSockets after
 * 10 s.
 */
const MIN_UPTIME = 15_000;
/** Failures in a row, after which the client tries HTTP instead of WebSockets. */
const MAX_FAILURES = 3;
/** In ms. The limit of a ping that only the heartbeat causes. */
const PONG_TIMEOUT = 5_000;
/** In ms. After this time without a reply the client pings. Also the limit of that ping, and of one after a page event. */
const DOUBT_TIMEOUT = 2_000;

/** Not called when the connection is lost first. */
export type ReplyCallback = (error: ClientError | undefined, data?: unknown) => void;

export type EmitClientEvent = <K extends keyof ClientEvents>(name: K, info: ClientEvents[K]) => void;

export interface ReconnectingSocketListener {
  onOpen(welcome: WelcomeFrame, reconnected: boolean): void;
  /** A frame that is neither `welcome` nor a reply. */
  receive(frame: ServerFrame): void;
  /** An error that is no reply; with `room` the server has put this socket out of the room. */
  onError(error: ClientError, room?: string): void;
  /** `lostAt`: arrival of the last frame. */
  onLost(code: number, lostAt: number): void;
  /** The client will not reconnect. */
  onClosed(info: CloseInfo): void;
}

export type ReconnectingSocket = ReturnType<typeof createReconnectingSocket>;

/** One WebSocket after another, as long as the close codes allow. The first `wake` connects. */
export function createReconnectingSocket(
  settings: ClientSettings,
  emit: EmitClientEvent,
  recovery: Recovery,
  listener: ReconnectingSocketListener,
) {
  const { clock } = settings;
  /** The same on each connection. */
  const clientId = uniqueId();
  const replies = new Map<number | undefined, ReplyCallback>();
  /** Limits the attempt, the uptime period or the delay before the next attempt: one at a time. */
  const timer = createTimer(settings);
  /** Runs until the next ping, or until the limit of its reply. */
  const heartbeatTimer = createTimer(settings);
  const refreshTimer = createTimer(settings);
  let state: ClientState = 'waiting';
  let webSocket: WebSocketWithEvents | undefined;
  let welcome: WelcomeFrame | undefined;
  /** Events of an older WebSocket are ignored. */
  let attemptId = 0;
  let requestId = 0;
  let lastReceivedAt = 0;
  /** No frame has arrived since the last ping. */
  let isPinged = false;
  /** Of the last connection or attempt. */
  let lastReason = '';
  let isHttp = false;

  const isOpen = (): boolean => state === 'open';
  /** `closed` is the last event. */
  const report = (error: unknown): void => {
    if (state !== 'closed') emit('error', error);
  };
  /** The returned function does nothing after the present attempt or connection. */
  const duringAttempt = <A extends unknown[]>(task: (...args: A) => void) => {
    const id = attemptId;
    return (...args: A): void => {
      if (id === attemptId) task(...args);
    };
  };

  const connect = (): void => {
    ++attemptId;
    timer.set(WELCOME_TIMEOUT, () => disconnect(1006, 'no reply'));
    state = 'connecting';
    emit('state', state);
    open(duringAttempt(create)).catch(
      duringAttempt((error: unknown) => {
        const fail = duringAttempt(disconnect);
        report(error);
        fail(1006, 'no URL');
      }),
    );
  };

  const open = async (create: (address: string, Socket: WebSocketConstructor) => void): Promise<void> => {
    // Asynchronous, so that the application can attach handlers before anything fails.
    await undefined;
    create(await settings.url(), isHttp ? (await import('./http-socket.js')).HttpSocket : settings.WebSocket);
  };

  const create = (address: string, Socket: WebSocketConstructor): void => {
    let url = resolveUrl(address).replace(/^http/, 'ws');
    url += `${url.includes('?') ? '&' : '?'}client=${clientId}&since=${recovery.resume() ?? ''}`;
    webSocket = new Socket(url, [SUBPROTOCOL]) as WebSocketWithEvents;
    lastReceivedAt = clock.now();
    let lastErrorMessage = '';
    // The listeners stay: `ws` throws when a socket without `error` listener is closed while it connects.
    webSocket.addEventListener('message', duringAttempt(handleMessage));
    webSocket.addEventListener(
      'error',
      duringAttempt(({ message, error }: { message?: string; error?: { code?: string } }) => {
        lastErrorMessage = message || error?.code || '';
        // Node 22's WebSocket reports a failed handshake by `error` alone.
        if (!isOpen()) disconnect(1006, lastErrorMessage);
      }),
    );
    webSocket.addEventListener(
      'close',
      duringAttempt(({ code, reason }: { code: number; reason: string }) =>
        disconnect(code, reason || lastErrorMessage),
      ),
    );
  };

  const handleMessage = ({ data }: { data: unknown }): void => {
    lastReceivedAt = clock.now();
    try {
      // The server is trusted with the types of the members.
      const frame = JSON.parse(data as string) as ServerFrame;
      assertValid(frame?.type, 'no frame');
      // On an open connection it tells of a new user.
      if (frame.type === 'welcome' && frame.heartbeat > 0) {
        const reconnected = !!welcome;
        welcome = frame;
        state = 'open';
        // Otherwise a client would reconnect without back-off to a server that accepts and closes at once.
        timer.set(MIN_UPTIME, timer.clear);
        refreshLater(frame);
        listener.onOpen(frame, reconnected);
      } else if (isOpen()) dispatch(frame);
    } catch (error) {
      report(error);
    }
    if (isOpen()) scheduleHeartbeat();
  };

  /** Of the credentials, or of a permission. */
  const refreshLater = ({ expiresIn }: RefreshReply = {}): void => {
    if (!expiresIn || !settings.refreshes) return;
    const start = duringAttempt((load: typeof import('./refresh.js')) =>
      load.scheduleRefresh(expiresIn, socket, { timer: refreshTimer, during: duringAttempt }),
    );
    import('./refresh.js').then(start).catch(report);
  };

  const dispatch = (frame: ServerFrame): void => {
    const error = frame.type === 'error' ? toClientError(frame) : undefined;
    if (!error && frame.type !== 'ok') return listener.receive(frame);
    const { id, data, room } = frame as { id?: number; data?: unknown; room?: string };
    const reply = replies.get(id);
    replies.delete(id);
    if (reply) reply(error, data);
    else if (error) listener.onError(error, room);
  };

  const scheduleHeartbeat = (): void => {
    isPinged = false;
    heartbeatTimer.set(replies.size ? DOUBT_TIMEOUT : (welcome as WelcomeFrame).heartbeat, ping);
  };

  /** Without a reply the connection is lost. */
  const ping = (timeout = replies.size ? DOUBT_TIMEOUT : PONG_TIMEOUT): void => {
    isPinged = true;
    heartbeatTimer.set(timeout, () => disconnect(1006, 'no reply'));
    send({ type: 'ping' });
  };

  /** @throws {ClientError} `TOO_LARGE` */
  const write = (frame: ClientFrame): void => {
    const text = JSON.stringify(frame);
    if (byteLength(text) > (welcome as WelcomeFrame).maxBytes) throw new ClientError('TOO_LARGE', 'too long');
    try {
      webSocket?.send(text);
    } catch (error) {
      // Asynchronous, because the caller may be about to send more.
      queueMicrotask(duringAttempt(() => disconnect(1006, String(error))));
    }
  };

  /**
   * Without a connection the frame is dropped.
   *
   * @throws {ClientError} `TOO_LARGE`
   */
  const send = (frame: ClientFrame): void => {
    if (isOpen()) write(frame);
  };

  /** `delay`: until the next attempt, instead of the back-off. */
  const disconnect = (code: number, reason: string, delay?: number): void => {
    if (state === 'closed') return;
    const lost = webSocket;
    const wasOpen = isOpen();
    const isFinal = !shouldReconnect(code);
    ++attemptId;
    webSocket = undefined;
    lastReason = `${code} ${reason}`;
    heartbeatTimer.clear();
    refreshTimer.clear();
    replies.clear();
    try {
      // A logout only if it is one.
      lost?.close(isFinal ? 1000 : 4000);
    } catch {
      // Its later events are ignored.
    }
    if (isFinal) {
      state = 'closed';
      timer.clear();
      removePageListeners();
      return listener.onClosed({ code, reason });
    }
    state = 'waiting';
    const retry = timer.retry(connect, delay);
    // After a failed attempt over HTTP, WebSockets have their turn again.
    if (delay === undefined && (isHttp ? !wasOpen : settings.http && retry.attempt % MAX_FAILURES === 0)) {
      isHttp = !isHttp;
    }
    // Each of these calls handlers, which may reconnect or close the client.
    const emitWhileWaiting: EmitClientEvent = duringAttempt(emit);
    if (wasOpen) listener.onLost(code, lastReceivedAt);
    emitWhileWaiting('state', state);
    emitWhileWaiting('reconnecting', { ...retry, code, reason });
  };

  const wake = (): void => {
    if (state === 'waiting') connect();
    // The device has slept or changed its network: the connection may be dead without an event.
    else if (isOpen()) ping(DOUBT_TIMEOUT);
  };

  const removePageListeners = onPageEvent(({ type }) => {
    if (type === 'pagehide') {
      // The back/forward cache keeps the page, and with it the connection: the user would stay online.
      disconnect(1001, type);
      timer.clear();
    } else if (type !== 'visibilitychange' || !platform.document?.hidden) wake();
  });

  const socket = {
    settings,
    emit,
    /** For errors that no caller awaits. */
    report,
    state: () => state,
    isOpen,
    welcome: () => welcome,
    send,
    /** Bytes that wait for the network. */
    buffered: () => webSocket?.bufferedAmount ?? 0,
    /** May call `reply` at once. */
    request(frame: ClientFrame, reply: ReplyCallback): void {
      const id = ++requestId;
      try {
        write({ id, ...frame });
      } catch (error) {
        return reply(error as ClientError);
      }
      replies.set(id, reply);
      if (replies.size === 1 && !isPinged) heartbeatTimer.set(DOUBT_TIMEOUT, ping);
    },
    wake,
    refreshLater,
    /** After the first delay, which is not counted: it is no failure. While waiting, at once. */
    reconnect(): void {
      if (state === 'waiting') connect();
      else disconnect(1006, 'reconnect', settings.random() * settings.first);
    },
    close: () => disconnect(1000, 'close'),
    lastReason: () => lastReason,
    /** Also for calls on a room that was left. */
    closedError: () =>
      new ClientError(
        'CLOSED',
        state === 'closed' ? `the client is closed: ${lastReason}` : 'the room was left',
      ),
  };
  return socket;
}

export type ErrorReason = Pick<ErrorFrame, 'code' | 'message' | 'retryAfter'>;

export function toClientError({ code, message, retryAfter }: ErrorReason): ClientError {
  const outcome = /^(INTERNAL|UNAVAILABLE)$/.test(code) ? 'unknown' : 'failed';
  return new ClientError(code, message, { outcome, retryAfter });
}
