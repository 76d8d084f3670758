import type { HistoryResult, MemberInfo, SendResult, UserPresence } from '../protocol/frames.js';
import type { ClientError } from './client-error.js';
import type { Unsubscribe } from './emitter.js';
import type { Jsonify } from './json-types.js';

/** Events of the application: data type by event name, as it is sent. Received data has the type {@link Jsonify} of it. */
export type EventMap = Record<string, unknown>;

/** The names of the events in `E`. */
export type EventName<E> = Extract<keyof E, string>;

declare const roomTypes: unique symbol;

/**
 * The name of a room with the types of the room: `E`, the data of its events by name, and `I`, the `info` of its
 * members. `join` and the hooks take the types from the name. A string at run time: `'lobby' as RoomName<Chat>`.
 */
export type RoomName<E extends object = EventMap, I = unknown> = string & {
  /** Only in the type. */
  readonly [roomTypes]: {
    /** The data of the events by name. */
    readonly events: E;
    /** The info of the members. */
    readonly info: I;
  };
};

/** The frame of an event. `T`: its data. */
export interface EventContext<K extends string = string, T = unknown> {
  /** The name of the event. */
  readonly event: K;
  /** The user who sent it; missing for events of a server. */
  readonly from?: string;
  /** Position in the history, if there is one. */
  readonly position?: string;
  /** Time of publishing by Redis's clock, in ms since the epoch; only with a position. */
  readonly at?: number;
  /**
   * The event is from the history: after a join with `last` or `since`, or because a lost connection missed it. Missing for
   * live events, to which a notification or a sound belongs.
   */
  readonly replayed?: true;
  /** Missing for events sent to the user. */
  readonly room?: string;
  /** First argument of the handler. */
  readonly data: T;
}

/** The frame of any event in `E`: the name narrows the type of `data`. */
export type AnyEventContext<E> = { [K in EventName<E>]: EventContext<K, Jsonify<E[K]>> }[EventName<E>];

/**
 * Receives events one at a time, in order of arrival. Its error or rejection is emitted as `error` of the
 * client.
 */
export type EventHandler<T, K extends string = string> = (data: T, context: EventContext<K, T>) => unknown;

/** Source of the application's events. */
export interface EventSubscriber<E extends object> {
  /** Calls `handler` for every event. */
  on(
    event: '*',
    handler: (data: Jsonify<E[EventName<E>]>, context: AnyEventContext<E>) => unknown,
  ): Unsubscribe;
  /** Calls `handler` for each event with this name. The same function given twice is two handlers. */
  on<K extends EventName<E>>(event: K, handler: EventHandler<Jsonify<E[K]>, K>): Unsubscribe;
}

/**
 * Whether the client is connected. `waiting`: for the next attempt. `closed`: permanently, by `close()` or by a
 * close code that forbids to reconnect.
 */
export type ClientState = 'connecting' | 'open' | 'waiting' | 'closed';

/** The client is connected. */
export interface OpenEvent {
  /** The user, as authenticated by the server. */
  readonly user: string;
  /** The server's id of the connection. */
  readonly socket: string;
  /** False for the first connection. */
  readonly reconnected: boolean;
}

/** The end of a connection. */
export interface CloseInfo {
  /** 1006 if the connection was lost without a close code. */
  readonly code: number;
  /** For developers. */
  readonly reason: string;
}

/** A connection was lost or an attempt failed, and the client will reconnect. */
export interface Reconnecting extends CloseInfo {
  /** Failures in a row, from 1; `reconnect()` is none, and leaves the number as it was. */
  readonly attempt: number;
  /** Time until the next attempt, in ms. */
  readonly delay: number;
}

/** Events of the client itself. */
export interface ClientEvents {
  /** `client.state` has changed. */
  state: ClientState;
  /** The client is connected, or its connection has another user. */
  open: OpenEvent;
  /** The connection was lost or an attempt failed; the client will reconnect. */
  reconnecting: Reconnecting;
  /** The client will not reconnect by itself. The last event, until `connect()`. */
  closed: CloseInfo;
  /**
   * An error that no caller awaits: of a handler or the URL function, a malformed frame, a refused room or
   * watch.
   */
  error: unknown;
  /** Events sent to the user may be missing. */
  discontinuity: ClientDiscontinuity;
}

/** Events before this point may be missing. */
export interface ClientDiscontinuity {
  /**
   * `reconnected`: reported by the client, without a history to fill the gap. The server's reasons are
   * `trimmed`, `wiped`, `forked`, …
   */
  readonly reason: string;
  /** In ms since the epoch. */
  readonly since: number;
  /** The missed events were delivered; none is missing. */
  readonly recovered: boolean;
}

/** Options of every call. */
export interface CallOptions {
  /** Limit for the reply, in ms. @default the client's `timeout` */
  readonly timeout?: number | undefined;
  /** Ends the wait; the call rejects with the signal's reason. A written frame may still take effect. */
  readonly signal?: AbortSignalLike | undefined;
}

