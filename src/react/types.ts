import type {
  ClientDiscontinuity,
  ClientError,
  EventMap,
  EventName,
  Jsonify,
  MemberInfo,
  Room,
  RoomState,
} from '../client/index.js';

/** One event of a room, as {@link useRoom} lists it. `N`: the names that are listed. */
export type TimelineEvent<E extends object = EventMap, N extends EventName<E> = EventName<E>> = {
  [K in N]: {
    /** Unique in the list, for React's `key`. The same before and after a pending event arrives. */
    readonly key: string;
    /** Name of the event. */
    readonly event: K;
    /** Data of the event. */
    readonly data: Jsonify<E[K]>;
    /** The user who sent it; undefined for events of a server. */
    readonly from: string | undefined;
    /** Position in the room's history; undefined without history. */
    readonly position: string | undefined;
    /** Time of publishing by Redis's clock, in ms since the epoch; undefined without a position. */
    readonly at: number | undefined;
    /** From the history: loaded, or missed during a lost connection. False for live and pending events. */
    readonly replayed: boolean;
    /**
     * `received`: from the room. `pending`: sent by this client, not yet received back; listed last, and not
     * counted by `limit`. `failed`: see `error`; {@link RoomView.resend} repeats it.
     */
    readonly status: 'received' | 'pending' | 'failed';
    /** Why sending failed; with the outcome `unknown` the event may have been sent. */
    readonly error: ClientError | undefined;
  };
}[N];

/** Events may be missing from the list. */
export interface RoomDiscontinuity extends ClientDiscontinuity {
  /** Unique in the list, for React's `key`. */
  readonly key: string;
  /** The `key` of the event before the gap; undefined for a gap before the first event. */
  readonly after: string | undefined;
}

/** Options of {@link useRoom}. Changes of `last` and `info` have no effect. `N`: names of events; `I`: of `info`. */
export interface UseRoomOptions<N extends string = string, I = unknown> {
  /** Number of latest events to begin with, 0 to 1,000. @default 0, or 50 with `around` */
  readonly last?: number | undefined;
  /**
   * Position to show instead of the latest events: the list begins with `last` events around it, and `loadOlder` and
   * `loadNewer` continue it. If the history does not have the position, `discontinuities` shows that. Another position
   * begins another list. @default the latest events
   */
  readonly around?: string | undefined;
  /** Shown to the other members; `update` replaces it. JSON. @default nothing */
  readonly info?: I | undefined;
  /** Keep {@link RoomView.members} up to date; `'count'`: only {@link RoomView.count}. @default false */
  readonly members?: boolean | 'count' | undefined;
  /** The names of the events to list. @default all */
  readonly events?: readonly N[] | undefined;
  /** False: do not join, as with the name null. @default true */
  readonly enabled?: boolean | undefined;
  /**
   * Time in ms, up to an hour, that the user stays in the room, and the list is kept, after the last component has
   * unmounted. Bridges a change of pages. The largest value of a room's components counts. @default 0
   */
  readonly linger?: number | undefined;
  /** Number of events to list, at least 1, besides loaded older ones. @default 200, or `last` if larger */
  readonly limit?: number | undefined;
  /**
   * Number of loaded events to list besides `limit`, at least 1. With more, `loadOlder` removes the latest events:
   * `hasNewer` is then true, and `loadNewer` and {@link RoomView.jumpToLatest} bring them back; `loadNewer` removes the
   * oldest. @default no maximum
   */
  readonly maxLoaded?: number | undefined;
}

/**
 * A room, from {@link useRoom}: the same object until something in it changes. `E`: the data of the room's events, by
 * name. `N`: the names that are listed. `I`: the `info` of members.
 */
export interface RoomView<E extends object = EventMap, N extends EventName<E> = EventName<E>, I = unknown> {
  /** `idle`: the name is null, or `enabled` is false. For the others see {@link RoomState}. */
  readonly state: RoomState | 'idle';
  /** The events, oldest first: the same array until it changes. */
  readonly events: readonly TimelineEvent<E, N>[];
  /** Places in `events` where events may be missing: the same array until it changes. */
  readonly discontinuities: readonly RoomDiscontinuity[];
  /** The members, if `members` is true: the same Map until it changes. Unchanged members keep their objects. */
  readonly members: ReadonlyMap<string, MemberInfo<Jsonify<I> | null>>;
  /** The number of members, if `members` is set; 0 until the server has sent it. */
  readonly count: number;
  /** `loadOlder` may find older events. False in rooms without history, and until the room is joined. */
  readonly hasOlder: boolean;
  /**
   * `loadNewer` may find newer events: the list does not reach the latest event, because it has begun `around` a
   * position or has more loaded events than `maxLoaded`.
   */
  readonly hasNewer: boolean;
  /** Why the server refused the room, or events could not be loaded. */
  readonly error: ClientError | undefined;
  /**
   * As `Room.send` of the client. The event is listed as `pending` at once, unless `echo` is false or it is `volatile`, and as
   * `failed` if it fails; the promise then need not be handled. From a list that does not reach the latest event, it jumps
   * to the latest. The same function until the name changes.
   *
   * @throws {ClientError} (rejects) As `Room.send`; `CLOSED` while there is no room.
   */
  readonly send: Room<E>['send'];
  /** Sends a failed event again, with the same idempotency key. No effect for other keys. */
  readonly resend: (key: string) => void;
  /** Removes a failed event from the list. No effect for other keys. */
  readonly discard: (key: string) => void;
  /**
   * As `Room.update` of the client.
   *
   * @throws {ClientError} (rejects) As `Room.update`; `CLOSED` while there is no room.
   */
  readonly update: (info: I) => Promise<void>;
  /**
   * Adds up to `limit` older events (1 to 1,000, by default 50). Resolves with whether older events may exist.
   * A call during another returns its result.
   *
   * @throws {ClientError} (rejects) As `Room.history`; `CLOSED` while there is no room.
   */
  readonly loadOlder: (limit?: number) => Promise<boolean>;
  /**
   * Adds up to `limit` newer events (1 to 1,000, by default 50). Resolves with whether newer events may exist: if not, the
   * list has reached the latest event, and live events follow. A call during another returns its result.
   *
   * @throws {ClientError} (rejects) As `Room.history`; `CLOSED` while there is no room.
   */
  readonly loadNewer: (limit?: number) => Promise<boolean>;
  /**
   * Shows the latest events: a list that does not reach them is replaced, once they have been read; until then it stays.
   * Removes the loaded older events beyond `limit`, which `loadOlder` finds again. Another value of `around` begins another
   * list again.
   *
   * @throws {ClientError} (rejects) As `Room.history`; `CLOSED` while there is no room.
   */
  readonly jumpToLatest: () => Promise<void>;
  /**
   * Adds older events until the one at `position` is in the list, for a jump to a message. Resolves with its `key`, or
   * with undefined if the history or the list does not have it; then all older events are loaded.
   *
   * @throws {ClientError} (rejects) As `Room.history`; `CLOSED` while there is no room.
   */
  readonly loadUntil: (position: string) => Promise<string | undefined>;
  /** Joins a refused room again, after the last event. No effect in other states. */
  readonly retry: () => void;
}
