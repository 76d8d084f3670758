/**
 * Frames between a rollcall server and its clients: JSON objects, one per WebSocket text message. Both sides
 * ignore unknown members, clients also unknown types. A breaking change needs another version.
 */

/** Value of `Sec-WebSocket-Protocol`. */
export const SUBPROTOCOL = 'rollcall.1';

/** Value of `version` in `welcome`. */
export const PROTOCOL_VERSION = 1;

/** Event name of typing indicators; `data` is {@link TypingData}. */
export const TYPING_EVENT = '$typing';

/** Between servers, to close a user's sockets; never sent to clients. */
export const DISCONNECT_EVENT = '$disconnect';

/** Between servers, to put a user out of a room; never sent to clients. */
export const KICK_EVENT = '$kick';

/** Between servers, to end what a user may no longer see; never sent to clients. */
export const REVOKE_EVENT = '$revoke';

/** In the place of a message that was removed from a history. */
export const REMOVED_EVENT = '$removed';

/** Data of {@link TYPING_EVENT}. */
export interface TypingData {
  /** In ms, unless the event is repeated; 0: stopped. */
  readonly ttl: number;
}

interface RequestFields {
  /**
   * Chosen by the client, unique per connection; repeated in `ok` or `error`. Without it only errors are
   * answered.
   */
  readonly id?: number;
}

export interface JoinFrame extends RequestFields {
  readonly type: 'join';
  readonly room: string;
  /** Missed events after this position are sent first. @default the next event */
  readonly since?: string;
  /** Number of latest events to begin with, 0 to 1,000; not together with `since`. @default 0 */
  readonly last?: number;
  /** Shown to the other members. */
  readonly info?: unknown;
  /** `'count'`: only the number of members. In a joined room, false ends the `members` frames. @default as before, at first false */
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
  /** Idempotency key, 1 to 64 characters; only effective in a room with history. */
  readonly key?: string;
  /** False: not to this socket. @default true */
  readonly echo?: boolean;
  /** False: not stored in the room's history. @default true */
  readonly keep?: boolean;
}

/** Started or stopped typing. */
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

/** Starts or stops `presence` frames for users. */
export interface WatchFrame extends RequestFields {
  readonly type: 'watch' | 'unwatch';
  readonly users: readonly string[];
}

/** Reads a page of history; the room need not be joined. At most one of `before`, `since` and `around`. */
export interface HistoryFrame extends RequestFields {
  readonly type: 'history';
  readonly room: string;
  /** The latest events before this position. */
  readonly before?: string;
  /** The first events after this position. */
  readonly since?: string;
  /** The event at this position, with about as many before as after it. */
  readonly around?: string;
  /** 1 to 1,000. @default 50 */
  readonly limit?: number;
}

/** Calls a method of the application. */
export interface RequestFrame extends RequestFields {
  readonly type: 'request';
  readonly method: string;
  readonly data?: unknown;
}

