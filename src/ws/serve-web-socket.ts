import type { IncomingMessage } from 'node:http';
import { InvalidArgumentError } from '../internal/errors.js';
import { numberOption } from '../internal/validate.js';
import { assertHandlerOptions } from '../server/connection-handler.js';
import { ConnectionServer } from '../server/connection-server.js';
import type { Handshake } from '../server/handshake.js';
import { CONNECTION_HANDLER_OPTION_NAMES } from '../server/option-names.js';
import type { ConnectionIdentity, ServeCloseOptions, ServeStats } from '../server/options.js';
import type { ServeHandle } from '../server/serve-handle.js';
import type { TransportConnection } from '../server/shared-connection.js';
import { FrameEncoders } from './frame-encoder.js';
import { FrameWriter, OPEN } from './frame-writer.js';
import { HandshakeHooks } from './handshake-hooks.js';
import type { ServeOptions } from './options.js';
import { SocketPeer, socketEncoder } from './socket-peer.js';
import type { ServerWebSocketLike, WebSocketServerLike } from './ws-types.js';

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
 * @throws `InvalidArgumentError` for an option out of range, for a server that is served already, and for a server of
 * `ws` older than 8.5.
 */
export function serveWebSocket<User extends ConnectionIdentity = ConnectionIdentity>(
  server: WebSocketServerLike,
  options: ServeOptions<User>,
): ServeHandle {
  if (typeof server?.on !== 'function' || typeof server.options !== 'object' || server.options === null) {
    throw new InvalidArgumentError('server', 'must be a WebSocketServer of ws');
  }
  // Its class of sockets is an option since 8.5; those of older versions cannot be paused.
  if ('backlog' in server.options && server.options.WebSocket === undefined) {
    throw new InvalidArgumentError('server', 'is of ws 8.4 or older; rollcall/ws needs ws 8.5 or later');
  }
  assertHandlerOptions(options, CONNECTION_HANDLER_OPTION_NAMES);
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

class RoomWebSocketServer<User extends ConnectionIdentity> implements ServeHandle {
  readonly #server: WebSocketServerLike;
  readonly #connections: ConnectionServer<User, IncomingMessage>;
  readonly #handshakes: HandshakeHooks;
  readonly #encoders: FrameEncoders;
  /** Answered before the upgrade, with `refuseWith: 'status'`. */
  readonly #answered = new WeakMap<IncomingMessage, Handshake<IncomingMessage>>();
  #released = false;

  constructor(server: WebSocketServerLike, options: ServeOptions<User>) {
    const maxFrameBytes = numberOption('maxFrameBytes', options.maxFrameBytes, 65_536, {
      min: 1,
      integer: true,
    });
    // A smaller limit of the server takes precedence.
    const maxBytes = Math.min(server.options.maxPayload || Number.POSITIVE_INFINITY, maxFrameBytes);
    this.#connections = new ConnectionServer({ ...options, maxFrameBytes: maxBytes });
    this.#server = server;
    this.#encoders = new FrameEncoders(server);
    this.#handshakes = new HandshakeHooks(server, {
      maxBytes,
      verify: options.refuseWith === 'status' ? this.#verify : undefined,
      report: (error) => this.#connections.report(error),
    });
    server.on('connection', this.#onConnection);
    served.add(server);
  }

  stats(): ServeStats {
    return this.#connections.stats();
  }

  async close(options?: ServeCloseOptions): Promise<void> {
    await this.#connections.close(options);
    this.#release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Before, new connections are closed with 1012. */
  #release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#server.off('connection', this.#onConnection);
    this.#handshakes.restore();
    served.delete(this.#server);
  }

  readonly #verify = async (request: IncomingMessage) => {
    const handshake = await this.#connections.upgrade(request);
    if (handshake.rejection === undefined) this.#answered.set(request, handshake);
    return handshake.rejection;
  };

  readonly #onConnection = (socket: ServerWebSocketLike, request: IncomingMessage): void => {
    socket.on('error', onError);
    // The connection may have ended: `close` would not follow.
    if (socket.readyState !== OPEN) return;
    const writer = FrameWriter.create(socket, request, this.#encoders.for(socket, request));
    const { connection, begin } = this.#connections.add(
      writer ?? new SocketPeer(socket),
      writer?.encoder ?? socketEncoder,
      this.#answered.get(request) ?? { request },
    );
    (socket as ServedWebSocket)[CONNECTION] = connection;
    socket.on('close', onClose);
    socket.on('message', onMessage);
    socket.on('ping', onPing);
    socket.on('pong', onPong);
    begin();
  };
}

const CONNECTION = Symbol('rollcall.connection');

interface ServedWebSocket extends ServerWebSocketLike {
  [CONNECTION]?: TransportConnection;
}

// All sockets share these listeners: functions of its own would take a socket about 400 bytes.

/** The client has broken the protocol; `close` follows. */
function onError(this: ServedWebSocket): void {
  this[CONNECTION]?.fail();
}

function onClose(this: ServedWebSocket): void {
  this[CONNECTION]?.end();
}

function onMessage(this: ServedWebSocket, data: Buffer, isBinary: boolean): void {
  this[CONNECTION]?.receive(isBinary ? undefined : data.toString());
}

function onPing(this: ServedWebSocket): void {
  this[CONNECTION]?.markAlive();
}

function onPong(this: ServedWebSocket, data: Buffer): void {
  this[CONNECTION]?.onPong(String(data ?? ''));
}
