import type { ClientFrame, ErrorFrame, ServerFrame, WelcomeFrame } from '../protocol/frames.js';
import { ClientError } from './client-error.js';
import { parseFrame } from './parse-frame.js';
import { byteLength, type ClientClock, type WebSocketWithEvents } from './platform.js';
import { ResettableTimer } from './resettable-timer.js';

/** How long the answer to `ping` may take, in ms. */
const PONG_TIMEOUT = 10_000;

/** Called once with what became of a request. */
export type ReplyCallback = (error: ClientError | undefined, data?: unknown) => void;

/** Who hears what happens on a connection. */
export interface ClientConnectionEvents {
  welcome(frame: WelcomeFrame): void;
  frame(frame: ServerFrame): void;
  error(error: unknown): void;
  /** It has ended, or has to be given up: `end` is to be called. */
  lost(code: number, reason: string): void;
}

/** One connection, from the WebSocket's making to its end. What comes after `end` is never heard. */
export class ClientConnection {
  readonly #socket: WebSocketWithEvents;
  readonly #clock: ClientClock;
  readonly #events: ClientConnectionEvents;
  readonly #replies = new Map<number | undefined, ReplyCallback>();
  /** Goes off when nothing was heard for too long. */
  readonly #heartbeatTimer: ResettableTimer;
  #id = 0;
  #welcome: WelcomeFrame | undefined;
  #closed = false;
  #lastErrorMessage = '';
  /** When the last frame came, in ms since the epoch. */
  declare lastReceivedAt: number;

  constructor(socket: WebSocketWithEvents, clock: ClientClock, events: ClientConnectionEvents) {
    this.#socket = socket;
    this.#clock = clock;
    this.#events = events;
    this.#heartbeatTimer = new ResettableTimer(clock);
    this.lastReceivedAt = clock.now();
    // Listeners stay for good: a `ws` that is closed while it connects throws where nobody hears its error.
    socket.addEventListener('message', ({ data }: { data: unknown }) => this.#onMessage(data));
    socket.addEventListener('error', ({ message }: { message?: string }) => {
      this.#lastErrorMessage = message ?? '';
    });
    socket.addEventListener('close', ({ code, reason }: { code: number; reason: string }) =>
      this.#lost(code, reason || this.#lastErrorMessage),
    );
  }

  /** Sends a request, given as the JSON of a frame without `id`. `reply` may be called at once. */
  request(body: string, reply: ReplyCallback): void {
    const id = ++this.#id;
    const text = `{"id":${id},${body.slice(1)}`;
    const limit = this.#welcome?.maxBytes ?? 0;
    if (text.length * 3 > limit && byteLength(text) > limit) {
      return reply(new ClientError('TOO_LARGE', 'too long'));
    }
    this.#replies.set(id, reply);
    this.#send(text);
  }

  /** Sends a frame that needs no answer. */
  send(frame: ClientFrame): void {
    this.#send(JSON.stringify(frame));
  }

  /** Asks for a sign of life, and is lost if none comes. */
  probe(): void {
    this.#heartbeatTimer.set(PONG_TIMEOUT, () => this.#lost(1006, 'no sign of life'));
    this.send({ type: 'ping' });
  }

  /** Ends it, telling the server `code`, and all who wait for a reply. */
  close(code: number): void {
    this.#closed = true;
    this.#heartbeatTimer.clear();
    for (const reply of this.#replies.values()) reply(connectionLostError());
    try {
      this.#socket.close(code);
    } catch {
      // It is not listened to any more, whatever state it is in.
    }
  }

  #lost(code: number, reason: string): void {
    if (!this.#closed) this.#events.lost(code, reason);
  }

  #send(text: string): void {
    try {
      this.#socket.send(text);
    } catch (error) {
      // Later, for the caller may be in the middle of sending more.
      queueMicrotask(() => this.#lost(1006, String(error)));
    }
  }

  #onMessage(data: unknown): void {
    if (this.#closed) return;
    this.lastReceivedAt = this.#clock.now();
    try {
      const frame = parseFrame(data);
      if (frame.type === 'welcome') this.#welcome ??= frame;
      if (this.#welcome) this.#heartbeatTimer.set(this.#welcome.heartbeat, () => this.probe());
      this.#dispatch(frame);
    } catch (error) {
      this.#events.error(error);
    }
  }

  #dispatch(frame: ServerFrame): void {
    const error = frame.type === 'error' ? toClientError(frame) : undefined;
    if (error || frame.type === 'ok') {
      const { id, data } = frame as { id?: number; data?: unknown };
      const reply = this.#replies.get(id);
      this.#replies.delete(id);
      if (reply) reply(error, data);
      else if (error) this.#events.error(error);
    } else if (frame === this.#welcome) this.#events.welcome(frame);
    else if (this.#welcome) this.#events.frame(frame);
  }
}

/** The error of a call whose answer will not come any more. */
export function connectionLostError(): ClientError {
  return new ClientError('CONNECTION_LOST', 'the connection broke', { outcome: 'unknown' });
}

function toClientError({ code, message, retryAfter }: ErrorFrame): ClientError {
  const outcome = code === 'INTERNAL' || code === 'UNAVAILABLE' ? 'unknown' : 'failed';
  return new ClientError(code, message, { outcome, retryAfter });
}
