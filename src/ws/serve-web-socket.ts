import type { IncomingMessage } from 'node:http';
import { systemClock } from '../internal/clock.js';
import { ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { HandlerError, InvalidArgumentError, isRollcallError, LimitError } from '../internal/errors.js';
import { assertFunction, assertOptions, choiceOption, numberOption } from '../internal/validate.js';
import { CloseCode } from '../protocol/close-codes.js';
import { PROTOCOL_VERSION } from '../protocol/frames.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import { TypingService } from '../typing/typing-service.js';
import { Connection, type ConnectionSettings } from './connection.js';
import { Handshakes, type HttpRefusal } from './handshakes.js';
import { Heartbeats } from './heartbeats.js';
import { identify, type Known, type Refusal, sinceOf } from './identity.js';
import type { CloseServingOptions, Identity, ServeOptions, ServingStats } from './options.js';
import { limiting } from './rate-limit.js';
import { stopTyping } from './request-context.js';
import type { WebSocketLike, WebSocketServerLike } from './web-socket.js';
import { OPEN, WebSocketPeer } from './web-socket-peer.js';

/** A WebSocket server, served. */
export interface Serving {
  /** Counters and gauges. */
  stats(): ServingStats;
  /**
   * Ends all connections with "service restart" and accepts no more; resolves when they are detached. The
   * `WebSocketServer` and its HTTP server stay yours to close. Idempotent.
   *
   * @throws `InvalidArgumentError` for an option out of range; nothing is ended then.
   */
  close(options?: CloseServingOptions): Promise<void>;
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
export function serveWebSocket<User extends Identity = Identity>(
  server: WebSocketServerLike,
  options: ServeOptions<User>,
): Serving {
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
  return new Server(server, options);
}

class Server<User extends Identity> implements Serving {
  readonly #server: WebSocketServerLike;
  readonly #options: ServeOptions<User>;
  readonly #ownTyping: TypingService | undefined;
  readonly #reporter: ErrorReporter;
  readonly #settings: ConnectionSettings;
  readonly #limits: Readonly<Record<'maxRooms' | 'maxWatched' | 'heartbeat' | 'pongTimeout', number>>;
  readonly #handshakes: Handshakes;
  readonly #heartbeats: Heartbeats<User>;
  readonly #connections = new Set<Connection<User>>();
  /** Who was identified in his handshake already. */
  readonly #known = new WeakMap<IncomingMessage, Known<User>>();
  readonly #counters = { refused: 0, frames: 0, malformed: 0, limited: 0, silent: 0 };
  #handoff = false;
  #closing: Promise<void> | undefined;

  constructor(server: WebSocketServerLike, options: ServeOptions<User>) {
    const { clock = systemClock, rooms } = options;
    const whole = { min: 1, integer: true };
    this.#limits = {
      maxRooms: numberOption('maxRooms', options.maxRooms, 100, whole),
      maxWatched: numberOption('maxWatched', options.maxWatched, 1_000, whole),
      heartbeat: numberOption('heartbeat', options.heartbeat, 25_000, { min: 10, max: 3_600_000 }),
      pongTimeout: numberOption('pongTimeout', options.pongTimeout, 10_000, { min: 10, max: 3_600_000 }),
    };
    const maxBytes = numberOption('maxBytes', options.maxBytes, 65_536, whole);
    const refuseWith = choiceOption('refuseWith', options.refuseWith, 'close', ['close', 'status']);
    this.#reporter = new ErrorReporter(options.onError);
    const report = (error: unknown) => this.#report(error);
    const { onError } = options;
    if (options.typing === undefined) {
      this.#ownTyping = new TypingService({ rooms, clock, ...(onError === undefined ? {} : { onError }) });
    }
    this.#options = { ...options, typing: options.typing ?? (this.#ownTyping as TypingService) };
    const admit = options.rateLimit && limiting(options.rateLimit, report);
    this.#settings = { clock, admit, report, counters: this.#counters };
    this.#server = server;
    const verify = refuseWith === 'status' ? this.#verify : undefined;
    this.#handshakes = new Handshakes(server, { maxBytes, verify, report });
    this.#heartbeats = new Heartbeats(this.#connections, {
      ...this.#limits,
      clock,
      counters: this.#counters,
    });
    server.on('connection', this.#connected);
  }

  stats(): ServingStats {
    return { connections: this.#connections.size, ...this.#counters };
  }

  async close(options: CloseServingOptions = {}): Promise<void> {
    assertOptions('options', options);
    const over = numberOption('drain', options?.drain, 0, { min: 0, max: 3_600_000 });
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
        connection.close(CloseCode.RESTART, 'service restart', { handoff });
        await connection.done;
      }),
    );
    this.#heartbeats.stop();
    this.#server.off('connection', this.#connected);
    this.#handshakes.restore();
    await this.#ownTyping?.close();
  }

  /** Answers a handshake, where that is wished, before there is a connection. */
  readonly #verify = async (request: IncomingMessage): Promise<HttpRefusal | undefined> => {
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

  readonly #connected = (socket: WebSocketLike, request: IncomingMessage): void => {
    // What the client does wrong on the level of WebSockets; `close` follows by itself.
    let connection: Connection<User> | undefined;
    socket.on('error', () => connection?.fail());
    // Whose server tells of it late, and has missed its end.
    if (socket.readyState !== OPEN) return;
    const peer = new WebSocketPeer(socket, this.#settings.clock);
    const own = new Connection<User>(socket, peer, this.#settings);
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
    const hear = () => own.hear();
    socket.on('pong', hear);
    socket.on('ping', hear);
    const served = this.#enter(request, own, peer, gone)
      // The request is not kept for as long as the connection lasts.
      .then((entered) => entered && this.#stay(own, peer, entered, gone))
      .catch((error: unknown) => {
        this.#report(error);
        own.close(CloseCode.UNAVAILABLE, 'the server failed');
      });
    own.done = Promise.all([served, gone]);
  };

  /** From the handshake until the peer is attached; `undefined` for who is not let in. */
  async #enter(
    request: IncomingMessage,
    connection: Connection<User>,
    peer: WebSocketPeer,
    gone: Promise<undefined>,
  ): Promise<Entered<User> | undefined> {
    const refuse = ({ code, reason }: Refusal) => {
      this.#counters.refused++;
      if (connection.open) connection.close(code, reason);
      return undefined;
    };
    const restart = { code: CloseCode.RESTART, reason: 'service restart' };
    if (this.#closing !== undefined) return refuse(restart);
    // Whoever goes meanwhile is not waited for, and never comes online.
    const identified = this.#known.get(request) ?? (await Promise.race([this.#identify(request), gone]));
    if (identified === undefined || !connection.open) return refuse(restart);
    if ('code' in identified) return refuse(identified);
    const { rooms } = this.#options;
    const { userId, status, meta } = identified;
    const since = sinceOf(request);
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
  async #stay(
    connection: Connection<User>,
    peer: WebSocketPeer,
    entered: Entered<User>,
    gone: Promise<undefined>,
  ): Promise<void> {
    try {
      await this.#converse(connection, peer, entered, gone);
    } finally {
      await entered.socket.detach({ handoff: this.#handoff });
    }
  }

  /** While somebody is there. */
  async #converse(
    connection: Connection<User>,
    peer: WebSocketPeer,
    { known, socket, since }: Entered<User>,
    gone: Promise<undefined>,
  ): Promise<void> {
    // If the connection breaks between this frame and what is held back, that has to be asked for again.
    const position = peer.holds ? since : socket.position;
    const { maxRooms, maxWatched, heartbeat } = this.#limits;
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
      heartbeat,
      maxBytes: this.#handshakes.maxBytes,
    });
    connection.begin(context);
    await gone;
    // It would end by itself as well, if later.
    stopTyping(context).catch((error: unknown) => this.#report(error));
  }

  #identify(request: IncomingMessage): Promise<Known<User> | Refusal> {
    return identify(request, this.#options, (error) => this.#report(error));
  }

  #report(error: unknown): void {
    const told = isRollcallError(error)
      ? error
      : new HandlerError(`a connection's handler failed: ${messageOf(error)}`, { cause: error });
    this.#reporter.report(told, { stage: 'peer' });
  }
}

/** Somebody who was let in. */
interface Entered<User extends Identity> {
  readonly known: Known<User>;
  readonly socket: RoomSocket;
  /** Where he stood, when he came back. */
  readonly since: string | undefined;
}
