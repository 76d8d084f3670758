/**
 * The frames of the protocol between a rollcall server and its clients: JSON objects, one per WebSocket
 * text message. Whoever gets a frame of a type, or with a member, that is unknown to him ignores it;
 * what would break an older reader gets another version.
 */

/** The subprotocol's name in `Sec-WebSocket-Protocol`. */
export const SUBPROTOCOL = 'rollcall.1';

/** The version that `welcome` names. */
export const PROTOCOL_VERSION = 1;

/** The event that says somebody types; `data` is {@link TypingData}. */
export const TYPING_EVENT = '$typing';

/** The event that tells servers to end a user's sockets; never sent to clients. */
export const DISCONNECT_EVENT = '$disconnect';

/** What {@link TYPING_EVENT} carries. */
export interface TypingData {
  /** For how many ms it holds, unless it is said again; 0 when it has ended. */
  readonly ttl: number;
}

/** What a request may carry beside its type: answered under this number by `ok` or `error`. */
interface RequestFields {
  /** Chosen by the client, another one for each request of a connection; without it only errors are told. */
  readonly id?: number;
}

/** Come into a room, and hear what is said there. */
export interface JoinFrame extends RequestFields {
  readonly type: 'join';
  readonly room: string;
  /** Begin after this position: what came since is sent before anything else. @default the next event */
  readonly since?: string;
  /** Begin with so many of the last events, 0 to 1,000; not together with `since`. @default 0 */
  readonly last?: number;
  /** Shown to others in the room. */
  readonly info?: unknown;
  /** Send `members` frames. @default false */
  readonly members?: boolean;
}

/** Show another info in a room one is in. */
export interface UpdateFrame extends RequestFields {
  readonly type: 'update';
  readonly room: string;
  readonly info: unknown;
}

/** Go out of a room. */
export interface LeaveFrame extends RequestFields {
  readonly type: 'leave';
  readonly room: string;
}

/** Say something in a room one is in. */
export interface SendFrame extends RequestFields {
  readonly type: 'send';
  readonly room: string;
  /** Not beginning with `$`. */
  readonly event: string;
  readonly data?: unknown;
  /** The same key makes a repetition the same message, where the room has history. 1 to 64 characters. */
  readonly key?: string;
  /** False: this socket need not get it itself. @default true */
  readonly echo?: boolean;
  /** False: it is not kept in the room's history. @default true */
  readonly keep?: boolean;
}

/** Somebody types, or has stopped. */
export interface TypingFrame extends RequestFields {
  readonly type: 'typing';
  readonly room: string;
  readonly on: boolean;
}

/** The status of this socket. */
export interface StatusFrame extends RequestFields {
  readonly type: 'status';
  readonly status: string;
}

/** Send `presence` frames of these users too, or no longer. */
export interface WatchFrame extends RequestFields {
  readonly type: 'watch' | 'unwatch';
  readonly users: readonly string[];
}

/** Read a page of a room's history; the room need not be joined. */
export interface HistoryFrame extends RequestFields {
  readonly type: 'history';
  readonly room: string;
  /** Only what comes before this position, newest first. */
  readonly before?: string;
  /** 1 to 1,000. @default 50 */
  readonly limit?: number;
}

/** A request of the application's own. */
export interface RequestFrame extends RequestFields {
  readonly type: 'request';
  readonly method: string;
  readonly data?: unknown;
}

/** Answered by `pong`. */
export interface PingFrame extends RequestFields {
  readonly type: 'ping';
}

/** What clients send. */
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
  /** The server's id for this socket. */
  readonly socket: string;
  readonly user: string;
  /** Where the events for the user begin, for `since` in the URL of the next connection. */
  readonly position?: string;
  /** After so many ms without a frame the client may send `ping`. */
  readonly heartbeat: number;
  /** The longest frame the server takes, in bytes. */
  readonly maxBytes: number;
}

/** A request was carried out. */
export interface OkFrame {
  readonly type: 'ok';
  readonly id: number;
  /** {@link JoinReply} for `join`, {@link SendResult} for `send`, {@link HistoryResult} for `history`. */
  readonly data?: unknown;
}

/** What `join` is answered with. */
export interface JoinReply {
  /** Where the room's events begin, where it has history. */
  readonly position?: string;
}