/** The members of an `AbortSignal` that the client uses. */
export interface AbortSignalLike {
  /** The signal is aborted. */
  readonly aborted: boolean;
  /** The error of calls with this signal. */
  readonly reason: unknown;
  /** Calls `listener` when the signal is aborted. */
  addEventListener(type: 'abort', listener: () => void): void;
  /** Removes `listener`. */
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** Options of {@link Client.join}. `I`: the type of `info`. */
export interface ClientJoinOptions<I = unknown> {
  /** Number of latest events to begin with, 0 to 1,000. @default 0 */
  readonly last?: number | undefined;
  /** Begin after this {@link Room.position}; `last` is then ignored. */
  readonly since?: string | undefined;
  /** Shown to the other members. JSON. */
  readonly info?: I | undefined;
  /**
   * Keep {@link Room.members} up to date; `'count'`: only {@link Room.count}. Joins of one room share what any of them asks
   * for, until it has left. @default false
   */
  readonly members?: boolean | 'count' | undefined;
}

/** Result of {@link Room.send}. */
export interface ClientSendResult extends SendResult {
  /** The event was `volatile`, and was not sent. */
  readonly dropped?: boolean;
}

/** Options of {@link Room.send}. */
export interface SendOptions extends CallOptions {
  /** False: this connection does not receive its own event. @default true */
  readonly echo?: boolean | undefined;
  /** Not stored in the history, nor repeated after a lost connection. @default false */
  readonly transient?: boolean | undefined;
  /**
   * For events that are soon out of date, such as positions of a cursor: sent now or dropped, never queued, and not
   * stored. Dropped while the room is not joined, or with more than 16 kB on the way. The server sends no reply, so the
   * result is known at once; its refusal is an `error` of the client. @default false
   */
  readonly volatile?: boolean | undefined;
  /**
   * Idempotency key, 1 to 64 characters: sends with the same key, also of other clients, are one event.
   * @default a random one
   */
  readonly key?: string | undefined;
}

/** Options of {@link Room.history}: at most one of `before`, `since` and `around`. */
export interface ClientHistoryOptions extends CallOptions {
  /** The latest events before this position. @default the latest events of the room */
  readonly before?: string | undefined;
  /** The first events after this position, oldest first. */
  readonly since?: string | undefined;
  /** The event at this position, with about as many before as after it, oldest first. */
  readonly around?: string | undefined;
  /** Maximum number of events, 1 to 1,000. @default 50 */
  readonly limit?: number | undefined;
}

/**
 * Whether the room is joined. `joining`: also after a lost connection. `refused`: by the server, until
 * `retry()`. `left`: by `leave()`, or the client is closed.
 */
export type RoomState = 'joining' | 'joined' | 'refused' | 'left';

/**
 * A room, joined again after each lost connection. `E`: the data of its events, by name. `I`: the `info` of its
 * members.
 */
export interface Room<E extends object = EventMap, I = unknown> extends EventSubscriber<E> {
  /** The name of the room. */
  readonly name: string;
  /** Whether the room is joined. */
  readonly state: RoomState;
  /** Why the server refused the room. */
  readonly error: ClientError | undefined;
  /**
   * Resolves at the first join; rejects if the room is refused or left first. Need not be awaited. `retry()`
   * creates a new promise.
   */
  readonly ready: Promise<void>;
  /** Position of the last event; undefined without history. */
  readonly position: string | undefined;
  /** The room's members, if joined with `members`: the same Map until it changes. */
  readonly members: ReadonlyMap<string, MemberInfo<Jsonify<I> | null>>;
  /** The number of members, if joined with `members`; 0 until the server has sent it. */
  readonly count: number;
  /** The other users who are typing: the same array until it changes. */
  readonly typingUsers: readonly string[];

  /** Calls `handler` when events may be missing. */
  onDiscontinuity(handler: (discontinuity: ClientDiscontinuity) => unknown): Unsubscribe;
  /** Calls `handler` after `members` or `count` has changed. */
  onMembers(handler: (members: ReadonlyMap<string, MemberInfo<Jsonify<I> | null>>) => unknown): Unsubscribe;
  /** Calls `handler` after `typingUsers` has changed. */
  onTypingUsers(handler: (typingUsers: readonly string[]) => unknown): Unsubscribe;
  /** Calls `handler` after `state` has changed. */
  onState(handler: (state: RoomState) => unknown): Unsubscribe;

