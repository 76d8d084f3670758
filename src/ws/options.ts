import type { IncomingMessage } from 'node:http';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { Status } from '../presence/types.js';
import type { RoomService } from '../rooms/room-service.js';
import type { RoomSocket } from '../rooms/room-socket.js';

/** Who connects, as `authenticate` found out. Add whatever `authorize` needs. */
export interface Identity {
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

/** What a client wants to do. */
export type Action = 'join' | 'send' | 'typing' | 'history' | 'watch' | 'status' | 'request';

/** More about what a client wants to do. */
export interface ActionDetails {
  /** The event, for `send`. */
  readonly event?: string;
  /** What belongs to it, as the client gave it: unchecked. */
  readonly data?: Json;
}

/** Whatever limits rates: `rate-limiter-flexible`, or anything with this method. */
export interface RateLimiter {
  /**
   * Takes one from what is left for `key`. Rejects when nothing is left, with an object whose
   * `msBeforeNext` says for how long; or, when it fails itself, with an Error: the frame is let pass then.
   */
  consume(key: string): Promise<unknown>;
}

/** Answers the requests of one method; what it returns or resolves with is the answer. */
export type RequestHandler<User extends Identity = Identity> = (
  socket: RoomSocket,
  data: Json,
  user: User,
) => unknown;

/** What `serveWebSocket` needs of a `TypingService`. */
export interface Typing {
  /** The user types; called for every frame that says so. */
  start(room: string, userId: string, options?: { except?: string }): Promise<void>;
  /** The user has stopped. */
  stop(room: string, userId: string, options?: { except?: string }): Promise<void>;
}

/** Options of {@link serveWebSocket}. */
export interface ServeOptions<User extends Identity = Identity> {
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
   * Whether a user may do something; `subject` is the room, the user to be watched, the status, or the method of
   * a request. Only `true` is yes. Asked for every join, every send, and so on, and as `join` for another info.
   */
  authorize: (
    user: User,
    action: Action,
    subject: string,
    details: ActionDetails,
  ) => boolean | Promise<boolean>;
  /** Requests of your own, by method. @default none */
  requests?: Readonly<Record<string, RequestHandler<User>>>;
  /** Says who types: one that you share with other transports, or with another `ttl`. @default one of its own */
  typing?: Typing;
  /** Limits how many frames a user may send, over all his sockets here. @default no limit */
  rateLimit?: RateLimiter;
  /** What `rateLimit` counts by. @default the user's id */
  rateLimitKey?: (user: User, request: IncomingMessage) => string;
  /**
   * The longest frame a client may send, in bytes; a longer one ends its connection. The server's own
   * `maxPayload` counts as well.
   * @default 65_536
   */
  maxBytes?: number;
  /** How many rooms a socket may be in. @default 100 */
  maxRooms?: number;
  /** How many users a socket may watch. @default 1_000 */
  maxWatched?: number;
  /** After how much silence, in ms, a client is pinged. @default 25_000 */
  heartbeat?: number;
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
export interface CloseServingOptions {
  /** Over how many ms the connections are ended, at random moments, so that not all come back at once. @default 0 */
  drain?: number;
  /** Leave the sockets to `PresenceService.close({ handoff: true })`: nobody sees them go. @default false */
  handoff?: boolean;
}

/** Counters since it began, and gauges of what is there now. */
export interface ServingStats {
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
