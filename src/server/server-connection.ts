import type { Clock } from '../internal/clock.js';
import { ClosedError, HandlerError } from '../internal/errors.js';
import { CloseCode } from '../protocol/close-codes.js';
import { PROTOCOL_VERSION, type ServerFrame } from '../protocol/frames.js';
import type { DetachOptions, IdentifyOptions } from '../rooms/options.js';
import type { RoomSocket, ServingConnection } from '../rooms/room-socket.js';
import type { ConnectionPeer } from './connection-peer.js';
import { identify, reauthorize } from './identity-change.js';
import type { ConnectionIdentity, RateLimiter } from './options.js';
import { parseClientFrame } from './parse-frame.js';
import { MESSAGE_TOO_BIG, PeerAdapter, type TransportEncoder } from './peer-adapter.js';
import {
  type AttachedClient,
  type RequestConnection,
  RequestContext,
  type RequestSettings,
} from './request-context.js';
import { RequestError } from './request-error.js';
import { handleFrame } from './request-handlers.js';

/** Shared by all connections of a server. */
export interface ConnectionSettings {
  readonly clock: Clock;
  /** In bytes. */
  readonly maxFrameBytes: number;
  /** In ms; for the client. */
  readonly heartbeatInterval: number;
  /** Resolves with the wait in ms if no point was left. */
  readonly consumeRate: ((key: string) => Promise<number | undefined>) | undefined;
  readonly report: (error: unknown) => void;
  readonly counters: { frames: number; malformed: number; limited: number };
  /** Set by the first pong that the transport reports. */
  readonly pongs: { reported: boolean };
  readonly onEnded: (connection: object) => void;
}

interface QueuedChange {
  run(): Promise<void>;
  cancel(error: ClosedError): void;
}

/** Waiting frames, and their characters, before reading pauses. */
const MAX_WAITING = 64;
const MAX_WAITING_LENGTH = 262_144;
/** More than can be in flight at the pause, unless compressed: a flood, which closes the connection. */
const MAX_FRAMES = 32_768;
const MAX_LENGTH = 2 * 1_048_576;
/** Unreadable frames before the connection is closed. */
const MAX_UNREADABLE = 10;
/** Consecutive frames over the rate limit before the connection is closed. */
const MAX_LIMITED = 100;
/**
 * In ms. A browser runs the timers of a hidden page once a minute, so its next ping of the protocol may be that late; it
 * answers pings of the transport at once.
 */
const THROTTLED_TIMER = 60_000;

/**
 * Incoming side of one connection: a bounded queue of frames, which are authorized one after the other, then
 * run concurrently. Memory is bounded, whatever the client sends.
 */