/** What `send` is answered with. */
export interface SendResult {
  /** The event's place in the room's history. */
  readonly position?: string;
  /** The key was known: it had been sent before. */
  readonly duplicate?: boolean;
}

/** What `history` is answered with. */
export interface HistoryResult {
  /** Newest first. */
  readonly events: readonly HistoryEvent[];
  /** There are older ones. */
  readonly more: boolean;
}

/** An event out of a room's history. */
export interface HistoryEvent {
  /** What happened. */
  readonly event: string;
  /** The user who said it; missing when a server did. */
  readonly from?: string;
  /** What belongs to it. */
  readonly data: unknown;
  /** Its place in the history; what `before` takes. */
  readonly position: string;
  /** When it was said, by Redis's clock, in ms since the epoch. */
  readonly at: number;
}

/** Why a request was not carried out. */
export type ProtocolErrorCode =
  /** The frame is malformed; nothing was done. */
  | 'INVALID'
  /** It is not allowed. */
  | 'FORBIDDEN'
  /** The room has to be joined first. */
  | 'NOT_JOINED'
  /** There is no such method. */
  | 'UNKNOWN_METHOD'
  /** Too many rooms or watched users, or too large. */
  | 'LIMIT'
  /** Too much at once; again after `retryAfter`. */
  | 'RATE_LIMITED'
  /** Redis is away; it has not happened, or with a key may be repeated. */
  | 'UNAVAILABLE'
  /** The server failed. */
  | 'INTERNAL';

/** A request was not carried out, or what came was none. */
export interface ErrorFrame {
  readonly type: 'error';
  /** Of the request; missing where that had none or could not be read. */
  readonly id?: number;
  readonly code: ProtocolErrorCode;
  /** For developers. */
  readonly message: string;
  /** After how many ms it may be tried again. */
  readonly retryAfter?: number;
}

/** Something was said in a room or, without `room`, to the user. */
export interface EventFrame {
  readonly type: 'event';
  readonly room?: string;
  /** Its place in the history; what `since` takes. */
  readonly position?: string;
  /** When it was said, by Redis's clock, in ms since the epoch; only with a position. */
  readonly at?: number;
  readonly event: string;
  /** The user who said it; missing when a server did. */
  readonly from?: string;
  readonly data: unknown;
}

/** An event that is none of this socket's business has this place: counts as received. */
export interface PositionFrame {
  /** What it is. */
  readonly type: 'position';
  /** Where; missing for what is sent to the user. */
  readonly room?: string;
  /** The place. */
  readonly position: string;
}

/** Events may be missing here. */
export interface DiscontinuityFrame {
  /** What it is. */
  readonly type: 'discontinuity';
  /** Where; missing for what is sent to the user. */
  readonly room?: string;
  /** Why: one of the reasons that `Discontinuity` has. */
  readonly reason: string;
  /** Since when, in ms since the epoch. */
  readonly since: number;
  /** It was made up for: what had been missing has come by now, in its place. */
  readonly recovered: boolean;
}

/** Who is in a room, or has come, changed or gone. */
export interface MembersFrame {
  /** What it is. */
  readonly type: 'members';
  /** Where. */
  readonly room: string;
  /** These are all; forget the others. */
  readonly reset?: boolean;
  /** Who. */
  readonly members: readonly MemberInfo[];
}

/** One user in a room. */
export interface MemberInfo {
  /** Who. */
  readonly user: string;
  /** What his latest socket shows there. */
  readonly info: unknown;
  /** How many of his sockets are there; 0 when he has gone. */
  readonly sockets: number;
}

/** How watched users are, or have become. */
export interface PresenceFrame {
  /** What it is. */
  readonly type: 'presence';
  /** How each of them is. */
  readonly users: readonly UserPresence[];
}

/** The presence of one user. */
export interface UserPresence {
  /** Who. */
  readonly user: string;
  /** `offline` for somebody without sockets. */
  readonly status: string;
  /** In ms since the epoch; 0 for somebody who was never seen. */
  readonly lastSeen: number;
}

/** The answer to `ping`. */
export interface PongFrame {
  readonly type: 'pong';
}

/** What servers send. */
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
