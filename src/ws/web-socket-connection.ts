import type { Clock, Timer } from '../internal/clock.js';
import { HandlerError } from '../internal/errors.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { ClientFrame } from '../protocol/frames.js';
import type { DetachOptions } from '../rooms/options.js';
import type { WebSocketIdentity } from './options.js';
import { type InvalidFrame, parseClientFrame } from './parse-frame.js';
import type { RequestContext } from './request-context.js';
import { RequestError, toErrorFrame } from './request-error.js';
import { assertWithinLimits, authorizeFrame, handleFrame } from './request-handlers.js';
import type { WebSocketPeer } from './web-socket-peer.js';
import type { ServerWebSocketLike } from './ws-types.js';

/** What connections of one server share. */
export interface WebSocketConnectionSettings {
  readonly clock: Clock;
  /** Takes one from what `key` has left; resolves with for how many ms to wait when that is nothing. */
  readonly consumeRate: ((key: string) => Promise<number | undefined>) | undefined;
  readonly report: (error: unknown) => void;
  readonly counters: { frames: number; malformed: number; limited: number };
}

/** Frames, and characters of them, that wait before the connection is read no further. */
const MAX_WAITING = 64;
const MAX_WAITING_LENGTH = 262_144;
/** More than was on its way at the pause, unless it was compressed: so much from so few packets is a flood. */
const MAX_FRAMES = 32_768;
const MAX_LENGTH = 2 * 1_048_576;
/** Requests under way before the next is begun. */
const MAX_RUNNING = 64;
/** Frames that cannot be read before the connection ends. */
const MAX_UNREADABLE = 10;
/** Frames over the rate, in a row, before the connection ends. */
const MAX_LIMITED = 100;
/** Answers that may wait for a client that sends but does not read, in bytes. */
const MAX_UNREAD = 4 * 1_048_576;
/** The longest delay of a timer. */
const MAX_DELAY = 2 ** 31 - 1;

/**
 * What comes in on one connection. Frames are taken one after the other through rate and leave, begun in
 * that order, and answered when they are done. What it holds is bounded, whatever the client does.
 */
export class WebSocketConnection<User extends WebSocketIdentity> {
  readonly #socket: ServerWebSocketLike;
  readonly #peer: WebSocketPeer;
  readonly #settings: WebSocketConnectionSettings;
  /** As they came, for what they say may take many times the memory; `undefined` for one of bytes. */
  readonly #waiting: (string | undefined)[] = [];
  #waitingLength = 0;
  #context: RequestContext<User> | undefined;
  #working = false;
  #paused = false;
  #running = 0;
  #onSlotFree: (() => void) | undefined;
  #unreadable = 0;
  #limited = 0;
  #expiry: Timer | undefined;
  #ended = false;
  /** When something was heard, by the clock's `monotonic`. */
  #heard: number;
  /** When it was pinged, if it was since then. */
  #pinged: number | undefined;
  /** Since when nothing of it can be carried out: until `begin`, and while it is not read. */
  #stalledSince: number;
  /** Resolves when the connection has been served to its end. */
  done: Promise<unknown> = Promise.resolve();

  constructor(socket: ServerWebSocketLike, peer: WebSocketPeer, settings: WebSocketConnectionSettings) {
    this.#socket = socket;
    this.#peer = peer;
    this.#settings = settings;
    this.#heard = settings.clock.monotonic();
    this.#stalledSince = this.#heard;
  }

  /** False once it is closed, or gone. */
  get open(): boolean {
    return !this.#ended && !this.#peer.closed;
  }

  /** Something came, if only a pong. */
  markAlive(): void {
    this.#heard = this.#settings.clock.monotonic();
    this.#pinged = undefined;
  }

