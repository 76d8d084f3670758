import { clockOption, sleep, withTimeout } from '../internal/clock.js';
import { ErrorReporter, isThenable, messageOf } from '../internal/diagnostics.js';
import { HandlerError, isRollcallError, LimitError } from '../internal/errors.js';
import { runInSlices } from '../internal/promises.js';
import { assertOptions, choiceOption, numberOption } from '../internal/validate.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import { TypingService } from '../typing/typing-service.js';
import type { ConnectionPeer } from './connection-peer.js';
import { type Handshake, type HandshakeRejection, selectSubprotocol } from './handshake.js';
import { HeartbeatMonitor } from './heartbeat-monitor.js';
import {
  type AuthenticatedUser,
  authenticateRequest,
  type ConnectionRejection,
  copyWithQuery,
  readClientId,
  readResumePosition,
} from './identity.js';
import { SERVE_CLOSE_OPTION_NAMES } from './option-names.js';
import type {
  ConnectionHandlerOptions,
  ConnectionIdentity,
  HandshakeRequest,
  ServeCloseOptions,
  ServeStats,
} from './options.js';
import { plainEncoder, type TransportEncoder } from './peer-adapter.js';
import {
  type AttachedClient,
  type Credentials,
  type RequestContext,
  type RequestSettings,
  stopTyping,
} from './request-context.js';
import { type ConnectionSettings, createRateLimit, ServerConnection } from './server-connection.js';
import {
  isShared,
  SharedConnection,
  TAB_PREFIX_BYTES,
  type TransportConnection,
} from './shared-connection.js';

/** From handshakes to the end of all connections. The options' functions were checked before. */
export class ConnectionServer<User extends ConnectionIdentity, R extends HandshakeRequest> {
  readonly #options: ConnectionHandlerOptions<User, R>;
  readonly #ownTyping: TypingService | undefined;
  readonly #reporter: ErrorReporter;
  readonly #settings: ConnectionSettings;
  readonly #requestSettings: RequestSettings<User>;
  readonly #limits: Readonly<Record<'heartbeatInterval' | 'pongTimeout', number>>;
  readonly #rejectsWithStatus: boolean;
  readonly #heartbeats: HeartbeatMonitor<User>;
  readonly #connections = new Set<ServerConnection<User>>();
  /** Of handshakes that `upgrade` has answered. */
  readonly #admissions = new WeakMap<Handshake<R>, Admission<User>>();
  /** Of such handshakes that ask for a shared connection: make the requests of later tabs. */
  readonly #copiesForTabs = new WeakMap<Handshake<R>, (url: string) => R>();
  readonly #counters = { refused: 0, frames: 0, malformed: 0, limited: 0, silent: 0 };
  #handoff = false;
  #closing: Promise<void> | undefined;