  /**
   * Publishes an event, once the room is joined. In a room with history it is repeated after a lost connection,
   * until `timeout`, and still is one event.
   *
   * @throws {ClientError} (rejects) Without history, `CONNECTION_LOST` with the outcome `unknown` when the
   * connection is lost after the event was written; `TIMEOUT`, `QUEUE_FULL`, `TOO_LARGE`, `CLOSED`, or the
   * error of the server.
   */
  send<K extends EventName<E>>(event: K, data: E[K], options?: SendOptions): Promise<ClientSendResult>;
  /** Call it on every keystroke; at most one frame in 2 s is sent. Typing ends by itself after 3 s. */
  startTyping(): void;
  /** Call it when the text is sent or discarded. */
  stopTyping(): void;
  /**
   * Replaces `info`, also for reconnects. Resolves when the server has this value or a later one.
   *
   * @throws {ClientError} (rejects) With the error of the server, or if the room is left first.
   */
  update(info: I): Promise<void>;
  /**
   * Reads a page of past events: by default the latest ones, newest first. Repeated after a lost connection, until
   * `timeout`.
   *
   * @throws {ClientError} (rejects) `INVALID` for a malformed position, or for two of them; as {@link Client.request}.
   */
  history(options?: ClientHistoryOptions): Promise<HistoryResult>;
  /**
   * Joins a refused room again, after its last position. No effect in other states, or after another `join` of
   * this name.
   */
  retry(): void;
  /**
   * Ends this join, and what it asked of the members. The last one leaves the room; then no handler is called. Resolves
   * when the server has processed it or the connection is lost; never rejects. Repeated calls have no effect.
   */
  leave(): Promise<void>;
}

/** A watch of users, from {@link Client.watch}. */
export interface ClientPresenceWatch {
  /** The presence reported so far: the same Map until it changes. */
  current(): ReadonlyMap<string, UserPresence>;
  /** Watches these users, too. */
  add(users: Iterable<string>): void;
  /** Stops watching these users. */
  remove(users: Iterable<string>): void;
  /** Ends the watch; the handler is not called afterwards. */
  close(): void;
}

/**
 * A connection to a server of `rollcall/ws` that reconnects. `E`: the events sent to the user, by name. Created
 * by {@link connect}.
 */
export interface Client<E extends object = EventMap> {
  /** Whether the client is connected. */
  readonly state: ClientState;
  /** As authenticated by the server; undefined before the first connection. `refresh` may change it. */
  readonly user: string | undefined;
  /** The server's id of the latest connection; undefined before the first. */
  readonly socket: string | undefined;
  /** Events sent to the user, independent of rooms. */
  readonly events: EventSubscriber<E>;

  /** Calls `handler` for an event of the client itself. */
  on<K extends keyof ClientEvents>(event: K, handler: (info: ClientEvents[K]) => unknown): Unsubscribe;
  /**
   * Joins a room; returns at once, so that handlers attached in the same tick miss nothing. All joins of a name share the
   * room; it is left when all that `join` returned have been left. A {@link RoomName} brings the types of the room.
   *
   * @throws {ClientError} `INVALID` when `name` is not a string, or empty.
   */
  join<R extends object = EventMap, I = unknown>(
    name: RoomName<R, I> | string,
    options?: ClientJoinOptions<NoInfer<I>>,
  ): Room<R, I>;
  /**
   * Watches users. `handler` receives each change of `current()`. The server is asked once per user.
   *
   * @throws {ClientError} `INVALID` when `users` is a string.
   */
  watch(users: Iterable<string>, handler?: (presence: UserPresence) => unknown): ClientPresenceWatch;
  /**
   * Sets the status of this connection and later ones. Resolves when the server has this status or a later one,
   * without a time limit.
   *
   * @throws {ClientError} (rejects) With the error of the server, or `CLOSED`.
   */
  setStatus(status: string): Promise<void>;
  /**
   * Calls a method of the application. Waits for a connection; is never repeated.
   *
   * @throws {ClientError} (rejects) `CONNECTION_LOST` with the outcome `unknown` when the connection is lost after the
   * request was written; `TIMEOUT`, `QUEUE_FULL`, `TOO_LARGE`, `CLOSED`, or the error of the server.
   */
  request(method: string, data?: unknown, options?: CallOptions): Promise<unknown>;
  /**
   * Sends the credentials of a new URL on the open connection, so that `url` must be a function: call it after a log-in or a
   * log-out. If the user is another one, and the server has `identityChange`, then `user` is that one, and `open` is emitted
   * again. Waits for a connection. Resolves when the server has accepted the credentials.
   *
   * @throws {ClientError} (rejects) `FORBIDDEN` for refused credentials, and, before it reconnects, for those of another user
   * without `identityChange`; `INVALID` for a `url` that is a string, and from a server that has nothing to refresh: call `reconnect()`; `LIMIT` when the new
   * user has too many sockets; `TIMEOUT`, `CLOSED`, or the error of the URL function.
   */
  refresh(): Promise<void>;
  /**
   * Checks the connection: while waiting, connects at once; while open, pings, and reconnects without a reply in 2 s.
   * Pages do so by themselves when they are shown or the network changes. Call it when another kind of application,
   * for example on a phone, comes to the foreground.
   */
  wake(): void;
  /** Reconnects after a back-off; while waiting, at once. */
  reconnect(): void;
  /**
   * Ends the connection. Rooms are left, watches end, pending calls reject with `CLOSED`; after the event `closed` no
   * handler is called, unless `connect()` is.
   */
  close(): void;
  /**
   * Connects again after `close()`, or after a close code that forbids to reconnect, for example with new credentials.
   * Handlers of the client and of `events` stay; rooms, watches and the status start again. No effect in other states.
   */
  connect(): void;
}
