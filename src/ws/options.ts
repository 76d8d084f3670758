import type { IncomingMessage } from 'node:http';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { Status } from '../presence/types.js';
import type { RoomService } from '../rooms/room-service.js';
import type { RoomSocket } from '../rooms/room-socket.js';

/** The user of a connection, as `authenticate` returns it. Add the properties that `authorize` needs. */
export interface WebSocketIdentity {
  /** Id of the user. */
  userId: string;
  /** First status of the socket. @default 'online' */
  status?: Status;
  /** Shown with the socket in `PresenceData.sockets`. @default nothing */
  meta?: Json;
  /**
   * When the credentials expire, as a Date or in ms since the epoch: the connection is closed then with 4501, and
   * the client reconnects with new ones.
   * @default never
   */
  expiresAt?: Date | number;
}

/**
 * What a client asks to do, and the room, user, status or method that the request is about. `data` is what the
 * client sent, without validation.
 */
export type ClientRequest =
  /** Join a room, or show another `info` in a room that the socket has joined. */
  | { readonly action: 'join'; readonly room: string }
  /** Send an event to a room. */
  | { readonly action: 'send'; readonly room: string; readonly event: string; readonly data: Json }
  /** Show in a room that the user types. */
  | { readonly action: 'typing'; readonly room: string }
  /** Read the stored events of a room. */
  | { readonly action: 'history'; readonly room: string }
  /** Watch the presence of one user; a frame that names several users is authorized once for each. */
  | { readonly action: 'watch'; readonly userId: string }
  /** Change the status of this socket. */
  | { readonly action: 'status'; readonly status: Status }
  /** Call one of `requests`. */
  | { readonly action: 'request'; readonly method: string; readonly data: Json };

/** The kinds of {@link ClientRequest}. */
export type ClientAction = ClientRequest['action'];

/** A rate limiter: one of `rate-limiter-flexible`, or any object with this method. */
export interface RateLimiter {
  /**
   * Consumes one point of `key`. If none is left, rejects with an object whose `msBeforeNext` is the ms to wait. If
   * the limiter itself fails, rejects with an Error: the frame passes.
   */
  consume(key: string): Promise<unknown>;
}

/** Handles the requests of one method; the client receives what it returns or resolves with. */
export type RequestHandler<User extends WebSocketIdentity = WebSocketIdentity> = (
  socket: RoomSocket,
  data: Json,
  user: User,
) => unknown;

/** The part of a `TypingService` that `serveWebSocket` uses. */
export interface TypingNotifier {
  /** The user types; called for every such frame of the client. */
  start(room: string, userId: string, options?: { except?: string }): Promise<void>;
  /** The user has stopped. */
  stop(room: string, userId: string, options?: { except?: string }): Promise<void>;
}

/** Options of {@link serveWebSocket}. */
export interface ServeOptions<User extends WebSocketIdentity = WebSocketIdentity> {
  /** Room service that the sockets are attached to. */
  rooms: RoomService;
  /**
   * Authenticates a connection: returns an identity, a user id, or nothing to reject it with 4401. If it throws,
   * returns an invalid identity or has not settled after `heartbeatInterval + pongTimeout`, the error is reported and
   * the connection is closed with 4500, on which clients reconnect.
   */
  authenticate: (
    request: IncomingMessage,
  ) => User | string | null | undefined | Promise<User | string | null | undefined>;
  /**
   * Decides whether a user may do what the client requests. Only `true` allows it. Called for every join, every
   * send and so on; leaving a room and unwatching a user need no authorization.
   */
  authorize: (user: User, request: ClientRequest) => boolean | Promise<boolean>;
  /** Handlers of the application's own requests, by method. @default none */
  requests?: Readonly<Record<string, RequestHandler<User>>>;
  /** Typing service to share with other transports, or with another `ttl`. @default one of its own */
  typing?: TypingNotifier;
  /** Limits how many frames a user may send, over all their sockets on this server. @default no limit */
  rateLimit?: RateLimiter;
  /** Key that `rateLimit` counts by. @default the user's id */
  rateLimitKey?: (user: User, request: IncomingMessage) => string;
  /**
   * The longest frame a client may send, in bytes; a longer one closes its connection. If the server's own
   * `maxPayload` is smaller, that is the limit.
   * @default 65_536
   */
  maxFrameBytes?: number;
  /** How many rooms a socket may join. @default 100 */
  maxRooms?: number;
  /** How many users a socket may watch. @default 1_000 */
  maxWatched?: number;
  /** Silence in ms after which a client is pinged. @default 25_000 */
  heartbeatInterval?: number;
  /** How long the answer to a ping may take, in ms, before the connection is cut. @default 10_000 */
  pongTimeout?: number;
  /**
   * How unauthenticated connections are rejected: `close` accepts the connection and closes it with 4401, which a
   * browser can see; `status` answers the handshake with HTTP 401. @default 'close'
   */
  refuseWith?: 'close' | 'status';
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
  /** Source of time and randomness; for tests. @default the system's */
  clock?: Clock;
}

/** Options of `close`. */
export interface ServeCloseOptions {
  /** Period in ms over which connections are closed at random times, so that clients do not reconnect all at once. @default 0 */
  drainPeriod?: number;
  /** Leave the sockets to `PresenceService.close({ handoff: true })`: no user goes offline. @default false */
  handoff?: boolean;
}

/** Counters since the start, and gauges of the current state. */
export interface ServeStats {
  /** Open connections. */
  connections: number;
  /** Connections that were rejected, or ended before they were attached. */
  refused: number;
  /** Frames received. */
  frames: number;
  /** Malformed frames, and connections that broke the WebSocket protocol. */
  malformed: number;
  /** Frames over the rate limit. */
  limited: number;
  /** Connections cut because a ping had no answer. */
  silent: number;
}