/** Replaces the credentials of the connection before they expire. The answer is {@link RefreshReply}. */
export interface RefreshFrame extends RequestFields {
  readonly type: 'refresh';
  /** As for a connection; only its query counts. */
  readonly url: string;
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
  | RefreshFrame
  | PingFrame;

/** The first frame of a connection. */
export interface WelcomeFrame {
  readonly type: 'welcome';
  readonly version: number;
  /** The server's id of this socket. */
  readonly socket: string;
  readonly user: string;
  /** Position of the user's events; the next connection sends the latest one as `since` in its URL. */
  readonly position?: string;
  /** In ms without a frame, after which the client sends `ping`. */
  readonly heartbeat: number;
  /** Limit of a client's frame, in bytes. */
  readonly maxBytes: number;
  /** Time until the credentials expire, in ms; missing if they do not. The client can send `refresh`. */
  readonly expiresIn?: number;
}

/** Reply to a request that succeeded. */
export interface OkFrame {
  readonly type: 'ok';
  readonly id: number;
  /** {@link JoinReply}, {@link RefreshReply}, {@link SendResult} or {@link HistoryResult} for their requests. */
  readonly data?: unknown;
}

export interface JoinReply {
  /** The stream continues after it; missing without history. */
  readonly position?: string;
  /** Time until a permission of the client expires, in ms: this one or an earlier one. The client can send `refresh`. */
  readonly expiresIn?: number;
}

export interface RefreshReply {
  /** Time until the new credentials or a permission of the client expire, in ms; missing if they do not. */
  readonly expiresIn?: number;
}

/** Result of `send`. */
export interface SendResult {
  /** Position in the room's history, if it has one. */
  readonly position?: string;
  /** The key was known: an earlier event. */
  readonly duplicate?: boolean;
}

/** Result of `history`. */
export interface HistoryResult {
  /** Newest first; with `since` or `around` oldest first. */
  readonly events: readonly HistoryEvent[];
  /** Older events exist; with `since` or `around`, newer ones. */
  readonly more: boolean;
  /** Older events exist; only with `around`. */
  readonly older?: boolean;
  /** Events may be missing after the position of `since`, or the history does not have the event of `around`. */
  readonly discontinuity?: {
    /** `trimmed`, `wiped` or `forked`. */
    readonly reason: string;
    /** The time of the position, in ms since the epoch. */
    readonly since: number;
    /** Always false. */
    readonly recovered: boolean;
  };
}

/** A past event of a room. */
export interface HistoryEvent {
  /** The name of the event. */
  readonly event: string;
  /** The user who sent it; missing for events of a server. */
  readonly from?: string;
  /** Data of the event. */
  readonly data: unknown;
  /** Position in the history; a value for `before`, `since` and `around`. */
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
  /** The server has removed this socket from the room. */
  | 'REMOVED'
  /** The user was put out of the room; the message is the reason. */
  | 'KICKED'
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

/** Reply to a failed request or a malformed frame; with `room`, the end of a membership. */
export interface ErrorFrame {
  /** Marks the frame. */
  readonly type: 'error';
  /** Missing if the request had none, or it was unreadable. */
  readonly id?: number;
  /** The room from which the server has removed this socket. */
  readonly room?: string;
  /** Why the request was refused. */
  readonly code: ProtocolErrorCode;
  /** For developers. */
  readonly message: string;
  /** Wait before a retry, in ms. */
  readonly retryAfter?: number;
}

/** Without `room`: an event for the user. */
export interface EventFrame {
  readonly type: 'event';
  readonly room?: string;
  /** Position in the history; a value for `since`. */
  readonly position?: string;
  /** Time of publishing by Redis's clock, in ms since the epoch; only with a position. */
  readonly at?: number;
  /** Read from the history: after a join with `last` or `since`, or because it was missed. Missing for live events. */
  readonly replayed?: true;
  readonly event: string;
  /** The user who sent it; missing for events of a server. */
  readonly from?: string;
  readonly data: unknown;
}

/** The event at this position was not for this socket. The client stores the position. */
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
  /** In ms since the epoch. */
  readonly since: number;
  /** The missed events were sent; none is missing. */
  readonly recovered: boolean;
}

/** Members of a room that joined, changed or left. */
export interface MembersFrame {
  /** Marks the frame. */
  readonly type: 'members';
  /** The room that the members are in. */
  readonly room: string;
  /** A complete list begins with this frame and replaces the earlier one. */
  readonly reset?: boolean;
  /** More frames of the same list follow. */
  readonly more?: boolean;
  /** Number of members, if the join asked for it only; `members` is then empty. */
  readonly count?: number;
  /** All members, or those that changed. */
  readonly members: readonly MemberInfo[];
  /** The client may not see the members, or no longer: the empty list is the last frame, until a join asks again. */
  readonly code?: ProtocolErrorCode;
  /** For developers; only with `code`. */
  readonly message?: string;
}

/** A user in a room. `I`: the type of `info`. */
export interface MemberInfo<I = unknown> {
  /** The id of the user. */
  readonly user: string;
  /** The `info` of the user's latest socket in the room; null if none was given. */
  readonly info: I;
  /** Number of the user's sockets in the room; 0: the user left. */
  readonly sockets: number;
}

/** The presence of watched users: first the current state, then each change. */
export interface PresenceFrame {
  /** Marks the frame. */
  readonly type: 'presence';
  /** All watched users at first, then those that changed. */
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
  /** The server has ended the watch of this user: no change follows, until another `watch` asks for them. */
  readonly code?: ProtocolErrorCode;
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
