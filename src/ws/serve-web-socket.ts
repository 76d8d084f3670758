import type { IncomingMessage } from 'node:http';
import { systemClock } from '../internal/clock.js';
import { ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { HandlerError, InvalidArgumentError, isRollcallError, LimitError } from '../internal/errors.js';
import { assertFunction, assertOptions, choiceOption, numberOption } from '../internal/validate.js';
import { CloseCode } from '../protocol/close-codes.js';
import { PROTOCOL_VERSION } from '../protocol/frames.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import { TypingService } from '../typing/typing-service.js';
import { HandshakeHooks, type HandshakeRejection } from './handshake-hooks.js';
import { HeartbeatMonitor } from './heartbeat-monitor.js';
import {
  type AuthenticatedUser,
  authenticateRequest,
  type ConnectionRejection,
  readResumePosition,
} from './identity.js';
import type { ServeCloseOptions, ServeOptions, ServeStats, WebSocketIdentity } from './options.js';
import { createRateLimit } from './rate-limit.js';
import { stopTyping } from './request-context.js';
import { WebSocketConnection, type WebSocketConnectionSettings } from './web-socket-connection.js';
import { OPEN, WebSocketPeer } from './web-socket-peer.js';
import type { ServerWebSocketLike, WebSocketServerLike } from './ws-types.js';

/** A WebSocket server, served. */
export interface ServeHandle {
  /** Counters and gauges. */
  stats(): ServeStats;
  /**
   * Ends all connections with "service restart" and accepts no more; resolves when they are detached. The
   * `WebSocketServer` and its HTTP server stay yours to close. Idempotent.
   *
   * @throws `InvalidArgumentError` for an option out of range; nothing is ended then.
   */
  close(options?: ServeCloseOptions): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Attaches every WebSocket of a server to a room service, and lets its clients speak the protocol
 * of docs/protocol.md: join rooms, send, watch, and come back without missing anything.
 *
 * @example
 * ```ts
 * const wss = new WebSocketServer({ server });
 * const serving = serveWebSocket(wss, {
 *   rooms,
 *   authenticate: async (request) => userOf(await session(request)),
 *   authorize: (user, action, subject) =>
 *     ['watch', 'status', 'request'].includes(action) || mayEnter(user, subject),
 * });
 * ```
 * @throws `InvalidArgumentError` for an option out of range.
 */
export function serveWebSocket<User extends WebSocketIdentity = WebSocketIdentity>(
  server: WebSocketServerLike,
  options: ServeOptions<User>,
): ServeHandle {
  if (typeof server?.on !== 'function' || typeof server.options !== 'object' || server.options === null) {
    throw new InvalidArgumentError('server', 'must be a WebSocketServer of ws');
  }
  assertOptions('options', options);
  if (typeof options?.rooms?.attach !== 'function') {
    throw new InvalidArgumentError('rooms', 'must be a RoomService');
  }
  const { onError, rateLimit, rateLimitKey, requests, typing } = options;
  assertFunction('authenticate', options.authenticate);
  assertFunction('authorize', options.authorize);
  if (onError !== undefined) assertFunction('onError', onError);
  if (rateLimit !== undefined) assertFunction('rateLimit.consume', rateLimit?.consume);
  if (rateLimitKey !== undefined) assertFunction('rateLimitKey', rateLimitKey);
  assertOptions('requests', requests);
  for (const [method, handler] of Object.entries(requests ?? {})) {
    assertFunction(`requests.${method}`, handler);
  }
  if (typing !== undefined) {
    assertFunction('typing.start', typing?.start);
    assertFunction('typing.stop', typing?.stop);
  }
  return new RoomWebSocketServer(server, options);
}

class RoomWebSocketServer<User extends WebSocketIdentity> implements ServeHandle {
  readonly #server: WebSocketServerLike;
  readonly #options: ServeOptions<User>;
  readonly #ownTyping: TypingService | undefined;
  readonly #reporter: ErrorReporter;
  readonly #settings: WebSocketConnectionSettings;
  readonly #limits: Readonly<Record<'maxRooms' | 'maxWatched' | 'heartbeatInterval' | 'pongTimeout', number>>;
  readonly #handshakes: HandshakeHooks;
  readonly #heartbeats: HeartbeatMonitor<User>;
  readonly #connections = new Set<WebSocketConnection<User>>();
  /** Who was identified in his handshake already. */
  readonly #known = new WeakMap<IncomingMessage, AuthenticatedUser<User>>();
  readonly #counters = { refused: 0, frames: 0, malformed: 0, limited: 0, silent: 0 };
  #handoff = false;
  #closing: Promise<void> | undefined;

  constructor(server: WebSocketServerLike, options: ServeOptions<User>) {
    const { clock = systemClock, rooms } = options;
    const whole = { min: 1, integer: true };
    this.#limits = {
      maxRooms: numberOption('maxRooms', options.maxRooms, 100, whole),
      maxWatched: numberOption('maxWatched', options.maxWatched, 1_000, whole),
      heartbeatInterval: numberOption('heartbeatInterval', options.heartbeatInterval, 25_000, {
        min: 10,
        max: 3_600_000,
      }),
      pongTimeout: numberOption('pongTimeout', options.pongTimeout, 10_000, { min: 10, max: 3_600_000 }),
    };
    const maxFrameBytes = numberOption('maxFrameBytes', options.maxFrameBytes, 65_536, whole);
    const refuseWith = choiceOption('refuseWith', options.refuseWith, 'close', ['close', 'status']);
    this.#reporter = new ErrorReporter(options.onError);
    const report = (error: unknown) => this.#report(error);
    const { onError } = options;
    if (options.typing === undefined) {
      this.#ownTyping = new TypingService({ rooms, clock, ...(onError === undefined ? {} : { onError }) });
    }
    this.#options = { ...options, typing: options.typing ?? (this.#ownTyping as TypingService) };
    const admit = options.rateLimit && createRateLimit(options.rateLimit, report);
    this.#settings = { clock, consumeRate: admit, report, counters: this.#counters };
    this.#server = server;
    const verify = refuseWith === 'status' ? this.#verify : undefined;
    this.#handshakes = new HandshakeHooks(server, { maxFrameBytes, verify, report });
    this.#heartbeats = new HeartbeatMonitor(this.#connections, {
      ...this.#limits,
      clock,
      counters: this.#counters,
    });
    server.on('connection', this.#onConnection);
  }

  stats(): ServeStats {
    return { connections: this.#connections.size, ...this.#counters };
  }

  async close(options: ServeCloseOptions = {}): Promise<void> {
    assertOptions('options', options);
    const over = numberOption('drain', options?.drainPeriod, 0, { min: 0, max: 3_600_000 });
    this.#closing ??= this.#close(over, options?.handoff === true);
    await this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(over: number, handoff: boolean): Promise<void> {
    const { clock } = this.#settings;
    this.#handoff = handoff;
    await Promise.all(
      Array.from(this.#connections, async (connection) => {
        const ms = over * clock.random();
        if (ms > 0) await new Promise<void>((resolve) => clock.after(ms, resolve));
        connection.close(CloseCode.SERVICE_RESTART, 'service restart', { handoff });
        await connection.done;
      }),
    );
    this.#heartbeats.stop();
    this.#server.off('connection', this.#onConnection);
    this.#handshakes.restore();
    await this.#ownTyping?.close();
  }

  /** Answers a handshake, where that is wished, before there is a connection. */
  readonly #verify = async (request: IncomingMessage): Promise<HandshakeRejection | undefined> => {
    const identified = this.#closing === undefined ? await this.#identify(request) : undefined;
    if (identified !== undefined && 'userId' in identified) {
      this.#known.set(request, identified);
      return undefined;
    }
    this.#counters.refused++;
    return identified?.code === CloseCode.UNAUTHENTICATED
      ? { status: 401, text: 'Unauthorized' }
      : { status: 503, text: 'Service Unavailable', headers: { 'Retry-After': '1' } };
  };

  readonly #onConnection = (socket: ServerWebSocketLike, request: IncomingMessage): void => {
    // What the client does wrong on the level of WebSockets; `close` follows by itself.
    let connection: WebSocketConnection<User> | undefined;
    socket.on('error', () => connection?.fail());
    // Whose server tells of it late, and has missed its end.
    if (socket.readyState !== OPEN) return;
    const peer = new WebSocketPeer(socket, this.#settings.clock);
    const own = new WebSocketConnection<User>(socket, peer, this.#settings);
    connection = own;
    this.#connections.add(own);
    const gone = new Promise<undefined>((resolve) => {
      socket.on('close', () => {
        own.end();
        this.#connections.delete(own);
        resolve(undefined);
      });
    });
    socket.on('message', (data: Buffer, isBinary: boolean) => own.receive(data, isBinary));
    const hear = () => own.markAlive();
    socket.on('pong', hear);
    socket.on('ping', hear);
    const served = this.#attach(request, own, peer, gone)
      // The request is not kept for as long as the connection lasts.
      .then((entered) => entered && this.#serveUntilClosed(own, peer, entered, gone))
      .catch((error: unknown) => {
        this.#report(error);
        own.close(CloseCode.UNAVAILABLE, 'the server failed');
      });
    own.done = Promise.all([served, gone]);
  };

  /** From the handshake until the peer is attached; `undefined` for who is not let in. */
  async #attach(
    request: IncomingMessage,
    connection: WebSocketConnection<User>,
    peer: WebSocketPeer,
    gone: Promise<undefined>,
  ): Promise<AttachedClient<User> | undefined> {
    const refuse = ({ code, reason }: ConnectionRejection) => {
      this.#counters.refused++;
      if (connection.open) connection.close(code, reason);
      return undefined;
    };
    const restart = { code: CloseCode.SERVICE_RESTART, reason: 'service restart' };
    if (this.#closing !== undefined) return refuse(restart);
    // Whoever goes meanwhile is not waited for, and never comes online.
    const identified = this.#known.get(request) ?? (await Promise.race([this.#identify(request), gone]));
    if (identified === undefined || !connection.open) return refuse(restart);
    if ('code' in identified) return refuse(identified);
    const { rooms } = this.#options;
    const { userId, status, meta } = identified;
    const since = readResumePosition(request);
    let socket: RoomSocket;
    try {
      socket = await rooms.attach(peer, {
        userId,
        ...(status === undefined ? {} : { status }),
        ...(meta === undefined ? {} : { meta }),
        ...(since === undefined ? {} : { since }),
      });
    } catch (error) {
      if (error instanceof LimitError) {
        return refuse({ code: CloseCode.TOO_MANY_SOCKETS, reason: 'too many sockets' });
      }
      this.#report(error);
      return refuse({ code: CloseCode.UNAVAILABLE, reason: 'not available now' });
    }
    if (connection.open && this.#closing === undefined) return { known: identified, socket, since };
    await socket.detach({ handoff: this.#handoff });
    return refuse(restart);
  }

  /** From there to the end of the connection. */
  async #serveUntilClosed(
    connection: WebSocketConnection<User>,
    peer: WebSocketPeer,
    entered: AttachedClient<User>,
    gone: Promise<undefined>,
  ): Promise<void> {
    try {
      await this.#serve(connection, peer, entered, gone);
    } finally {
      await entered.socket.detach({ handoff: this.#handoff });
    }
  }

  /** While somebody is there. */
  async #serve(
    connection: WebSocketConnection<User>,
    peer: WebSocketPeer,
    { known, socket, since }: AttachedClient<User>,
    gone: Promise<undefined>,
  ): Promise<void> {
    // If the connection breaks between this frame and what is held back, that has to be asked for again.
    const position = peer.hasHeldFrames ? since : socket.position;
    const { maxRooms, maxWatched, heartbeatInterval } = this.#limits;
    const context = {
      options: this.#options,
      known,
      socket,
      maxRooms,
      maxWatched,
      joining: new Map<string, Promise<unknown>>(),
      watched: new Set<string>(),
      typing: new Set<string>(),
      reading: Promise.resolve(),
    };
    peer.welcome({
      type: 'welcome',
      version: PROTOCOL_VERSION,
      socket: socket.id,
      user: socket.userId,
      ...(position === undefined ? {} : { position }),
      heartbeat: heartbeatInterval,
      maxBytes: this.#handshakes.maxBytes,
    });
    connection.start(context);
    await gone;
    // It would end by itself as well, if later.
    stopTyping(context).catch((error: unknown) => this.#report(error));
  }

  #identify(request: IncomingMessage): Promise<AuthenticatedUser<User> | ConnectionRejection> {
    return authenticateRequest(request, this.#options, (error) => this.#report(error));
  }

  #report(error: unknown): void {
    const told = isRollcallError(error)
      ? error
      : new HandlerError(`a connection's handler failed: ${messageOf(error)}`, { cause: error });
    this.#reporter.report(told, { stage: 'peer' });
  }
}

/** Somebody who was let in. */
interface AttachedClient<User extends WebSocketIdentity> {
  readonly known: AuthenticatedUser<User>;
  readonly socket: RoomSocket;
  /** Where he stood, when he came back. */
  readonly since: string | undefined;
}