export class ServerConnection<User extends ConnectionIdentity>
  implements RequestConnection, ServingConnection
{
  /** Outgoing side. */
  readonly peer: PeerAdapter;
  readonly #settings: ConnectionSettings;
  /**
   * Unparsed, because a parsed frame may take many times the memory; `undefined`: a binary frame. An idle connection has no
   * queue, because its memory would last as long as the connection.
   */
  #queue: (string | undefined)[] | undefined;
  #queueLength = 0;
  /** Changes of the user, which go before waiting frames. */
  #changes: QueuedChange[] | undefined;
  #context: RequestContext<User> | undefined;
  #processing = false;
  #paused = false;
  #unreadable = 0;
  #limited = 0;
  #ended = false;
  /** Arrival of the last message or pong, by the clock's `monotonic`. */
  #lastReceived: number;
  /** Time of the unanswered ping. */
  #pinged: number | undefined;
  /** End of the last freeze of the process. */
  #resumedAt = 0;
  /** Start of a time without handling frames: before `start`, or while paused. */
  #stalledSince: number;
  /** Ends a wait for the end of the connection. */
  #onEnded: (() => void) | undefined;
  #released = false;
  #done: Promise<void> | undefined;
  #resolveDone: (() => void) | undefined;

  constructor(transport: ConnectionPeer, encoder: TransportEncoder, settings: ConnectionSettings) {
    this.peer = new PeerAdapter(transport, encoder, settings.clock, this);
    this.#settings = settings;
    this.#lastReceived = settings.clock.monotonic();
    this.#stalledSince = this.#lastReceived;
  }

  /** False once closed or ended. */
  get open(): boolean {
    return !this.#ended && !this.peer.closed;
  }

  /** `undefined` before {@link start}. */
  get context(): RequestContext<User> | undefined {
    return this.#context;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Settles as `work`, or resolves with `undefined` if the connection ends first. */
  beforeEnd<T>(work: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      this.#onEnded = () => resolve(undefined);
      void work.then(resolve, reject).finally(() => {
        // `resolve` keeps the result.
        this.#onEnded = undefined;
      });
    });
  }

  /** Resolves when the connection has ended and its socket is detached. */
  whenDone(): Promise<void> {
    if (this.#ended && this.#released) return Promise.resolve();
    this.#done ??= new Promise((resolve) => {
      this.#resolveDone = resolve;
    });
    return this.#done;
  }

  /** The socket is detached, or was not attached. */
  markReleased(): void {
    this.#released = true;
    if (this.#ended) this.#resolveDone?.();
  }

  /** As `authenticate` has returned it last; `undefined` before the connection is attached. */
  get user(): User | undefined {
    return this.#context?.known.user;
  }

  /** For `RoomSocket.identify`, which `onConnect` may call before the context is there. */
  async identify(userId: string, options: IdentifyOptions): Promise<void> {
    await undefined;
    await identify(this.#context as RequestContext<User>, userId, options);
  }

  /** For `RoomSocket.recheck`, as {@link identify}. */
  async recheck(): Promise<void> {
    await undefined;
    await reauthorize(this.#context as RequestContext<User>);
  }

  /** Longest frame of the client, in bytes. */
  get maxFrameBytes(): number {
    return this.#settings.maxFrameBytes;
  }

  /** A message, ping or pong has arrived. */
  markAlive(): void {
    this.#lastReceived = this.#settings.clock.monotonic();
    this.#pinged = undefined;
  }

  /** `undefined` for a binary message. */
  receive(text: string | undefined): void {
    this.markAlive();
    if (!this.open) return;
    const { counters, maxFrameBytes } = this.#settings;
    counters.frames++;
    if (text !== undefined && exceedsBytes(text, maxFrameBytes)) {
      counters.malformed++;
      return this.close(MESSAGE_TOO_BIG, 'the frame is too long');
    }
    this.#queue ??= [];
    this.#queue.push(text);
    this.#queueLength += text?.length ?? 0;
    if (this.#exceeds(MAX_WAITING, MAX_WAITING_LENGTH) && !this.#paused) {
      this.#paused = true;
      this.#stalledSince = this.#lastReceived;
      this.peer.pause();
    }
    if (this.#exceeds(MAX_FRAMES, MAX_LENGTH)) return this.close(CloseCode.RATE_LIMITED, 'sent too much');
    this.#processQueue();
  }

  /** Handles frames that arrived earlier first. */
  start(settings: RequestSettings<User>, client: AttachedClient<User>): void {
    this.#context = new RequestContext(this, settings, client);
    if (!this.#ended) this.#context.setExpiry(client.known.expiresAt);
    this.#processQueue();
  }

  /** The answer to a ping. */
  onPong(data: string): void {
    this.#settings.pongs.reported = true;
    this.markAlive();
    this.peer.onPong(data);
  }

  /** The client broke the protocol of the transport, which may have sent a close frame. */
  fail(): void {
    this.#settings.counters.malformed++;
    this.close(CloseCode.PROTOCOL_ERROR, '');
  }

  /** Later frames are ignored. */
  close(code: number, reason: string, options: DetachOptions = {}): void {
    this.#clearQueue();
    this.#context?.socket.close(code, reason, options);
    // For a connection without an attached socket.
    this.peer.close(code, reason);
  }

  /** Without a closing handshake. */
  terminate(): void {
    this.end();
    try {
      this.peer.terminate();
    } catch (error) {
      this.#settings.report(error);
    }
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.peer.end();
    this.#clearQueue();
    this.#context?.end();
    this.#settings.onEnded(this);
    this.#onEnded?.();
    if (this.#released) this.#resolveDone?.();
  }

  /** The process was frozen until `now`: earlier silence does not count. */
  resetHeartbeat(now: number): void {
    if (this.#pinged !== undefined) this.#pinged = now;
    this.#resumedAt = now;
    this.#stalledSince = now;
  }

  /**
   * False if a ping had no answer for `pongTimeout` ms. On a transport without pings the client must send one itself
   * after `heartbeatInterval` without a frame.
   */
  checkAlive(now: number, heartbeatInterval: number, pongTimeout: number): boolean {
    // Its closing handshake has a deadline.
    if (!this.open || this.#closeIfDetached()) return true;
    if (this.#context === undefined || this.#paused) {
      // While paused, neither pongs nor the end can be seen.
      if (now - this.#stalledSince >= heartbeatInterval + pongTimeout) this.#closeStalled();
      return true;
    }
    if (!this.peer.canPing) {
      const silence = now - Math.max(this.#lastReceived, this.peer.lastSent, this.#resumedAt);
      return silence < heartbeatInterval + pongTimeout + THROTTLED_TIMER;
    }
    if (this.#pinged !== undefined) return now - this.#pinged < pongTimeout;
    if (now - this.#lastReceived >= heartbeatInterval) {
      this.#pinged = now;
      this.peer.ping();
    }
    return true;
  }

  /** A function of the application has not settled for as long as a client may be silent. */
  #closeStalled(): void {
    const pending = this.#context === undefined ? 'authenticate' : 'authorize or the rate limiter';
    this.#settings.report(
      new HandlerError(`${pending} has not settled within heartbeatInterval + pongTimeout`),
    );
    this.close(CloseCode.UNAVAILABLE, 'not available now');
  }

  /** Detached by the application: the client can reconnect. */
  #closeIfDetached(): boolean {
    if (this.#context === undefined || this.#context.socket.attached) return false;
    this.close(CloseCode.SERVICE_RESTART, 'detached');
    return true;
  }

  #exceeds(frames: number, length: number): boolean {
    return (this.#queue?.length ?? 0) > frames || this.#queueLength > length;
  }

  #clearQueue(): void {
    this.#queue = undefined;
    this.#queueLength = 0;
    const changes = this.#changes ?? [];
    this.#changes = undefined;
    for (const { cancel } of changes) cancel(new ClosedError('the connection has ended'));
  }

  betweenFrames(change: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!this.open) throw new ClosedError('the connection has ended');
      this.#changes ??= [];
      this.#changes.push({ run: () => change().then(resolve, reject), cancel: reject });
      // A frame that waits for a slot must not keep the change waiting, whose request may have the last one.
      this.#context?.slots.wake();
      this.#processQueue();
    });
  }

  async runChanges(): Promise<void> {
    for (let next = this.#changes?.shift(); next !== undefined; next = this.#changes?.shift()) {
      await next.run();
    }
  }

  #processQueue(): void {
    if (this.#processing || this.#context === undefined) return;
    this.#processing = true;
    void this.#drainQueue(this.#context);
  }

  /** Never rejects. */
  async #drainQueue(context: RequestContext<User>): Promise<void> {
    while (this.open && !this.#closeIfDetached()) {
      if ((this.#changes?.length ?? 0) > 0) {
        await this.runChanges();
        continue;
      }
      if (this.#queue === undefined) break;
      const text = this.#queue.shift();
      if (this.#queue.length === 0) this.#queue = undefined;
      this.#queueLength -= text?.length ?? 0;
      await this.#handleText(context, text);
      if (this.#paused && this.#queue === undefined) {
        this.#paused = false;
        this.markAlive();
        this.peer.resume();
      }
    }
    // In the turn of the last check: a later frame starts a new drain.
    this.#processing = false;
  }

  /** Never rejects. */
  async #handleText(context: RequestContext<User>, text: string | undefined): Promise<void> {
    const { consumeRate, counters } = this.#settings;
    const frame = parseClientFrame(text);
    const invalid = 'problem' in frame;
    if (invalid) counters.malformed++;
    try {
      // Before the answer to a parse error, so that malformed frames are limited too.
      const wait = await consumeRate?.(context.known.rateKey);
      if (wait !== undefined) {
        counters.limited++;
        if (++this.#limited >= MAX_LIMITED) return this.close(CloseCode.RATE_LIMITED, 'sent too much');
        throw new RequestError('RATE_LIMITED', 'too much at once', Math.ceil(wait));
      }
      this.#limited = 0;
      if (!invalid) return await handleFrame(context, frame);
      if (!frame.readable && ++this.#unreadable >= MAX_UNREADABLE) {
        return this.close(CloseCode.PROTOCOL_ERROR, frame.problem);
      }
      throw new RequestError('INVALID', frame.problem);
    } catch (error) {
      context.sendError(error, frame.id);
    }
  }

  /** The first frame; another one when the user has changed. */
  welcome(socket: RoomSocket, position: string | undefined, expiresAt: number | undefined): ServerFrame {
    const { heartbeatInterval, clock } = this.#settings;
    return {
      type: 'welcome',
      version: PROTOCOL_VERSION,
      socket: socket.id,
      user: socket.userId,
      ...(position === undefined ? {} : { position }),
      heartbeat: heartbeatInterval,
      maxBytes: this.maxFrameBytes,
      ...(expiresAt === undefined ? {} : { expiresIn: Math.max(0, expiresAt - clock.now()) }),
    };
  }
}

function exceedsBytes(text: string, max: number): boolean {
  // A UTF-16 unit has at most three bytes of UTF-8.
  return text.length > max || (text.length * 3 > max && Buffer.byteLength(text) > max);
}

/** In ms, if a limiter rejects without `msBeforeNext`. */
const DEFAULT_RETRY_AFTER = 1_000;

/**
 * Resolves with the wait in ms; `undefined`: the frame may pass. If the limiter fails, every frame passes, so
 * that an outage of its store does not stop the chat.
 */
export function createRateLimit(
  limiter: RateLimiter,
  report: (error: unknown) => void,
): (key: string) => Promise<number | undefined> {
  return async (key) => {
    try {
      await limiter.consume(key);
      return undefined;
    } catch (rejection) {
      if (rejection instanceof Error) {
        report(rejection);
        return undefined;
      }
      const ms = (rejection as { msBeforeNext?: unknown } | undefined)?.msBeforeNext;
      return typeof ms === 'number' && ms >= 0 && ms < Number.POSITIVE_INFINITY ? ms : DEFAULT_RETRY_AFTER;
    }
  };
}
