import type { IncomingMessage } from 'node:http';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { Status } from '../presence/types.js';
import type { RoomService } from '../rooms/room-service.js';
import type { RoomSocket } from '../rooms/room-socket.js';

/** User of a connection, returned by `authenticate`. Add the properties that `authorize` needs. */
export interface ConnectionIdentity {
  /** Id of the user. */
  userId: string;
  /** First status of the socket. @default 'online' */
  status?: Status;
  /** Shown with the socket in `PresenceData.sockets`. @default nothing */
  meta?: Json;
  /**
   * When the credentials expire, as a Date or in ms since the epoch. The connection then closes with 4501, and
   * the client reconnects with new ones. @default never
   */
  expiresAt?: Date | number;
}

/** A client's request, with its room, user, status or method. `data` comes from the client, without validation. */
export type ClientRequest =
  /** Join a room, or change `info` in a joined room. */
  | {
      /** The kind of request. */
      readonly action: 'join';
      /** The room. */
      readonly room: string;
    }
  /** See the members of a room, or only their number: asked for with a join. A refusal does not refuse the join. */
  | {
      /** The kind of request. */
      readonly action: 'members';
      /** The room. */
      readonly room: string;
      /** True: only the number of members. */
      readonly count: boolean;
    }
  /** Send an event to a room. */
  | {
      /** The kind of request. */
      readonly action: 'send';
      /** The room. */
      readonly room: string;
      /** The name of the event. */
      readonly event: string;
      /** Data of the event, without validation. */
      readonly data: Json;
    }
  /** Show in a room that the user types. */
  | {
      /** The kind of request. */
      readonly action: 'typing';
      /** The room. */
      readonly room: string;
    }
  /** Read the stored events of a room. */
  | {
      /** The kind of request. */
      readonly action: 'history';
      /** The room. */
      readonly room: string;
    }
  /** Watch the presence of one user; a frame with several users is authorized once for each. */
  | {
      /** The kind of request. */
      readonly action: 'watch';
      /** The user to watch. */
      readonly userId: string;
    }
  /** Change the status of this socket. */
  | {
      /** The kind of request. */
      readonly action: 'status';
      /** The new status. */
      readonly status: Status;
    }
  /** Call one of `requests`. */
  | {
      /** The kind of request. */
      readonly action: 'request';
      /** The name of the request. */
      readonly method: string;
      /** Data of the request, without validation. */
      readonly data: Json;
    };

/** Answer of `authorize`: whether a request is allowed, or until when. */
export type Permission =
  | boolean
  | {
      /** The end, as a Date or in ms since the epoch. It allows at least a second; an end that has passed does not allow. */
      readonly expiresAt: Date | number;
    };

/** Kinds of {@link ClientRequest}. */
export type ClientAction = ClientRequest['action'];

/** A rate limiter: one of `rate-limiter-flexible`, or any object with this method. */
export interface RateLimiter {
  /**
   * Consumes one point of `key`. If none is left, rejects with an object whose `msBeforeNext` is the wait in
   * ms. If the limiter fails, rejects with an Error: the frame passes.
   */
  consume(key: string): Promise<unknown>;
}

/** Handles the requests of one method; the client receives the result. */
export type RequestHandler<User extends ConnectionIdentity = ConnectionIdentity> = (
  socket: RoomSocket,
  data: Json,
  user: User,
) => unknown;

/** The part of a `TypingService` that connections use. */
export interface TypingNotifier {
  /** Called for every typing frame of a client. */
  start(room: string, userId: string, options?: { except?: string }): Promise<void>;
  /** The user has stopped. */
  stop(room: string, userId: string, options?: { except?: string }): Promise<void>;
}

/** The part of a handshake's HTTP request that rollcall reads: a `Request`, or an `IncomingMessage` of Node. */
export interface HandshakeRequest {
  /** The URL or its path. A client that reconnects passes its position in the query. */
  readonly url?: string | undefined;
  /** Headers; the names of a plain object are in lower case. */
  readonly headers:
    | {
        /** The value of a header. */
        get(name: string): string | null;
      }
    | Readonly<Record<string, string | string[] | undefined>>;
}

/**
 * Options of `createConnectionHandler`. `R` is the type of the requests that the transport passes to
 * `upgrade` and `open`.
 */
export interface ConnectionHandlerOptions<
  User extends ConnectionIdentity = ConnectionIdentity,
  R extends HandshakeRequest = Request,
