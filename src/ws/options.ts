import type { IncomingMessage } from 'node:http';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { Status } from '../presence/types.js';
import type { RoomService } from '../rooms/room-service.js';
import type { RoomSocket } from '../rooms/room-socket.js';

/** Who connects, as `authenticate` found out. Add whatever `authorize` needs. */
export interface WebSocketIdentity {
  /** The user's id. */
  userId: string;
  /** The socket's status at first. @default 'online' */
  status?: Status;
  /** What to show of the socket to others. @default nothing */
  meta?: Json;
  /**
   * When the credentials run out, as a Date or in ms since the epoch: the connection ends then, and the client
   * comes back with new ones.
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

/** Whatever limits rates: `rate-limiter-flexible`, or anything with this method. */
export interface RateLimiter {
  /**
   * Takes one from what is left for `key`. Rejects when nothing is left, with an object whose
   * `msBeforeNext` says for how long; or, when it fails itself, with an Error: the frame is let pass then.
   */
  consume(key: string): Promise<unknown>;
}

/** Answers the requests of one method; what it returns or resolves with is the answer. */
export type RequestHandler<User extends WebSocketIdentity = WebSocketIdentity> = (
  socket: RoomSocket,
  data: Json,
  user: User,
) => unknown;

/** What `serveWebSocket` needs of a `TypingService`. */
export interface TypingNotifier {
  /** The user types; called for every frame that says so. */
  start(room: string, userId: string, options?: { except?: string }): Promise<void>;
  /** The user has stopped. */
  stop(room: string, userId: string, options?: { except?: string }): Promise<void>;
}

/** Options of {@link serveWebSocket}. */
export interface ServeOptions<User extends WebSocketIdentity = WebSocketIdentity> {
  /** What the sockets are attached to. */
  rooms: RoomService;
  /**
   * Finds out who connects: an identity, a user id, or nothing for somebody unknown. When it throws, gives what
   * can be no identity, or has not answered after `heartbeat + pongTimeout`, that is reported, and the connection is
   * refused with a code that says to come back.
   */
  authenticate: (
    request: IncomingMessage,
  ) => User | string | null | undefined | Promise<User | string | null | undefined>;
  /**
   * Decides whether a user may do what the client requests. Only `true` allows it. Called for every join, every
   * send and so on; leaving a room and unwatching a user need no authorization.
   */
  authorize: (user: User, request: ClientRequest) => boolean | Promise<boolean>;
  /** Requests of your own, by method. @default none */
  requests?: Readonly<Record<string, RequestHandler<User>>>;
  /** Says who types: one that you share with other transports, or with another `ttl`. @default one of its own */
  typing?: TypingNotifier;
  /** Limits how many frames a user may send, over all his sockets here. @default no limit */
  rateLimit?: RateLimiter;
  /** What `rateLimit` counts by. @default the user's id */
  rateLimitKey?: (user: User, request: IncomingMessage) => string;
  /**
   * The longest frame a client may send, in bytes; a longer one ends its connection. The server's own
   * `maxPayload` counts as well.
   * @default 65_536
   */
  maxFrameBytes?: number;
  /** How many rooms a socket may be in. @default 100 */
  maxRooms?: number;
  /** How many users a socket may watch. @default 1_000 */
  maxWatched?: number;
  /** After how much silence, in ms, a client is pinged. @default 25_000 */
  heartbeatInterval?: number;
  /** How long, in ms, the answer may take before the connection is given up. @default 10_000 */
  pongTimeout?: number;
  /**
   * How somebody unknown is refused: `close` opens the connection and closes it with 4401, which a browser can
   * see; `status` answers the handshake with HTTP 401. @default 'close'
   */
  refuseWith?: 'close' | 'status';
  /** Gets every failure that no caller waits for. */
  onError?: ErrorListener;
  /** Where time and chance come from; for tests. @default the system's */
  clock?: Clock;
}

/** Options of `close`. */
export interface ServeCloseOptions {
  /** Over how many ms the connections are ended, at random moments, so that not all come back at once. @default 0 */
  drainPeriod?: number;
  /** Leave the sockets to `PresenceService.close({ handoff: true })`: nobody sees them go. @default false */
  handoff?: boolean;
}

/** Counters since it began, and gauges of what is there now. */
export interface ServeStats {
  /** Open connections. */
  connections: number;
  /** Connections that were refused, or ended before they were attached. */
  refused: number;
  /** Frames that came. */
  frames: number;
  /** Frames that were malformed, and connections that broke the rules of WebSockets. */
  malformed: number;
  /** Frames over the rate. */
  limited: number;
  /** Connections given up because nothing was heard of them. */
  silent: number;
}
