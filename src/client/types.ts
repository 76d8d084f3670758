import type { HistoryResult, MemberInfo, SendResult, UserPresence } from '../protocol/frames.js';
import type { ClientError } from './client-error.js';
import type { Unsubscribe } from './emitter.js';
import type { CallOptions } from './request-queue.js';

/** The names of events of the application's, and what each carries. */
export type EventMap = Record<string, unknown>;

/** The names of the events in `E`. */
export type EventName<E> = Extract<keyof E, string>;

/** The frame that an event came in. */
export interface EventContext {
  /** Its name. */
  readonly event: string;
  /** The user who said it; missing when a server did. */
  readonly from?: string;
  /** Its place in the history, where it has one. */
  readonly position?: string;
  /** When it was said, by Redis's clock, in ms since the epoch; only with a position. */
  readonly at?: number;
  /** The room it was said in; missing in events sent to the user. */
  readonly room?: string;
  /** What the handler gets as its first argument. */
  readonly data: unknown;
}

/**
 * Takes events, one at a time, in the order in which they came. What it throws, or what a promise it returns rejects
 * with, goes to `error` of the client.
 */
export type EventHandler<T> = (data: T, context: EventContext) => unknown;

/** Where an application's events can be listened to. */
export interface EventSubscriber<E extends object> {
  /** Calls `handler` for every event. */
  on(event: '*', handler: EventHandler<E[EventName<E>]>): Unsubscribe;
  /** Calls `handler` for each event of this name. The same function given twice is two handlers. */
  on<K extends EventName<E>>(event: K, handler: EventHandler<E[K]>): Unsubscribe;
}

/** Between the events before and after this some may be missing. */
export interface ClientDiscontinuity {
  /**
   * `reconnected` is the client's own, where there is no history that could make up for a break; others come from the
   * server: `trimmed`, `wiped`, `forked`, …
   */
  readonly reason: string;
  /** Since when, in ms since the epoch. */
  readonly since: number;
  /** It was made up for: what had been missing has come by now, in its place. */
  readonly recovered: boolean;
}

/** What {@link Client.join} takes. */
export interface JoinOptions {
  /** Begin with so many of the last events, 0 to 1,000. @default 0 */
  readonly last?: number | undefined;
  /** Begin after this position, one that a {@link Room.position} was before; `last` is not looked at then. */
  readonly since?: string | undefined;
  /** Shown to others in the room. */
  readonly info?: unknown;
  /** Keep {@link Room.members} current. @default false */
  readonly members?: boolean | undefined;
}

/** What {@link Room.send} takes. */
export interface SendOptions extends CallOptions {
  /** False: this connection need not get it itself. @default true */
  readonly echo?: boolean | undefined;
  /** Do not store the event in the room's history, and do not send it again after a break. @default false */
  readonly transient?: boolean | undefined;
  /** Repetitions with the same key, also by another client, are the same message. 1 to 64 characters. @default a random one */
  readonly key?: string | undefined;
}

/** What {@link Room.history} takes. */
export interface HistoryReadOptions extends CallOptions {
  /** Only what comes before this position, newest first. */
  readonly before?: string | undefined;
  /** At most so many events, 1 to 1,000. @default 50 */
  readonly limit?: number | undefined;
}

/**
 * Whether the user is in the room. `joining`: not yet, or not again yet after a break. `refused`: the server said no,
 * and is not asked again. `left`: by `leave()`, or because the client is closed.
 */
export type RoomState = 'joining' | 'joined' | 'refused' | 'left';

/** A room that the user is in, or is coming into. It is joined again by itself after each break. */
export interface Room<E extends object = EventMap> extends EventSubscriber<E> {
  /** What it was joined by. */
  readonly name: string;
  /** Whether the user is in. */
  readonly state: RoomState;
  /** Why the server refused; undefined in every other state. */
  readonly error: ClientError | undefined;
  /** Resolves when the room is joined for the first time; rejects when that is refused, or the room left before. */
  readonly ready: Promise<void>;
  /** The position of the last event; undefined where there is no history. */
  readonly position: string | undefined;
  /** Who is in the room, where it was joined with `members`: the same Map until it changes. */
  readonly members: ReadonlyMap<string, MemberInfo>;
  /** Who types now, without the user himself: the same array until it changes. */
  readonly typingUsers: readonly string[];

  /** Calls `handler` where events may be missing. */
  onDiscontinuity(handler: (discontinuity: ClientDiscontinuity) => unknown): Unsubscribe;
  /** Calls `handler` after `members` has changed. */
  onMembers(handler: (members: ReadonlyMap<string, MemberInfo>) => unknown): Unsubscribe;
  /** Calls `handler` after `typingUsers` has changed. */
  onTypingUsers(handler: (typingUsers: readonly string[]) => unknown): Unsubscribe;
  /** Calls `handler` after `state` has changed. */
  onState(handler: (state: RoomState) => unknown): Unsubscribe;

  /**
   * Says something in the room. Waits for a connection, and is said again after a break, until `timeout`; in a room
   * with history it is one message all the same.
   *
   * @throws {ClientError} (rejects) `CONNECTION_LOST` with the outcome `unknown` where there is no history, and the
   * connection broke after it was written; `TIMEOUT`, `QUEUE_FULL`, `TOO_LARGE`, `CLOSED`, or what the server says.
   */
  send<K extends EventName<E>>(event: K, data: E[K], options?: SendOptions): Promise<SendResult>;
  /**
   * Call it on every keystroke. Without a call for 3 s typing stops by itself. At most one frame in 2 s is sent.
   */
  startTyping(): void;
  /** Call it when the text was sent or discarded. */
  stopTyping(): void;
  /**
   * Shows another info in the room from now on, after breaks too. Resolves when the server knows this one or a later.
   *
   * @throws {ClientError} (rejects) When the server refuses, or the room is left before.
   */
  update(info: unknown): Promise<void>;
  /**
   * Reads a page of what was said. Repeated after a break, until `timeout`.
   *
   * @throws {ClientError} (rejects) As {@link Client.request}.
   */
  history(options?: HistoryReadOptions): Promise<HistoryResult>;
  /**
   * Goes out, when it was called as often as `join` for this room. No handler is called after that. Resolves when the
   * server has carried it out or the connection is gone; never rejects.
   */
  leave(): Promise<void>;
}

/** Users whose presence is followed, from {@link Client.watch}. */
export interface ClientPresenceWatch {
  /** How they are, as far as the server has said: the same Map until it changes. */
  current(): ReadonlyMap<string, UserPresence>;
  /** Follows these too. */
  add(users: Iterable<string>): void;
  /** Follows these no longer. */
  remove(users: Iterable<string>): void;
  /** Ends it; the handler is not called any more. */
  close(): void;
}
