import type { HistoryResult, MemberInfo, SendResult, UserPresence } from '../protocol/frames.js';
import type { ClientError } from './client-error.js';
import type { Unsubscribe } from './emitter.js';

/** Events of the application: data type by event name. */
export type EventMap = Record<string, unknown>;

/** The names of the events in `E`. */
export type EventName<E> = Extract<keyof E, string>;

/** The frame of an event. */
export interface EventContext {
  /** The name of the event. */
  readonly event: string;
  /** The user who sent it; missing for events of a server. */
  readonly from?: string;
  /** Position in the history, if there is one. */
  readonly position?: string;
  /** Time of publishing by Redis's clock, in ms since the epoch; only with a position. */
  readonly at?: number;
  /** Missing for events sent to the user. */
  readonly room?: string;
  /** The first argument of the handler. */
  readonly data: unknown;
}

/**
 * Receives events one at a time, in the order of arrival. What it throws, or what a returned promise rejects with, is
 * emitted as `error` of the client.
 */
export type EventHandler<T> = (data: T, context: EventContext) => unknown;

/** Source of the application's events. */
export interface EventSubscriber<E extends object> {
  /** Calls `handler` for every event. */
  on(event: '*', handler: EventHandler<E[EventName<E>]>): Unsubscribe;
  /** Calls `handler` for each event with this name. The same function given twice is two handlers. */
  on<K extends EventName<E>>(event: K, handler: EventHandler<E[K]>): Unsubscribe;
}

/**
 * Whether the client is connected. `connecting`: an attempt is in progress. `waiting`: for the next attempt.
 * `closed`: permanently, by `close()` or by a close code that forbids to reconnect.
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

/** How a connection ended. */
export interface CloseInfo {
  /** The close code; 1006 if the connection was lost without one. */
  readonly code: number;
  /** For developers. */
  readonly reason: string;
}

/** A connection was lost or an attempt failed, and the client will reconnect. */
export interface Reconnecting extends CloseInfo {
  /** Failures in a row, from 1. */
  readonly attempt: number;
  /** Time until the next attempt, in ms. */
  readonly delay: number;
}

/** Events of the client itself. */
export interface ClientEvents {
  /** `client.state` has changed. */
  state: ClientState;
  /** The client is connected. */
  open: OpenEvent;
  /** The connection was lost or an attempt failed, and the client will reconnect. */
  reconnecting: Reconnecting;
  /** The client will not reconnect, because of `close()` or a close code that forbids it. The last event. */
  closed: CloseInfo;
  /** An error that no caller awaits: of a handler, a malformed frame, a refused room or watch, the URL function. */
  error: unknown;
  /** Events sent to the user may be missing. */
  discontinuity: ClientDiscontinuity;
}

/** Events before this point may be missing. */
export interface ClientDiscontinuity {
  /**
   * `reconnected` is reported by the client, where no history can fill the gap. The server reports `trimmed`, `wiped`,
   * `forked`, …
   */
  readonly reason: string;
  /** Events after this time may be missing, in ms since the epoch. */
  readonly since: number;
  /** No event is missing: the missed events were delivered in their place. */
  readonly recovered: boolean;
}

/** Options of every call. */
export interface CallOptions {
  /** How long to wait for the reply, in ms. @default the client's `timeout` */
  readonly timeout?: number | undefined;
  /** Ends the wait; the call rejects with the signal's reason. A written frame is not taken back. */
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

/** Options of {@link Client.join}. */
export interface JoinOptions {
  /** Begin with so many of the latest events, 0 to 1,000. @default 0 */
  readonly last?: number | undefined;
  /** Begin after this position, an earlier {@link Room.position}; `last` is then ignored. */
  readonly since?: string | undefined;
  /** Shown to the other members. JSON. */
  readonly info?: unknown;
  /** Keep {@link Room.members} up to date. @default false */
  readonly members?: boolean | undefined;
}

/** Options of {@link Room.send}. */
export interface SendOptions extends CallOptions {
  /** False: this connection does not receive its own event. @default true */
  readonly echo?: boolean | undefined;
  /** Do not store the event in the room's history, and do not repeat it after a lost connection. @default false */
  readonly transient?: boolean | undefined;
  /** Idempotency key, 1 to 64 characters: sends with the same key, also of another client, are one event. @default a random one */
  readonly key?: string | undefined;
}

/** Options of {@link Room.history}. */
export interface HistoryReadOptions extends CallOptions {
  /** Only events before this position. */
  readonly before?: string | undefined;
  /** At most so many events, 1 to 1,000. @default 50 */
  readonly limit?: number | undefined;
}

/**
 * Whether the room is joined. `joining`: also after a lost connection. `refused`: by the server, which is not asked
 * again until `retry()`. `left`: by `leave()`, or because the client is closed.
 */
export type RoomState = 'joining' | 'joined' | 'refused' | 'left';

/** A room of the user. The client joins it again after each lost connection. */
export interface Room<E extends object = EventMap> extends EventSubscriber<E> {
  /** The name of the room. */
  readonly name: string;
  /** Whether the room is joined. */
  readonly state: RoomState;
  /** Why the server refused the room; undefined in every other state. */
  readonly error: ClientError | undefined;
  /**
   * Resolves when the room is joined for the first time; rejects if it is refused or left first. Need not be awaited.
   * After `retry()` it is a new promise.
   */
  readonly ready: Promise<void>;
  /** Position of the last event; undefined without history. */
  readonly position: string | undefined;
  /** The room's members, if joined with `members`: the same Map until it changes. */
  readonly members: ReadonlyMap<string, MemberInfo>;
  /** The other users who are typing: the same array until it changes. */
  readonly typingUsers: readonly string[];