  /** @throws {@link InvalidArgumentError} for a number or choice out of range. */
  constructor(options: ConnectionHandlerOptions<User, R>) {
    const { rooms } = options;
    const clock = clockOption(options.clock);
    const whole = { min: 1, integer: true };
    const maxRooms = numberOption('maxRooms', options.maxRooms, 100, whole);
    const maxWatched = numberOption('maxWatched', options.maxWatched, 1_000, whole);
    this.#limits = {
      heartbeatInterval: numberOption('heartbeatInterval', options.heartbeatInterval, 25_000, {
        unit: 'ms',
        min: 10,
        max: 3_600_000,
      }),
      pongTimeout: numberOption('pongTimeout', options.pongTimeout, 10_000, { min: 10, max: 3_600_000 }),
    };
    const maxFrameBytes = numberOption('maxFrameBytes', options.maxFrameBytes, 65_536, whole);
    this.#rejectsWithStatus =
      choiceOption('refuseWith', options.refuseWith, 'close', ['close', 'status']) === 'status';
    this.#reporter = new ErrorReporter(options.onError);
    const report = (error: unknown) => this.report(error);
    const { onError } = options;
    if (options.typing === undefined) {
      this.#ownTyping = new TypingService({ rooms, clock, ...(onError === undefined ? {} : { onError }) });
    }
    this.#options = { ...options, typing: options.typing ?? (this.#ownTyping as TypingService) };
    const consumeRate = options.rateLimit && createRateLimit(options.rateLimit, report);
    this.#requestSettings = {
      options: this.#options,
      identityChange: options.identityChange === true,
      maxRooms,
      maxWatched,
      clock,
      report,
    };
    const onEnded = (connection: object) => this.#onEnded(connection as ServerConnection<User>);
    const shared = { clock, report, counters: this.#counters, pongs: { reported: false } };
    const { heartbeatInterval } = this.#limits;
    this.#settings = { ...shared, maxFrameBytes, heartbeatInterval, consumeRate, onEnded };
    this.#heartbeats = new HeartbeatMonitor(this.#connections, { ...this.#limits, ...shared });
  }

  stats(): ServeStats {
    return { connections: this.#connections.size, ...this.#counters };
  }

  /** Authenticates now: some servers release the request when they upgrade its connection. Never rejects. */
  async upgrade(request: R): Promise<Handshake<R>> {
    const protocol = selectSubprotocol(request);
    const copyForTabs = isShared(request) ? copyWithQuery(request) : undefined;
    const handshake: Handshake<R> = {
      request,
      protocol,
      headers: protocol === undefined ? {} : { 'Sec-WebSocket-Protocol': protocol },
    };
    const admission = this.#closing === undefined ? await this.#admitInTime(request) : RESTARTING;
    if (this.#rejectsWithStatus && 'code' in admission.result) {
      this.#counters.refused++;
      return { ...handshake, rejection: toHttpRejection(admission.result) };
    }
    this.#admissions.set(handshake, admission);
    if (copyForTabs !== undefined) this.#copiesForTabs.set(handshake, copyForTabs);
    return handshake;
  }

  /**
   * The caller ends the connection when its transport does. `begin`: authenticates and attaches; some transports report
   * the end of a connection that is refused within this call.
   */
  add(transport: ConnectionPeer, encoder: TransportEncoder, handshake: Handshake<R>): AddedConnection {
    // The request may be released after `upgrade`.
    const copy = this.#admissions.has(handshake)
      ? this.#copiesForTabs.get(handshake)
      : isShared(handshake.request) && copyWithQuery(handshake.request);
    if (copy) return this.#addShared(transport, encoder, handshake, copy);
    const connection = this.#add(transport, encoder, this.#settings);
    return { connection, begin: () => this.#serve(connection, handshake) };
  }

  #add(
    transport: ConnectionPeer,
    encoder: TransportEncoder,
    settings: ConnectionSettings,
  ): ServerConnection<User> {
    const connection = new ServerConnection<User>(transport, encoder, settings);
    this.#connections.add(connection);
    return connection;
  }

  #addShared(
    transport: ConnectionPeer,
    encoder: TransportEncoder,
    handshake: Handshake<R>,
    copy: (url: string) => R,
  ): AddedConnection {
    const maxFrameBytes = Math.max(1, this.#settings.maxFrameBytes - TAB_PREFIX_BYTES);
    const settings = { ...this.#settings, maxFrameBytes };
    const shared = new SharedConnection(transport, encoder, settings, (tab, url, onConnection) => {
      const connection = this.#add(tab, plainEncoder, settings);
      onConnection(connection);
      this.#serve(connection, url === undefined ? handshake : { request: copy(url) });
      return connection.whenDone();
    });
    return { connection: shared, begin: () => shared.start() };
  }

  #serve(connection: ServerConnection<User>, handshake: Handshake<R>): void {
    // Nothing waits for the end of the connection: a pending promise and its functions would take about 2 KB.
    this.#attach(handshake, connection)
      .then((client) => this.#start(connection, client))
      .catch((error: unknown) => {
        this.report(error);
        connection.close(CloseCode.UNAVAILABLE, 'the server failed');
        connection.markReleased();
      });
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

  report(error: unknown): void {
    const reported = isRollcallError(error)
      ? error
      : new HandlerError(`a connection's handler failed: ${messageOf(error)}`, { cause: error });
    this.#reporter.report(reported, { stage: 'peer' });
  }

  async #close(drainPeriod: number, handoff: boolean): Promise<void> {
    const { clock } = this.#settings;
    this.#handoff = handoff;
    await runInSlices([...this.#connections], async (connection) => {
      const ms = drainPeriod * clock.random();
      if (ms > 0) await sleep(clock, ms);
      connection.close(CloseCode.SERVICE_RESTART, 'service restart', { handoff });
      await connection.whenDone();
    });
    this.#heartbeats.stop();
    await this.#ownTyping?.close();
  }

  /** Resolves with `undefined` if the connection was rejected. */
  async #attach(
    handshake: Handshake<R>,
    connection: ServerConnection<User>,
  ): Promise<ConnectedClient<User> | undefined> {
    const reject = ({ code, reason }: ConnectionRejection) => {
      this.#counters.refused++;
      if (connection.open) connection.close(code, reason);
      return undefined;
    };
    if (this.#closing !== undefined) return reject(RESTARTING.result);
    // A client that disconnects during `authenticate` never comes online.
    const admission =
      this.#admissions.get(handshake) ?? (await connection.beforeEnd(this.#admit(handshake.request)));
    if (admission === undefined || !connection.open) return reject(RESTARTING.result);
    const { result: known, since, clientId, credentials } = admission;
    if ('code' in known) return reject(known);
    const { rooms, visible } = this.#options;
    const { userId, status, meta } = known;
    let socket: RoomSocket;
    try {
      socket = await rooms.attach(connection.peer, {
        userId,
        ...(status === undefined ? {} : { status }),
        ...(meta === undefined ? {} : { meta }),
        ...(since === undefined ? {} : { since }),
        ...(clientId === undefined ? {} : { clientId }),
        // The user changes with `refresh`.
        ...(visible && { visible: (subject) => visible(connection.user ?? known.user, subject) }),
      });
    } catch (error) {
      if (error instanceof LimitError) {
        // With `retryAfter`, some sockets may belong to a dead process: the client must try again.
        const code = error.retryAfter === undefined ? CloseCode.TOO_MANY_SOCKETS : CloseCode.UNAVAILABLE;
        return reject({ code, reason: 'too many sockets' });
      }
      this.report(error);
      return reject({ code: CloseCode.UNAVAILABLE, reason: 'not available now' });
    }
    if (connection.open && this.#closing === undefined) return { known, socket, since, credentials };
    await socket.detach({ handoff: this.#handoff });
    return reject(RESTARTING.result);
  }

  /** Without a client the connection was rejected. */
  async #start(connection: ServerConnection<User>, client: ConnectedClient<User> | undefined): Promise<void> {
    if (client === undefined) return connection.markReleased();
    const { known, socket, since } = client;
    try {
      const { peer } = connection;
      // Held messages may not be received: the client may disconnect first.
      const position = peer.hasHeldFrames ? since : socket.position;
      peer.welcome(connection.welcome(socket, position, known.expiresAt));
      socket.serve(connection);
      this.#callHook(this.#options.onConnect, socket, known.user);
    } catch (error) {
      await socket.detach({ handoff: this.#handoff });
      throw error;
    }
    // If it ends from now on, the connection itself reports it.
    const endedBefore = connection.ended;
    connection.start(this.#requestSettings, client);
    if (endedBefore) this.#onEnded(connection);
  }

  #onEnded(connection: ServerConnection<User>): void {
    this.#connections.delete(connection);
    const { context } = connection;
    if (context !== undefined) context.runInContext(() => this.#release(connection, context));
  }

  async #release(connection: ServerConnection<User>, context: RequestContext<User>): Promise<void> {
    const { socket } = context;
    // Not while the transport reports the end.
    await undefined;
    this.#callHook(this.#options.onDisconnect, socket, context.known.user);
    // Not awaited: on failure, typing expires after its `ttl`.
    stopTyping(context, socket.userId).catch((error: unknown) => this.report(error));
    await socket.detach({ handoff: this.#handoff });
    connection.markReleased();
  }

  /** Never throws: the connection does not depend on it. */
  #callHook(
    hook: ((socket: RoomSocket, user: User) => unknown) | undefined,
    socket: RoomSocket,
    user: User,
  ): void {
    try {
      const result = hook?.(socket, user);
      if (isThenable(result)) result.then(undefined, (error: unknown) => this.report(error));
    } catch (error) {
      this.report(error);
    }
  }

  /** An open connection has this time limit by its heartbeat. Never rejects. */
  async #admitInTime(request: R): Promise<Admission<User>> {
    const { heartbeatInterval, pongTimeout } = this.#limits;
    const late = () =>
      new HandlerError('authenticate has not settled within heartbeatInterval + pongTimeout');
    try {
      const admission = this.#admit(request);
      return await withTimeout(this.#settings.clock, heartbeatInterval + pongTimeout, admission, late, {
        keepAlive: false,
      });
    } catch (error) {
      this.report(error);
      return { result: { code: CloseCode.UNAVAILABLE, reason: 'not available now' } };
    }
  }

  /** Rejects only for a request that cannot be read, such as one that its server has released. */
  async #admit(request: R): Promise<Admission<User>> {
    const since = readResumePosition(request);
    const clientId = readClientId(request);
    const { clock } = this.#settings;
    const report = (error: unknown) => this.report(error);
    const authenticate = (request: R) =>
      authenticateRequest(request, this.#options, report, () => clock.now());
    const result = await authenticate(request);
    const { identityChange, rateLimitKey } = this.#options;
    if ('code' in result || (result.expiresAt === undefined && identityChange !== true)) {
      return { result, since, clientId };
    }
    // Only such connections keep their request.
    const copy = copyWithQuery(request);
    const { url = '/' } = request;
    const credentials: Credentials<User> = {
      authenticate: (url) => authenticate(copy(url)),
      rateKeyOf: (user) => rateLimitKey?.(user, copy(url)) ?? user.userId,
    };
    return { result, since, clientId, credentials };
  }
}

/** A connection whose transport is connected to it, before `begin`. */
export interface AddedConnection {
  readonly connection: TransportConnection;
  begin(): void;
}

/** A client before it is attached. */
interface Admission<User extends ConnectionIdentity> {
  readonly result: AuthenticatedUser<User> | ConnectionRejection;
  /** The last position of a client that has reconnected. */
  readonly since?: string | undefined;
  readonly clientId?: string | undefined;
  readonly credentials?: Credentials<User> | undefined;
}

const RESTARTING = { result: { code: CloseCode.SERVICE_RESTART, reason: 'service restart' } };

interface ConnectedClient<User extends ConnectionIdentity> extends AttachedClient<User> {
  /** The last position of a client that has reconnected. */
  readonly since: string | undefined;
}

function toHttpRejection({ code }: ConnectionRejection): HandshakeRejection {
  return code === CloseCode.UNAUTHENTICATED || code === CloseCode.EXPIRED
    ? { status: 401, text: 'Unauthorized', headers: {} }
    : { status: 503, text: 'Service Unavailable', headers: { 'Retry-After': '1' } };
}
