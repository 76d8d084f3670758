import type { ClientFrame, ErrorFrame, ServerFrame, WelcomeFrame } from '../protocol/frames.js';
import { Alarm } from './alarm.js';
import { ClientError } from './client-error.js';
import { parse } from './parse.js';
import { byteLength, type ClientClock, type ListenedSocket } from './platform.js';

/** How long the answer to `ping` may take, in ms. */
const PONG_WITHIN = 10_000;

/** Called once with what became of a request. */
export type Reply = (error: ClientError | undefined, data?: unknown) => void;

/** Who hears what happens on a connection. */
export interface LinkEvents {
  welcome(frame: WelcomeFrame): void;
  frame(frame: ServerFrame): void;
  error(error: unknown): void;
  /** It has ended, or has to be given up: `end` is to be called. */
  lost(code: number, reason: string): void;
}

/** One connection, from the WebSocket's making to its end. What comes after `end` is never heard. */
export class Link {
  readonly #socket: ListenedSocket;
  readonly #clock: ClientClock;
  readonly #events: LinkEvents;
  readonly #replies = new Map<number | undefined, Reply>();
  /** Goes off when nothing was heard for too long. */
  readonly #silence: Alarm;
  #id = 0;
  #welcome: WelcomeFrame | undefined;
  #over = false;
  #problem = '';
  /** When the last frame came, in ms since the epoch. */
  declare heardAt: number;

  constructor(socket: ListenedSocket, clock: ClientClock, events: LinkEvents) {
    this.#socket = socket;
    this.#clock = clock;
    this.#events = events;
    this.#silence = new Alarm(clock);
    this.heardAt = clock.now();
    // Listeners stay for good: a `ws` that is closed while it connects throws where nobody hears its error.
    socket.addEventListener('message', ({ data }: { data: unknown }) => this.#hear(data));
    socket.addEventListener('error', ({ message }: { message?: string }) => {
      this.#problem = message ?? '';
    });
    socket.addEventListener('close', ({ code, reason }: { code: number; reason: string }) =>
      this.#lost(code, reason || this.#problem),
    );
  }

  /** Sends a request, given as the JSON of a frame without `id`. `reply` may be called at once. */
  request(body: string, reply: Reply): void {
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
  say(frame: ClientFrame): void {
    this.#send(JSON.stringify(frame));
  }

  /** Asks for a sign of life, and is lost if none comes. */
  probe(): void {
    this.#silence.set(PONG_WITHIN, () => this.#lost(1006, 'no sign of life'));
    this.say({ type: 'ping' });
  }

  /** Ends it, telling the server `code`, and all who wait for a reply. */
  end(code: number): void {
    this.#over = true;
    this.#silence.off();
    for (const reply of this.#replies.values()) reply(connectionLost());
    try {
      this.#socket.close(code);
    } catch {
      // It is not listened to any more, whatever state it is in.
    }
  }

  #lost(code: number, reason: string): void {
    if (!this.#over) this.#events.lost(code, reason);
  }

  #send(text: string): void {
    try {
      this.#socket.send(text);
    } catch (error) {
      // Later, for the caller may be in the middle of sending more.
      queueMicrotask(() => this.#lost(1006, String(error)));
    }
  }

  #hear(data: unknown): void {
    if (this.#over) return;
    this.heardAt = this.#clock.now();
    try {
      const frame = parse(data);
      if (frame.type === 'welcome') this.#welcome ??= frame;
      if (this.#welcome) this.#silence.set(this.#welcome.heartbeat, () => this.probe());
      this.#take(frame);
    } catch (error) {
      this.#events.error(error);
    }
  }

  #take(frame: ServerFrame): void {
    const error = frame.type === 'error' ? toError(frame) : undefined;
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
export function connectionLost(): ClientError {
  return new ClientError('CONNECTION_LOST', 'the connection broke', { outcome: 'unknown' });
}

function toError({ code, message, retryAfter }: ErrorFrame): ClientError {
  const outcome = code === 'INTERNAL' || code === 'UNAVAILABLE' ? 'unknown' : 'failed';
  return new ClientError(code, message, { outcome, retryAfter });
}
