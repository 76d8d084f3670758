import type { IncomingMessage } from 'node:http';
import { clockOption } from '../internal/clock.js';
import { assertErrorListener, ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { HandlerError, InvalidArgumentError, isRollcallError, LimitError } from '../internal/errors.js';
import { assertFunction, assertOptions, choiceOption, numberOption } from '../internal/validate.js';
import { CloseCode } from '../protocol/close-codes.js';
import { PROTOCOL_VERSION } from '../protocol/frames.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import { runInSlices } from '../rooms/task-queue.js';
import { TypingService } from '../typing/typing-service.js';
import { FrameEncoders } from './frame-encoder.js';
import { FrameWriter, OPEN } from './frame-writer.js';
import { HandshakeHooks, type HandshakeRejection } from './handshake-hooks.js';
import { HeartbeatMonitor } from './heartbeat-monitor.js';
import {
  type AuthenticatedUser,
  authenticateRequest,
  type ConnectionRejection,
  readClientId,
  readResumePosition,
} from './identity.js';
import { SERVE_CLOSE_OPTION_NAMES, SERVE_OPTION_NAMES } from './option-names.js';
import type { ServeCloseOptions, ServeOptions, ServeStats, WebSocketIdentity } from './options.js';
import { METHOD } from './parse-frame.js';
import { stopTyping } from './request-context.js';
import {
  createRateLimit,
  WebSocketConnection,
  type WebSocketConnectionSettings,
} from './web-socket-connection.js';
import { WebSocketPeer } from './web-socket-peer.js';
import type { ServerWebSocketLike, WebSocketServerLike } from './ws-types.js';

/** Handle of a served WebSocket server. */
export interface ServeHandle {
  /** Counters and gauges. */
  stats(): ServeStats;
  /**
   * Closes all connections with 1012 (service restart) and accepts no new ones; resolves when all sockets are
   * detached. Does not close the `WebSocketServer` and its HTTP server. Repeated calls return the same promise.
   *
   * @throws `InvalidArgumentError` for an option out of range; no connection is closed.
   */
  close(options?: ServeCloseOptions): Promise<void>;
  /** Calls `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Attaches every WebSocket of a server to a room service, with the protocol of docs/protocol.md. Clients
 * receive the messages they missed when they reconnect.
 *
 * @example
 * ```ts
 * const wss = new WebSocketServer({ server });
 * const serving = serveWebSocket(wss, {
 *   rooms,
 *   authenticate: async (request) => userOf(await session(request)),
 *   authorize: (user, request) => !('room' in request) || mayEnter(user, request.room),
 * });
 * ```
 * @throws `InvalidArgumentError` for an option out of range, and for a server that is served already.
 */
export function serveWebSocket<User extends WebSocketIdentity = WebSocketIdentity>(
  server: WebSocketServerLike,
  options: ServeOptions<User>,
): ServeHandle {
  if (typeof server?.on !== 'function' || typeof server.options !== 'object' || server.options === null) {
    throw new InvalidArgumentError('server', 'must be a WebSocketServer of ws');
  }
  assertOptions('options', options, SERVE_OPTION_NAMES);
  if (typeof options?.rooms?.attach !== 'function') {
    throw new InvalidArgumentError('rooms', 'must be a RoomService: pass the rooms of createRollcall');
  }
  const { onError, rateLimit, rateLimitKey, requests, typing } = options;
  assertFunction('authenticate', options.authenticate);
  assertFunction('authorize', options.authorize);
  assertErrorListener(onError);
  if (rateLimit !== undefined) assertFunction('rateLimit.consume', rateLimit?.consume);
  if (rateLimitKey !== undefined) assertFunction('rateLimitKey', rateLimitKey);
  assertOptions('requests', requests);
  for (const [method, handler] of Object.entries(requests ?? {})) {
    assertFunction(`requests.${method}`, handler);
    if (!METHOD.test(method)) {
      throw new InvalidArgumentError(
        `requests[${JSON.stringify(method)}]`,
        'is no name that a client can call: use 1 to 64 letters, digits or any of "_ . : -"',
      );
    }
  }
  if (typing !== undefined) {
    assertFunction('typing.start', typing?.start);
    assertFunction('typing.stop', typing?.stop);
  }
  if (served.has(server)) {
    throw new InvalidArgumentError(
      'server',
      'is being served already: close the first handle, or use another server',
    );
  }
  return new RoomWebSocketServer(server, options);
}

/** On the global object, so that all copies of the package in one process share it. */
const SERVED = Symbol.for('rollcall.servedWebSocketServers');
const registry = globalThis as { [SERVED]?: WeakSet<object> };
registry[SERVED] ??= new WeakSet();
/** A second handler would answer every frame twice. */
const served = registry[SERVED];

class RoomWebSocketServer<User extends WebSocketIdentity> implements ServeHandle {
  readonly #server: WebSocketServerLike;
  readonly #options: ServeOptions<User>;
  readonly #ownTyping: TypingService | undefined;
  readonly #reporter: ErrorReporter;
  readonly #settings: WebSocketConnectionSettings;
  readonly #limits: Readonly<Record<'maxRooms' | 'maxWatched' | 'heartbeatInterval' | 'pongTimeout', number>>;
  readonly #handshakes: HandshakeHooks;
  readonly #encoders: FrameEncoders;
  readonly #heartbeats: HeartbeatMonitor<User>;
  readonly #connections = new Set<WebSocketConnection<User>>();
  /** Users authenticated before the upgrade. */
  readonly #authenticated = new WeakMap<IncomingMessage, AuthenticatedUser<User>>();
  readonly #counters = { refused: 0, frames: 0, malformed: 0, limited: 0, silent: 0 };
  #handoff = false;
  #closing: Promise<void> | undefined;

  constructor(server: WebSocketServerLike, options: ServeOptions<User>) {
    const { rooms } = options;
    const clock = clockOption(options.clock);
    const whole = { min: 1, integer: true };
    this.#limits = {
      maxRooms: numberOption('maxRooms', options.maxRooms, 100, whole),
      maxWatched: numberOption('maxWatched', options.maxWatched, 1_000, whole),
      heartbeatInterval: numberOption('heartbeatInterval', options.heartbeatInterval, 25_000, {
        unit: 'ms',
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
    const consumeRate = options.rateLimit && createRateLimit(options.rateLimit, report);
    this.#settings = { clock, consumeRate, report, counters: this.#counters };
    this.#server = server;
    this.#encoders = new FrameEncoders(server);
    const verify = refuseWith === 'status' ? this.#verify : undefined;
    this.#handshakes = new HandshakeHooks(server, { maxFrameBytes, verify, report });
    this.#heartbeats = new HeartbeatMonitor(this.#connections, {
      ...this.#limits,
      clock,
      counters: this.#counters,
    });
    server.on('connection', this.#onConnection);
    served.add(server);
  }

  stats(): ServeStats {
    return { connections: this.#connections.size, ...this.#counters };
  }

  async close(options: ServeCloseOptions = {}): Promise<void> {
    assertOptions('options', options, SERVE_CLOSE_OPTION_NAMES);
    const drainPeriod = numberOption('drainPeriod', options?.drainPeriod, 0, {
      unit: 'ms',
      min: 0,
      max: 3_600_000,
    });
    this.#closing ??= this.#close(drainPeriod, options?.handoff === true);
    await this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(drainPeriod: number, handoff: boolean): Promise<void> {
    const { clock } = this.#settings;
    this.#handoff = handoff;
    await runInSlices([...this.#connections], async (connection) => {
      const ms = drainPeriod * clock.random();
      if (ms > 0) await new Promise<void>((resolve) => clock.after(ms, resolve));
      connection.close(CloseCode.SERVICE_RESTART, 'service restart', { handoff });
      await connection.done;
    });
    this.#heartbeats.stop();
    this.#server.off('connection', this.#onConnection);
    this.#handshakes.restore();
    served.delete(this.#server);
    await this.#ownTyping?.close();
  }

  /** Runs before the upgrade, with `refuseWith: 'status'`. */
  readonly #verify = async (request: IncomingMessage): Promise<HandshakeRejection | undefined> => {
    const result = this.#closing === undefined ? await this.#authenticate(request) : undefined;
    if (result !== undefined && 'userId' in result) {
      this.#authenticated.set(request, result);
      return undefined;
    }
    this.#counters.refused++;
    return result?.code === CloseCode.UNAUTHENTICATED || result?.code === CloseCode.EXPIRED
      ? { status: 401, text: 'Unauthorized' }
      : { status: 503, text: 'Service Unavailable', headers: { 'Retry-After': '1' } };
  };

  readonly #onConnection = (socket: ServerWebSocketLike, request: IncomingMessage): void => {
    // `ws` emits `error` when the client breaks the protocol; `close` follows.
    let connection: WebSocketConnection<User> | undefined;
    socket.on('error', () => connection?.fail());
    // The connection may have ended: `close` would not follow.
    if (socket.readyState !== OPEN) return;
    const writer = FrameWriter.create(socket, request, this.#encoders.for(socket, request));
    const peer = new WebSocketPeer(socket, this.#settings.clock, writer);
    const created = new WebSocketConnection<User>(socket, peer, this.#settings);
    connection = created;
    this.#connections.add(created);
    const ended = new Promise<undefined>((resolve) => {
      socket.on('close', () => {
        created.end();
        this.#connections.delete(created);
        resolve(undefined);
      });
    });
    socket.on('message', (data: Buffer, isBinary: boolean) => created.receive(data, isBinary));
    const markAlive = () => created.markAlive();
    socket.on('pong', markAlive);
    socket.on('ping', markAlive);
    const served = this.#attach(request, created, peer, ended)
      // A callback of its own, so that `request` can be collected.
      .then((client) => client && this.#serveUntilClosed(created, peer, client, ended))
      .catch((error: unknown) => {
        this.#report(error);
        created.close(CloseCode.UNAVAILABLE, 'the server failed');
      });
    created.done = Promise.all([served, ended]);
  };

  /** Resolves with `undefined` if the connection was rejected. */
  async #attach(
    request: IncomingMessage,
    connection: WebSocketConnection<User>,
    peer: WebSocketPeer,
    ended: Promise<undefined>,
  ): Promise<AttachedClient<User> | undefined> {
    const reject = ({ code, reason }: ConnectionRejection) => {
      this.#counters.refused++;
      if (connection.open) connection.close(code, reason);
      return undefined;
    };
    const restart = { code: CloseCode.SERVICE_RESTART, reason: 'service restart' };
    if (this.#closing !== undefined) return reject(restart);
    // A client that disconnects during `authenticate` never comes online.
    const known =
      this.#authenticated.get(request) ?? (await Promise.race([this.#authenticate(request), ended]));
    if (known === undefined || !connection.open) return reject(restart);
    if ('code' in known) return reject(known);
    const { rooms } = this.#options;
    const { userId, status, meta } = known;
    const since = readResumePosition(request);
    const clientId = readClientId(request);
    let socket: RoomSocket;
    try {
      socket = await rooms.attach(peer, {
        userId,
        ...(status === undefined ? {} : { status }),
        ...(meta === undefined ? {} : { meta }),
        ...(since === undefined ? {} : { since }),
        ...(clientId === undefined ? {} : { clientId }),
      });
    } catch (error) {
      if (error instanceof LimitError) {
        // With `retryAfter`, some sockets may belong to a dead process: the client must try again.
        const code = error.retryAfter === undefined ? CloseCode.TOO_MANY_SOCKETS : CloseCode.UNAVAILABLE;
        return reject({ code, reason: 'too many sockets' });
      }
      this.#report(error);
      return reject({ code: CloseCode.UNAVAILABLE, reason: 'not available now' });
    }
    if (connection.open && this.#closing === undefined) return { known, socket, since };
    await socket.detach({ handoff: this.#handoff });
    return reject(restart);
  }

  async #serveUntilClosed(
    connection: WebSocketConnection<User>,
    peer: WebSocketPeer,
    client: AttachedClient<User>,
    ended: Promise<undefined>,
  ): Promise<void> {
    try {
      await this.#serve(connection, peer, client, ended);
    } finally {
      await client.socket.detach({ handoff: this.#handoff });
    }
  }

  /** Resolves when the connection has ended. */
  async #serve(
    connection: WebSocketConnection<User>,
    peer: WebSocketPeer,
    { known, socket, since }: AttachedClient<User>,
    ended: Promise<undefined>,
  ): Promise<void> {
    // Held messages may not be received: the client may disconnect first.
    const position = peer.hasHeldFrames ? since : socket.position;
    const { maxRooms, maxWatched, heartbeatInterval } = this.#limits;
    peer.welcome({
      type: 'welcome',
      version: PROTOCOL_VERSION,
      socket: socket.id,
      user: socket.userId,
      ...(position === undefined ? {} : { position }),
      heartbeat: heartbeatInterval,
      maxBytes: this.#handshakes.maxBytes,
    });
    const context = connection.start({
      options: this.#options,
      known,
      socket,
      maxRooms,
      maxWatched,
      joining: new Map<string, Promise<unknown>>(),
      watched: new Set<string>(),
      typing: new Set<string>(),
      lastHistoryRead: Promise.resolve(),
    });
    await ended;
    // Not awaited: on failure, typing expires after its `ttl`.
    stopTyping(context).catch((error: unknown) => this.#report(error));
  }

  #authenticate(request: IncomingMessage): Promise<AuthenticatedUser<User> | ConnectionRejection> {
    return authenticateRequest(
      request,
      this.#options,
      (error) => this.#report(error),
      () => this.#settings.clock.now(),
    );
  }

  #report(error: unknown): void {
    const reported = isRollcallError(error)
      ? error
      : new HandlerError(`a connection's handler failed: ${messageOf(error)}`, { cause: error });
    this.#reporter.report(reported, { stage: 'peer' });
  }
}

interface AttachedClient<User extends WebSocketIdentity> {
  readonly known: AuthenticatedUser<User>;
  readonly socket: RoomSocket;
  /** The last position of a client that has reconnected. */
  readonly since: string | undefined;
}
