import { clockOption } from '../internal/clock.js';
import { assertErrorListener } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertFunction, assertOptions, booleanOption } from '../internal/validate.js';
import { assertVisible } from '../internal/viewer-filter.js';
import type { ConnectionPeer } from './connection-peer.js';
import { ConnectionServer } from './connection-server.js';
import type { Handshake } from './handshake.js';
import { CONNECTION_HANDLER_OPTION_NAMES } from './option-names.js';
import type {
  ConnectionHandlerOptions,
  ConnectionIdentity,
  HandshakeRequest,
  ServeCloseOptions,
  ServeStats,
} from './options.js';
import { METHOD } from './parse-frame.js';
import { plainEncoder } from './peer-adapter.js';
import type { TransportConnection } from './shared-connection.js';

/** Serves the connections of a transport, which calls these methods as its events occur. */
export interface ConnectionHandler<R extends HandshakeRequest = Request> {
  /**
   * Authenticates the request of a handshake, and resolves with the answer. With `refuseWith: 'close'` the answer
   * to a user who is not authenticated is the same; `open` then closes the connection. Never rejects.
   */
  upgrade(request: R): Promise<Handshake<R>>;
  /**
   * The connection is open: attaches it, or closes it if its user is not authenticated. `handshake`: the result of
   * `upgrade`, or `{ request }` where the transport answers handshakes by itself; the request is then authenticated
   * now.
   *
   * @throws `InvalidArgumentError` for an object that is no peer, and for a peer that was opened before.
   */
  open(peer: ConnectionPeer, handshake: Handshake<R>): void;
  /**
   * The client has sent a message: a text frame as a string, a binary frame in any form of bytes; the protocol knows
   * no binary frames.
   *
   * @throws `InvalidArgumentError` for a peer that was not opened; so do the following methods.
   */
  message(peer: ConnectionPeer, data: string | object): void;
  /** The client has sent a ping. Only needed where the transport reports pings. */
  ping(peer: ConnectionPeer): void;
  /** The client has answered a ping that had this `data`. Required where the peer has `ping`. */
  pong(peer: ConnectionPeer, data?: string | ArrayBuffer | ArrayBufferView): void;
  /** The buffer of the transport is empty. Only needed for peers without `bufferedAmount`. */
  drain(peer: ConnectionPeer): void;
  /** The client has broken the protocol of the transport: counted as malformed, and closed. */
  error(peer: ConnectionPeer): void;
  /** The connection has ended. Required; may be called twice. */
  close(peer: ConnectionPeer): void;
  /** Counters and gauges. */
  stats(): ServeStats;
  /**
   * Closes all connections with 1012 (service restart) and accepts no new ones; resolves when all sockets are
   * detached. The server of the transport stays open. Repeated calls return the same promise.
   *
   * @throws `InvalidArgumentError` for an option out of range; no connection is closed.
   */
  shutdown(options?: ServeCloseOptions): Promise<void>;
  /** Calls `shutdown`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Attaches the connections of any transport to a room service, with the protocol of docs/protocol.md. Clients receive
 * the messages they missed when they reconnect.
 *
 * @example
 * ```ts
 * const handler = createConnectionHandler({ rooms, authenticate, authorize });
 * Bun.serve({
 *   async fetch(request, server) {
 *     const handshake = await handler.upgrade(request);
 *     const { rejection, headers } = handshake;
 *     if (rejection) return new Response(rejection.text, rejection);
 *     if (!server.upgrade(request, { headers, data: handshake })) return new Response('no WebSocket', { status: 426 });
 *   },
 *   websocket: {
 *     open: (peer) => handler.open(peer, peer.data),
 *     message: (peer, data) => handler.message(peer, data),
 *     pong: (peer, data) => handler.pong(peer, data),
 *     close: (peer) => handler.close(peer),
 *   },
 * });
 * ```
 * @throws `InvalidArgumentError` for an option out of range.
 */
export function createConnectionHandler<
  User extends ConnectionIdentity = ConnectionIdentity,
  R extends HandshakeRequest = Request,
>(options: ConnectionHandlerOptions<User, R>): ConnectionHandler<R> {
  assertHandlerOptions(options, CONNECTION_HANDLER_OPTION_NAMES);
  return new PeerConnections(new ConnectionServer(options));
}

/** @throws {@link InvalidArgumentError} `names`: the known options. */
export function assertHandlerOptions(options: object, names: Readonly<Record<string, true>>): void {
  assertOptions('options', options ?? null, names);
  const { rooms, authenticate, authorize, onError, rateLimit, rateLimitKey, requests, typing } =
    options as Partial<ConnectionHandlerOptions>;
  const { onConnect, onDisconnect, visible } = options as Partial<ConnectionHandlerOptions>;
  if (typeof rooms?.attach !== 'function') {
    throw new InvalidArgumentError('rooms', 'must be a RoomService: pass the rooms of createRollcall');
  }
  assertFunction('authenticate', authenticate);
  assertFunction('authorize', authorize);
  assertVisible(visible);
  if (onConnect !== undefined) assertFunction('onConnect', onConnect);
  if (onDisconnect !== undefined) assertFunction('onDisconnect', onDisconnect);
  booleanOption('identityChange', (options as Partial<ConnectionHandlerOptions>).identityChange, false);
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
  clockOption((options as Partial<ConnectionHandlerOptions>).clock);
}

/** Finds the connection of a peer. */
class PeerConnections<User extends ConnectionIdentity, R extends HandshakeRequest>
  implements ConnectionHandler<R>
{
  readonly #server: ConnectionServer<User, R>;
  /** Also of ended connections, whose last events may be late. */
  readonly #connections = new WeakMap<ConnectionPeer, TransportConnection>();

  constructor(server: ConnectionServer<User, R>) {
    this.#server = server;
  }

  upgrade(request: R): Promise<Handshake<R>> {
    return this.#server.upgrade(request);
  }

  open(peer: ConnectionPeer, handshake: Handshake<R>): void {
    if (typeof peer?.send !== 'function' || typeof peer.close !== 'function') {
      throw new InvalidArgumentError('peer', 'must have the methods send and close');
    }
    if (typeof handshake !== 'object' || handshake === null || !('request' in handshake)) {
      throw new InvalidArgumentError('handshake', 'must be the result of upgrade, or have a request');
    }
    if (this.#connections.has(peer)) {
      throw new InvalidArgumentError('peer', 'was opened before: use one object for each connection');
    }
    const { connection, begin } = this.#server.add(peer, plainEncoder, handshake);
    this.#connections.set(peer, connection);
    begin();
  }

  message(peer: ConnectionPeer, data: string | object): void {
    this.#find(peer).receive(typeof data === 'string' ? data : undefined);
  }

  ping(peer: ConnectionPeer): void {
    this.#find(peer).markAlive();
  }

  pong(peer: ConnectionPeer, data: string | ArrayBuffer | ArrayBufferView = ''): void {
    this.#find(peer).onPong(typeof data === 'string' ? data : toText(data));
  }

  drain(peer: ConnectionPeer): void {
    this.#find(peer).peer.onDrain();
  }

  error(peer: ConnectionPeer): void {
    this.#find(peer).fail();
  }

  close(peer: ConnectionPeer): void {
    this.#find(peer).end();
  }

  stats(): ServeStats {
    return this.#server.stats();
  }

  shutdown(options?: ServeCloseOptions): Promise<void> {
    return this.#server.close(options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  #find(peer: ConnectionPeer): TransportConnection {
    const connection = this.#connections.get(peer);
    if (connection !== undefined) return connection;
    throw new InvalidArgumentError('peer', 'was not opened: pass the object that was passed to open');
  }
}

function toText(data: ArrayBuffer | ArrayBufferView): string {
  return data instanceof ArrayBuffer
    ? Buffer.from(data).toString()
    : Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString();
}
