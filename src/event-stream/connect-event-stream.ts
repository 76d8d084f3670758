import { assertValid } from '../client/client-error.js';
import { createEmitter } from '../client/emitter.js';
import { onPageEvent, platform, resolveUrl } from '../client/platform.js';
import { createTimer } from '../client/timer.js';
import type { ClientState, EventMap } from '../client/types.js';
import { DISCONNECTED, PROTOCOL_ERROR, shouldReconnect, UNAUTHENTICATED } from '../protocol/close-codes.js';
import { createEventParser, type ParsedEvent } from '../protocol/event-parser.js';
import { type EventStreamClientOptions, resolveSettings } from './options.js';
import type { EventStreamClient, EventStreamClientEvents, StreamDiscontinuity } from './types.js';

/** RFC 6455: closed without a close code. */
const ABNORMAL_CLOSURE = 1006;
/** A connection of this length, in ms, starts the back-off again from `first`. */
const MIN_UPTIME = 5_000;
/** From the call of the URL function until the response's headers, in ms. */
const RESPONSE_TIMEOUT = 15_000;
/** The server or a proxy may answer otherwise soon: request timeout, too early, too many requests. */
const RETRIED_STATUSES = [408, 425, 429];

/**
 * Reads a stream of server-sent events with `fetch`, for example of `rollcall/sse`; returns at once. Unlike
 * EventSource, it sends headers, and reconnects after every failure that can pass: a lost connection, an orderly end,
 * a 5xx status, 408, 425, 429; if `url` or `headers` is a function, also after a first 401. It resumes with
 * `Last-Event-ID`. {@link EventStreamClient.close}, a `$close` that forbids to reconnect, and any other status below
 * 500 end it. `E`: the events, by name.
 *
 * @throws {ClientError} `INVALID` for invalid options.
 */
