/**
 * The frames between a rollcall server and its clients: JSON objects, one per WebSocket text message. Clients ignore
 * types, and both sides ignore members, that they do not know. A change that breaks older peers needs another version.
 */

/** Value of `Sec-WebSocket-Protocol`. */
export const SUBPROTOCOL = 'rollcall.1';

/** Value of `version` in `welcome`. */
export const PROTOCOL_VERSION = 1;

/** Event name of typing indicators; `data` is {@link TypingData}. */
export const TYPING_EVENT = '$typing';

/** Event between servers to close a user's sockets; never sent to clients. */
export const DISCONNECT_EVENT = '$disconnect';

/** Data of {@link TYPING_EVENT}. */
export interface TypingData {
  /** The user types for so many ms, unless the event is repeated; 0: the user has stopped. */
  readonly ttl: number;
}

interface RequestFields {
  /** Chosen by the client, unique per connection; repeated in `ok` or `error`. Without it the server sends errors only. */
  readonly id?: number;
}

export interface JoinFrame extends RequestFields {
  readonly type: 'join';
  readonly room: string;
  /** Begin after this position: missed events are sent first. @default the next event */
  readonly since?: string;
  /** Begin with so many of the latest events, 0 to 1,000; not together with `since`. @default 0 */
  readonly last?: number;
  /** Shown to the other members. */
  readonly info?: unknown;
  /** Send `members` frames; `'count'`: with the number of members only. @default false */
  readonly members?: boolean | 'count';
}

/** Replaces the user's `info` in a joined room. */
export interface UpdateFrame extends RequestFields {
  readonly type: 'update';
  readonly room: string;
  readonly info: unknown;
}

export interface LeaveFrame extends RequestFields {
  readonly type: 'leave';
  readonly room: string;
}

/** Publishes an event in a joined room. */
export interface SendFrame extends RequestFields {
  readonly type: 'send';
  readonly room: string;
  /** Does not begin with `$`. */
  readonly event: string;
  readonly data?: unknown;
  /** Idempotency key, 1 to 64 characters: in a room with history, sends with the same key are one event. */
  readonly key?: string;
  /** False: not to this socket. @default true */
  readonly echo?: boolean;
  /** False: not stored in the room's history. @default true */
  readonly keep?: boolean;
}

/** The user types, or has stopped. */
export interface TypingFrame extends RequestFields {
  readonly type: 'typing';
  readonly room: string;
  readonly on: boolean;
}

/** Sets the presence status of this socket. */
export interface StatusFrame extends RequestFields {
  readonly type: 'status';
  readonly status: string;
}

/** Starts or stops `presence` frames for these users. */
export interface WatchFrame extends RequestFields {
  readonly type: 'watch' | 'unwatch';
  readonly users: readonly string[];
}

/** Reads a page of a room's history, newest first; the room need not be joined. */
export interface HistoryFrame extends RequestFields {
  readonly type: 'history';
  readonly room: string;
  /** Only events before this position. */
  readonly before?: string;
  /** 1 to 1,000. @default 50 */
  readonly limit?: number;
}

/** Calls a method of the application. */
export interface RequestFrame extends RequestFields {
  readonly type: 'request';
  readonly method: string;
  readonly data?: unknown;
}

export interface PingFrame extends RequestFields {
  readonly type: 'ping';
}

export type ClientFrame =
  | JoinFrame
  | UpdateFrame
  | LeaveFrame
  | SendFrame
  | TypingFrame
  | StatusFrame
  | WatchFrame
  | HistoryFrame
  | RequestFrame
  | PingFrame;

/** The first frame of a connection. */
export interface WelcomeFrame {
  readonly type: 'welcome';
  readonly version: number;
  /** The server's id of this socket. */
  readonly socket: string;
  readonly user: string;
  /** Position of the events for the user: the next connection passes the latest one as `since` in its URL. */
  readonly position?: string;
  /** The client sends `ping` after so many ms without a frame. */
  readonly heartbeat: number;
  /** The largest frame that the server accepts, in bytes. */
  readonly maxBytes: number;
}

/** Reply to a request that succeeded. */
export interface OkFrame {
  readonly type: 'ok';
  readonly id: number;
  /** {@link JoinReply} for `join`, {@link SendResult} for `send`, {@link HistoryResult} for `history`. */
  readonly data?: unknown;
}

export interface JoinReply {
  /** The stream continues after this position; missing without history. */
  readonly position?: string;
}

/** Result of `send`. */
export interface SendResult {
  /** Position in the room's history, if it has one. */
  readonly position?: string;
  /** An event with this key had been sent before. */
  readonly duplicate?: boolean;
}