  /** Calls `handler` when events may be missing. */
  onDiscontinuity(handler: (discontinuity: ClientDiscontinuity) => unknown): Unsubscribe;
  /** Calls `handler` after `members` has changed. */
  onMembers(handler: (members: ReadonlyMap<string, MemberInfo>) => unknown): Unsubscribe;
  /** Calls `handler` after `typingUsers` has changed. */
  onTypingUsers(handler: (typingUsers: readonly string[]) => unknown): Unsubscribe;
  /** Calls `handler` after `state` has changed. */
  onState(handler: (state: RoomState) => unknown): Unsubscribe;

  /**
   * Publishes an event in the room. Waits for the connection and the room. In a room with history it is repeated after a
   * lost connection, until `timeout`, and is one event nevertheless.
   *
   * @throws {ClientError} (rejects) Without history, `CONNECTION_LOST` with the outcome `unknown` when the connection is
   * lost after the event was written; `TIMEOUT`, `QUEUE_FULL`, `TOO_LARGE`, `CLOSED`, or the error of the server.
   */
  send<K extends EventName<E>>(event: K, data: E[K], options?: SendOptions): Promise<SendResult>;
  /** To be called on every keystroke. Typing stops by itself after 3 s. The client sends at most one frame in 2 s. */
  startTyping(): void;
  /** To be called when the text is sent or discarded. */
  stopTyping(): void;
  /**
   * Shows another `info` to the other members, also after a reconnect. Resolves when the server has this one or a later.
   *
   * @throws {ClientError} (rejects) With the error of the server, or if the room is left first.
   */
  update(info: unknown): Promise<void>;
  /**
   * Reads a page of past events, newest first. Repeated after a lost connection, until `timeout`.
   *
   * @throws {ClientError} (rejects) As {@link Client.request}.
   */
  history(options?: HistoryReadOptions): Promise<HistoryResult>;
  /**
   * Asks again for a refused room, and resumes after its last position. Does nothing in any other state, and after
   * another `join` has taken the place of this room.
   */
  retry(): void;
  /**
   * Leaves the room, if called as often as `join` for this room; afterwards no handler is called. Resolves when the
   * server has carried it out or the connection is lost; never rejects.
   */
  leave(): Promise<void>;
}

/** A watch of users, from {@link Client.watch}. */
export interface ClientPresenceWatch {
  /** The presence of the users, as far as the server has reported it: the same Map until it changes. */
  current(): ReadonlyMap<string, UserPresence>;
  /** Watches these users, too. */
  add(users: Iterable<string>): void;
  /** Stops watching these users. */
  remove(users: Iterable<string>): void;
  /** Ends the watch; the handler is not called afterwards. */
  close(): void;
}

/**
 * A connection to a server of `rollcall/ws` that reconnects by itself. `E`: the events sent to the user, by name.
 * Created by {@link connect}.
 */
export interface Client<E extends object = EventMap> {
  /** Whether the client is connected. */
  readonly state: ClientState;
  /** The user, as authenticated by the server; undefined before the first connection. */
  readonly user: string | undefined;
  /** The server's id of the latest connection; undefined before the first. */
  readonly socket: string | undefined;
  /** Events that servers send to the user, independent of rooms. */
  readonly events: EventSubscriber<E>;

  /** Calls `handler` for an event of the client itself. Events of the application are in `events`. */
  on<K extends keyof ClientEvents>(event: K, handler: (info: ClientEvents[K]) => unknown): Unsubscribe;
  /**
   * Joins a room, and joins it again after each lost connection. Returns at once, so that handlers attached in the same
   * tick miss nothing. While the room is joined, another `join` returns the same Room, which then must be left as often.
   *
   * @throws {ClientError} `INVALID` when `name` is not a string, or empty.
   */
  join<R extends object = EventMap>(name: string, options?: JoinOptions): Room<R>;
  /**
   * Watches the presence of users. `handler` receives each change of `current()`. Users that another watch already
   * watches are in `current()` at once. The server is asked once per user.
   *
   * @throws {ClientError} `INVALID` when `users` is a string.
   */
  watch(users: Iterable<string>, handler?: (presence: UserPresence) => unknown): ClientPresenceWatch;
  /**
   * Sets the status of this connection and of those after it. Resolves when the server has this status or a later one,
   * however long that takes.
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
  /** Drops the connection and reconnects after a back-off, as after a lost connection; while waiting, connects at once. */
  reconnect(): void;
  /** Closes the client permanently. Pending calls reject with `CLOSED`; after the event `closed` no handler is called. */
  close(): void;
}