export function connectEventStream<E extends object = EventMap>(
  options: EventStreamClientOptions,
): EventStreamClient<E> {
  const settings = resolveSettings(options);
  const { clock } = settings;
  // An error thrown by an `error` handler cannot be reported.
  const emitter = createEmitter((error, name) => name !== 'error' && report(error));
  const emit: <K extends keyof EventStreamClientEvents>(name: K, info: EventStreamClientEvents[K]) => void =
    emitter.emit;
  const report = (error: unknown): void => emit('error', error);
  const events = createEmitter(report);
  /** Limits the attempt, the uptime period or the delay before the next attempt: one at a time. */
  const timer = createTimer(settings);
  const silenceTimer = createTimer(settings);
  let state: ClientState = 'waiting';
  let lastEventId = settings.lastEventId;
  /** Of the present attempt or connection. */
  let abort = new AbortController();
  let hasConnected = false;
  /** In a row. */
  let failures = 0;
  /** The status of the attempt before. */
  let was401 = false;
  /** The server's delay before a reconnect, in ms. */
  let serverRetry: number | undefined;
  let lastReceivedAt = 0;
  /** Arrival of the last byte before a gap that is not reported yet, in ms since the epoch. */
  let gapSince: number | undefined;

  const setState = (next: ClientState): void => {
    state = next;
    emit('state', next);
  };

  const connect = (): void => {
    abort = new AbortController();
    const { signal } = abort;
    timer.set(RESPONSE_TIMEOUT, () => disconnect(ABNORMAL_CLOSURE, 'no response'));
    setState('connecting');
    read(signal).catch((error: unknown) => {
      if (!signal.aborted) disconnect(ABNORMAL_CLOSURE, String(error));
    });
  };

  const request = async (signal: AbortSignal): Promise<Response> => {
    // Asynchronous, so that the application can attach handlers before anything fails.
    await undefined;
    let url: string;
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    try {
      url = resolveUrl(await settings.url());
      Object.assign(headers, await settings.headers());
    } catch (error) {
      if (!signal.aborted) report(error);
      throw error;
    }
    // UTF-8, as EventSource sends it; each byte is one character for fetch.
    if (lastEventId) {
      headers['last-event-id'] = String.fromCharCode(...new TextEncoder().encode(lastEventId));
    }
    const { credentials } = settings;
    return settings.fetch(url, { headers, cache: 'no-store', signal, ...(credentials && { credentials }) });
  };

  const read = async (signal: AbortSignal): Promise<void> => {
    const response = await request(signal);
    // A `fetch` of the application's own may ignore the signal.
    if (signal.aborted) return void response.body?.cancel().catch(() => {});
    const { status } = response;
    if (status !== 200) return refuse(response);
    const type = response.headers.get('content-type') ?? 'none';
    if (!/^text\/event-stream\b/i.test(type)) {
      return disconnect(ABNORMAL_CLOSURE, `not an event stream, but ${type}`, { status });
    }
    assertValid(response.body, 'this fetch cannot stream: pass one that can as `fetch`');
    const reader = response.body.getReader();
    // For a `fetch` of the application's own.
    signal.addEventListener('abort', () => void reader.cancel().catch(() => {}));
    const decoder = new TextDecoder();
    const parse = createEventParser({
      onEvent: (event) => {
        if (!signal.aborted) dispatch(event);
      },
      onId: (id) => {
        if (!signal.aborted) lastEventId = id;
      },
      onRetry: (ms) => {
        serverRetry = ms;
      },
    });
    onOpen();
    while (!signal.aborted) {
      const { done, value } = await reader.read();
      if (signal.aborted) return;
      if (done) return disconnect(ABNORMAL_CLOSURE, 'the server has ended the stream');
      onBytes();
      parse(decoder.decode(value, { stream: true }));
    }
  };

  /** For a status other than 200. */
  const refuse = (response: Response): void => {
    const { status } = response;
    const reason = `HTTP status ${status}`;
    const retryAfter = parseRetryAfter(response.headers.get('retry-after'), clock.now());
    response.body?.cancel().catch(() => {});
    // The token may have expired on its way.
    const isFirst401 = status === 401 && settings.isRefreshable && !was401;
    was401 = status === 401;
    if (status >= 500 || RETRIED_STATUSES.includes(status) || isFirst401) {
      return disconnect(ABNORMAL_CLOSURE, reason, { status, retryAfter });
    }
    const code = { 401: UNAUTHENTICATED, 403: DISCONNECTED }[status];
    disconnect(code ?? (status === 204 ? 1000 : PROTOCOL_ERROR), reason, { status });
  };

  const onOpen = (): void => {
    const reconnected = hasConnected;
    hasConnected = true;
    was401 = false;
    state = 'open';
    // Otherwise a client would reconnect without back-off to a server that accepts and ends at once.
    timer.set(MIN_UPTIME, () => {
      failures = 0;
      timer.clear();
    });
    onBytes();
    // A server that resumes by ids leaves no gap.
    if (lastEventId) gapSince = undefined;
    emit('state', state);
    emit('open', { reconnected });
  };

  const onBytes = (): void => {
    lastReceivedAt = clock.now();
    const { silenceTimeout } = settings;
    if (silenceTimeout < Infinity) {
      silenceTimer.set(silenceTimeout, () => disconnect(ABNORMAL_CLOSURE, 'no data from the server'));
    }
  };

  const dispatch = ({ event, data: text, replayed }: ParsedEvent): void => {
    let data: unknown;
    try {
      data = event[0] === '$' ? JSON.parse(text) : settings.parse(text, event);
    } catch (error) {
      return report(error);
    }
    // The server reports for each channel or room what it could not recover.
    if (event === '$ready' || event === '$discontinuity') gapSince = undefined;
    else if (event[0] !== '$') reportGap();
    if (event === '$discontinuity') emit('discontinuity', data as StreamDiscontinuity);
    const context = { event, id: lastEventId, replayed, text };
    if (event !== '*') events.emit(event, data, context);
    if (event[0] !== '$') events.emit('*', data, context);
    if (event !== '$close') return;
    const { code, reason } = data as { code: number; reason: string };
    disconnect(code, reason);
  };

  const reportGap = (): void => {
    const since = gapSince;
    gapSince = undefined;
    if (since) emit('discontinuity', { reason: 'reconnected', since, recovered: false });
  };

  const disconnect = (
    code: number,
    reason: string,
    { status, retryAfter }: { status?: number; retryAfter?: number | undefined } = {},
  ): void => {
    if (state === 'closed') return;
    if (state === 'open') gapSince ??= lastReceivedAt;
    abort.abort();
    silenceTimer.clear();
    const info = { code, reason, ...(status && { status }) };
    if (!shouldReconnect(code)) {
      state = 'closed';
      timer.clear();
      removePageListeners();
      emit('state', state);
      emit('closed', info);
      events.clear();
      return emitter.clear();
    }
    state = 'waiting';
    // The server's delay is for the first attempt; it may be far too short for a server that is down.
    const { delay } = timer.retry(connect, retryAfter ?? (failures ? undefined : serverRetry));
    const attempt = ++failures;
    const { signal } = abort;
    emit('state', state);
    // A handler has reconnected or closed the stream.
    if (signal === abort.signal && state === 'waiting') emit('reconnecting', { ...info, attempt, delay });
  };

  let network = platform.navigator?.connection?.type;
  const removePageListeners = onPageEvent(({ type }) => {
    const present = platform.navigator?.connection?.type;
    const hasMoved = type === 'online' || type === 'pageshow' || network !== present;
    network = present;
    if (type === 'pagehide') {
      // The back/forward cache keeps the page, and with it the connection: the user would stay online.
      disconnect(1001, type);
      timer.clear();
    } else if (type === 'visibilitychange' && platform.document?.hidden) return;
    else if (state === 'waiting') connect();
    // The connection may be dead without an event, and a stream cannot ask the server.
    else if (state === 'open' && hasMoved) {
      disconnect(ABNORMAL_CLOSURE, type);
      connect();
    }
  });
  connect();

  return {
    get state() {
      return state;
    },
    get lastEventId() {
      return lastEventId;
    },
    events: { on: events.on } as EventStreamClient<E>['events'],
    on: emitter.on,
    reconnect(): void {
      if (state === 'waiting') connect();
      else disconnect(ABNORMAL_CLOSURE, 'reconnect');
    },
    close: () => disconnect(1000, 'close'),
  };
}

/** RFC 9110: seconds, or a date. The result is in ms. */
function parseRetryAfter(value: string | null, now: number): number | undefined {
  const ms = /^\d+$/.test(value ?? '') ? Number(value) * 1_000 : Date.parse(value ?? '') - now;
  return ms >= 0 ? ms : undefined;
}