/** Result of `history`. */
export interface HistoryResult {
  /** Newest first. */
  readonly events: readonly HistoryEvent[];
  /** Older events exist. */
  readonly more: boolean;
}

/** A past event of a room. */
export interface HistoryEvent {
  /** The name of the event. */
  readonly event: string;
  /** The user who sent it; missing for events of a server. */
  readonly from?: string;
  /** What was sent with the event. */
  readonly data: unknown;
  /** Position in the history; a value for `before`. */
  readonly position: string;
  /** Time of publishing by Redis's clock, in ms since the epoch. */
  readonly at: number;
}

/** Why a request failed. */
export type ProtocolErrorCode =
  /** Malformed; nothing was done. */
  | 'INVALID'
  /** Not authorized. */
  | 'FORBIDDEN'
  /** The room must be joined first. */
  | 'NOT_JOINED'
  /** No such method. */
  | 'UNKNOWN_METHOD'
  /** Too many rooms or watched users, or too large. */
  | 'LIMIT'
  /** Too many requests; retry after `retryAfter`. */
  | 'RATE_LIMITED'
  /** Redis is unavailable. A `send` may be repeated with the same `key`. */
  | 'UNAVAILABLE'
  /** The server failed. */
  | 'INTERNAL';

/** Reply to a request that failed, or to a malformed frame. */
export interface ErrorFrame {
  readonly type: 'error';
  /** Missing if the request had none, or it could not be read. */
  readonly id?: number;
  readonly code: ProtocolErrorCode;
  /** For developers. */
  readonly message: string;
  /** Retry after so many ms. */
  readonly retryAfter?: number;
}

/** An event of a room or, without `room`, an event for the user. */
export interface EventFrame {
  readonly type: 'event';
  readonly room?: string;
  /** Position in the history; a value for `since`. */
  readonly position?: string;
  /** Time of publishing by Redis's clock, in ms since the epoch; only with a position. */
  readonly at?: number;
  readonly event: string;
  /** The user who sent it; missing for events of a server. */
  readonly from?: string;
  readonly data: unknown;
}

/** An event at this position was not meant for this socket. The client stores the position as received. */
export interface PositionFrame {
  /** Marks the frame. */
  readonly type: 'position';
  /** Missing for events sent to the user. */
  readonly room?: string;
  /** The position that the socket has reached. */
  readonly position: string;
}

/** Events before this frame may be missing. */
export interface DiscontinuityFrame {
  /** Marks the frame. */
  readonly type: 'discontinuity';
  /** Missing for events sent to the user. */
  readonly room?: string;
  /** One of the reasons of `Discontinuity`. */
  readonly reason: string;
  /** Events after this time may be missing, in ms since the epoch. */
  readonly since: number;
  /** No event is missing: the missed events were sent in their place. */
  readonly recovered: boolean;
}

/** Members of a room that joined, changed or left. */
export interface MembersFrame {
  /** Marks the frame. */
  readonly type: 'members';
  /** The room that the members are in. */
  readonly room: string;
  /** Discard the earlier list: a complete list begins with this frame. Frames without `reset` add to it. */
  readonly reset?: boolean;
  /** More frames of the same list follow. */
  readonly more?: boolean;
  /** The number of members, if the join asked for it only; `members` is empty then. */
  readonly count?: number;
  /** The members, or those that changed. */
  readonly members: readonly MemberInfo[];
}

/** A user in a room. */
export interface MemberInfo {
  /** The id of the user. */
  readonly user: string;
  /** The `info` of the user's latest socket in the room. */
  readonly info: unknown;
  /** Number of the user's sockets in the room; 0: the user has left. */
  readonly sockets: number;
}

/** The presence of watched users: first the current state, then each change. */
export interface PresenceFrame {
  /** Marks the frame. */
  readonly type: 'presence';
  /** The watched users that changed, or all of them at first. */
  readonly users: readonly UserPresence[];
}

/** The presence of one user. */
export interface UserPresence {
  /** The id of the user. */
  readonly user: string;
  /** `offline` for a user without sockets. */
  readonly status: string;
  /** In ms since the epoch; 0 for a user who was never seen. */
  readonly lastSeen: number;
}

/** Reply to `ping`. */
export interface PongFrame {
  readonly type: 'pong';
}

export type ServerFrame =
  | WelcomeFrame
  | OkFrame
  | ErrorFrame
  | EventFrame
  | PositionFrame
  | DiscontinuityFrame
  | MembersFrame
  | PresenceFrame
  | PongFrame;