> {
  /** Room service that attaches the sockets. */
  rooms: RoomService;
  /**
   * Authenticates a connection: returns an identity, a user id, or nothing to reject it with 4401. If it
   * throws, returns an invalid identity or does not settle within `heartbeatInterval + pongTimeout`, the error
   * is reported and the connection closes with 4500; the client reconnects.
   */
  authenticate: (request: R) => User | string | null | undefined | Promise<User | string | null | undefined>;
  /**
   * Decides whether a user may do what the client requests; only `true` allows it. Called for every join, send
   * and so on; leaving a room and unwatching a user need no authorization. A {@link Permission} with `expiresAt` allows it until
   * then: what the client is shown is then asked about again, rooms, members and watches, as with its user at that time.
   */
  authorize: (user: User, request: ClientRequest) => Permission | Promise<Permission>;
  /**
   * Whether `viewer` may see a user, in lists, changes and counts of members, typing indicators and watches: true or false,
   * at once, from what `authenticate` has loaded. A hidden user is no member, does not type, and was never seen. Asked for each
   * frame, so an answer applies from the next frame on. Messages are not filtered. If it throws, the user is hidden.
   * @default every user
   */
  visible?: (viewer: User, userId: string) => boolean;
  /** Handlers of the application's own requests, by method. @default none */
  requests?: Readonly<Record<string, RequestHandler<User>>>;
  /**
   * Called when a connection is attached, before its first frame is handled. An error is reported, and the connection
   * continues.
   */
  onConnect?: (socket: RoomSocket, user: User) => unknown;
  /** Called when a connection of `onConnect` has ended. */
  onDisconnect?: (socket: RoomSocket, user: User) => unknown;
  /**
   * Lets an open connection change its user: with `refresh` of its client, if `authenticate` then returns another user, and
   * with `RoomSocket.identify`. Keeps a copy of each handshake's request. Without it credentials of another user close the
   * connection with 4501. @default false
   */
  identityChange?: boolean;
  /** Typing service to share with other transports, or with another `ttl`. @default its own */
  typing?: TypingNotifier;
  /** Limits the frames of a user, over all their sockets on this server. @default no limit */
  rateLimit?: RateLimiter;
  /** Key that `rateLimit` counts by. @default the user's id */
  rateLimitKey?: (user: User, request: R) => string;
  /** Longest frame of a client, in bytes; a longer one closes its connection with 1009. @default 65_536 */
  maxFrameBytes?: number;
  /** Rooms that a socket may join. @default 100 */
  maxRooms?: number;
  /** Users that a socket may watch. @default 1_000 */
  maxWatched?: number;
  /**
   * Silence in ms after which a client is pinged. Also announced to clients, which ping after that time without a frame.
   * @default 25_000
   */
  heartbeatInterval?: number;
  /** Time in ms in which the client must answer a ping; otherwise the connection is cut. @default 10_000 */
  pongTimeout?: number;
  /**
   * Rejection of unauthenticated connections: `close` accepts and closes with 4401, which a browser can see;
   * `status` answers the handshake with HTTP 401. @default 'close'
   */
  refuseWith?: 'close' | 'status';
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
  /** Source of time and randomness; for tests. @default the system's */
  clock?: Clock;
}

/** Options of {@link createHttpHandler}. */
export interface HttpHandlerOptions<
  User extends ConnectionIdentity = ConnectionIdentity,
  R extends HandshakeRequest = IncomingMessage,
> extends ConnectionHandlerOptions<User, R> {
  /**
   * Other origins whose pages may connect with their cookies, such as `https://app.example`. The browser asks for this
   * with `fetch`; it does not for a WebSocket, so check the origin in `authenticate` there. @default none
   */
  origins?: readonly string[];
}

/** Options of the call that ends a server's connections. */
export interface ServeCloseOptions {
  /**
   * Period in ms over which connections close at random times, so that clients do not reconnect all at once.
   * @default 0
   */
  drainPeriod?: number;
  /** Leaves the sockets to `PresenceService.close({ handoff: true })`: no user goes offline. @default false */
  handoff?: boolean;
}

/** Counters since the start, and gauges of the current state. */
export interface ServeStats {
  /** Open connections. */
  connections: number;
  /** Connections rejected, or ended before they were attached. */
  refused: number;
  /** Frames received. */
  frames: number;
  /** Malformed or too long frames, and connections that broke the protocol of the transport. */
  malformed: number;
  /** Frames over the rate limit. */
  limited: number;
  /** Connections cut because a ping had no answer. */
  silent: number;
}