  /** A message came. */
  receive(data: Buffer, isBinary: boolean): void {
    this.markAlive();
    if (!this.open) return;
    this.#settings.counters.frames++;
    const text = isBinary ? undefined : data.toString();
    this.#waiting.push(text);
    this.#waitingLength += text?.length ?? 0;
    if (this.#exceeds(MAX_WAITING, MAX_WAITING_LENGTH) && !this.#paused) {
      this.#paused = true;
      this.#stalledSince = this.#heard;
      this.#socket.pause();
    }
    if (this.#exceeds(MAX_FRAMES, MAX_LENGTH)) return this.close(CloseCode.RATE_LIMITED, 'sent too much');
    this.#processQueue();
  }

  /** From now on frames are carried out, for `context`. */
  start(context: RequestContext<User>): void {
    this.#context = context;
    this.#expire(context.known.expiresAt);
    this.#processQueue();
  }

  /** The WebSocket's own rules were broken; `ws` has said so to the client. */
  fail(): void {
    this.#settings.counters.malformed++;
    this.close(CloseCode.PROTOCOL_ERROR, '');
  }

  /** Ends it with a code; what comes from now on is not looked at. */
  close(code: number, reason: string, options: DetachOptions = {}): void {
    this.#clearQueue();
    this.#context?.socket.close(code, reason, options);
    // Where there is no attached socket, or none any more.
    this.#peer.close(code, reason);
  }

  /** Ends it without a word. */
  terminate(): void {
    this.#clearQueue();
    this.#peer.end();
    this.#socket.terminate();
  }

  /** The connection is gone. */
  end(): void {
    this.#ended = true;
    this.#peer.end();
    this.#clearQueue();
    this.#expiry?.cancel();
    this.#onSlotFree?.();
  }

  /** It could not be heard until now. */
  resetHeartbeat(now: number): void {
    if (this.#pinged !== undefined) this.#pinged = now;
    this.#stalledSince = now;
  }

  /** Pings it after `heartbeat` ms of silence; false once that was not answered for `pongTimeout` ms. */
  checkAlive(now: number, heartbeat: number, pongTimeout: number): boolean {
    // What is closed has a deadline of its own.
    if (!this.open || this.#closeIfDetached()) return true;
    if (this.#context === undefined || this.#paused) {
      // What is not read cannot be heard: nor can its end.
      if (now - this.#stalledSince >= heartbeat + pongTimeout) this.#giveUp();
      return true;
    }
    if (this.#pinged !== undefined) return now - this.#pinged < pongTimeout;
    if (now - this.#heard >= heartbeat) {
      this.#pinged = now;
      this.#socket.ping();
    }
    return true;
  }

  /** The application has not answered for as long as a client may be silent. */
  #giveUp(): void {
    const what = this.#context === undefined ? 'authenticate' : 'authorize, or the rate limiter,';
    this.#settings.report(new HandlerError(`${what} has not answered in time`));
    this.close(CloseCode.UNAVAILABLE, 'not available now');
  }

  /** Closes what somebody else has detached: the client is better off on a new connection. */
  #closeIfDetached(): boolean {
    if (this.#context === undefined || this.#context.socket.attached) return false;
    this.close(CloseCode.SERVICE_RESTART, 'detached');
    return true;
  }

  #exceeds(frames: number, length: number): boolean {
    return this.#waiting.length > frames || this.#waitingLength > length;
  }

  #clearQueue(): void {
    this.#waiting.length = 0;
    this.#waitingLength = 0;
  }

  #expire(at: number | undefined): void {
    if (at === undefined) return;
    const { clock } = this.#settings;
    const left = Math.max(0, at - clock.now());
    const then = () => {
      if (left > MAX_DELAY) this.#expire(at);
      else this.close(CloseCode.EXPIRED, 'the credentials have run out');
    };
    this.#expiry = clock.after(Math.min(MAX_DELAY, left), then, { keepAlive: false });
  }

  #processQueue(): void {
    if (this.#working || this.#context === undefined) return;
    this.#working = true;
    void this.#drainQueue(this.#context);
  }

  /** Never rejects. */
  async #drainQueue(context: RequestContext<User>): Promise<void> {
    while (this.#waiting.length > 0 && this.open && !this.#closeIfDetached()) {
      const text = this.#waiting.shift();
      this.#waitingLength -= text?.length ?? 0;
      const frame = parseClientFrame(text);
      try {
        await this.#handleFrame(context, frame);
      } catch (error) {
        this.#sendError(error, frame.id);
      }
      if (this.#paused && this.#waiting.length === 0) {
        this.#paused = false;
        this.markAlive();
        this.#socket.resume();
      }
    }
    // At once: a frame that comes a moment later must find somebody to take it.
    this.#working = false;
  }

  async #handleFrame(context: RequestContext<User>, frame: ClientFrame | InvalidFrame): Promise<void> {
    const { consumeRate: admit, counters } = this.#settings;
    const bad = 'problem' in frame;
    if (bad) counters.malformed++;
    const wait = await admit?.(context.known.rateKey);
    if (wait !== undefined) {
      counters.limited++;
      if (++this.#limited >= MAX_LIMITED) return this.close(CloseCode.RATE_LIMITED, 'sent too much');
      throw new RequestError('RATE_LIMITED', 'too much at once', Math.ceil(wait));
    }
    this.#limited = 0;
    if (bad) {
      if (!frame.readable && ++this.#unreadable >= MAX_UNREADABLE) {
        return this.close(CloseCode.PROTOCOL_ERROR, frame.problem);
      }
      throw new RequestError('INVALID', frame.problem);
    }
    if (frame.type === 'ping') return this.#send({ type: 'pong' });
    assertWithinLimits(context, frame);
    const leave = authorizeFrame(context, frame);
    // Only where it has to be waited for: nothing may come between two frames that are let pass at once.
    if (!(typeof leave === 'boolean' ? leave : await leave)) {
      throw new RequestError('FORBIDDEN', `${frame.type} is not allowed there`);
    }
    if (this.#running >= MAX_RUNNING) await this.#waitForSlot();
    if (this.open && context.socket.attached) void this.#runRequest(context, frame);
  }

  /** Never rejects. */
  async #runRequest(context: RequestContext<User>, frame: ClientFrame): Promise<void> {
    this.#running++;
    const { id, type } = frame;
    try {
      if (type === 'send' || type === 'typing' || type === 'status') {
        context.socket.touch().catch(this.#settings.report);
      }
      const data = await handleFrame(context, frame);
      if (id !== undefined) this.#send({ type: 'ok', id, ...(data === undefined ? {} : { data }) });
    } catch (error) {
      this.#sendError(error, id);
    } finally {
      this.#running--;
      this.#onSlotFree?.();
    }
  }

  /** Resolves when one request less is under way. */
  #waitForSlot(): Promise<void> {
    return new Promise((resolve) => {
      this.#onSlotFree = () => {
        this.#onSlotFree = undefined;
        resolve();
      };
    });
  }

  /** Never throws, whatever the error is. */
  #sendError(error: unknown, id: number | undefined): void {
    const { report } = this.#settings;
    if (!this.open || this.#context?.socket.attached !== true) return;
    try {
      this.#send(toErrorFrame(error, id, report));
    } catch (failure) {
      report(failure);
    }
  }

  #send(frame: Parameters<WebSocketPeer['sendFrame']>[0]): void {
    if (this.#peer.bufferedAmount > MAX_UNREAD)
      return this.close(CloseCode.SLOW_CONSUMER, 'reads too slowly');
    this.#peer.sendFrame(frame);
  }
}
