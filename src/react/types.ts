import type {
  ClientDiscontinuity,
  ClientError,
  EventMap,
  EventName,
  MemberInfo,
  Room,
  RoomState,
} from '../client/index.js';

/** One event of a room, as {@link useRoom} lists it. */
export type TimelineEvent<E extends object = EventMap> = {
  [K in EventName<E>]: {
    /** Unique in the list, for React's `key`. The same before and after a pending event arrives. */
    readonly key: string;
    /** Name of the event. */
    readonly event: K;
    /** Data of the event. */
    readonly data: E[K];
    /** The user who sent it; undefined for events of a server. */
    readonly from: string | undefined;
    /** Position in the room's history; undefined without history. */
    readonly position: string | undefined;
    /** Time of publishing by Redis's clock, in ms since the epoch; undefined without a position. */
    readonly at: number | undefined;
    /**
     * `received`: from the room. `pending`: sent by this client, and not yet received back; at the end of the list, and not
     * counted by `limit`. `failed`: `error` says why, and {@link RoomView.resend} sends it again.
     */
    readonly status: 'received' | 'pending' | 'failed';
    /** Why a failed event was not sent, or with the outcome `unknown` may not have been. */
    readonly error: ClientError | undefined;
  };
}[EventName<E>];

/** Events may be missing from the list. */
export interface RoomDiscontinuity extends ClientDiscontinuity {
  /** Unique in the list, for React's `key`. */
  readonly key: string;
  /** The `key` of the event before the gap; undefined for a gap before the first event. */
  readonly after: string | undefined;
}

/** Options of {@link useRoom}. `last` and `info` are used when the room is joined; later values have no effect. */
export interface UseRoomOptions {
  /** Begin with so many of the latest events, 0 to 1,000. @default 0 */
  readonly last?: number | undefined;
  /** Shown to the other members; `update` replaces it. JSON. @default nothing */
  readonly info?: unknown;
  /** Keep {@link RoomView.members} up to date. @default false */
  readonly members?: boolean | undefined;
  /** The names of the events to list. @default all */
  readonly events?: readonly string[] | undefined;
  /** False: do not join, as with the name null. @default true */
  readonly enabled?: boolean | undefined;
  /**
   * How long the user stays in the room after its last component has unmounted, in ms, up to an hour, so that going to
   * another page and back is no leave and join. The list is kept as long. The largest value of a room's components counts.
   * @default 0
   */
  readonly linger?: number | undefined;
  /** How many events to list, at least 1, besides older ones that were loaded. @default 200, or `last` if larger */
  readonly limit?: number | undefined;
}

/** A room, from {@link useRoom}: the same object until something in it changes. */
export interface RoomView<E extends object = EventMap> {
  /** `idle`: the name is null, or `enabled` is false. For the others see {@link RoomState}. */
  readonly state: RoomState | 'idle';
  /** The events, oldest first: the same array until it changes. */
  readonly events: readonly TimelineEvent<E>[];
  /** Where events may be missing from `events`: the same array until it changes. */
  readonly discontinuities: readonly RoomDiscontinuity[];
  /** The room's members, if `members` is set: the same Map until it changes. Unchanged members keep their objects. */
  readonly members: ReadonlyMap<string, MemberInfo>;
  /** `loadOlder` may find older events. False in rooms without history, and until the room is joined. */
  readonly hasOlder: boolean;
  /** Why the server refused the room, or why older events could not be loaded. */
  readonly error: ClientError | undefined;
  /**
   * Publishes an event in the room, as `Room.send` of the client does. The event is listed as `pending` at once, unless
   * `echo` is false, and as `failed` if it fails; the promise then need not be handled. The same function until the name
   * changes.
   *
   * @throws {ClientError} (rejects) As `Room.send`; `CLOSED` while there is no room.
   */
  readonly send: Room<E>['send'];
  /** Sends a failed event again, with the same idempotency key. Does nothing for any other key. */
  readonly resend: (key: string) => void;
  /** Removes a failed event from the list. Does nothing for any other key. */
  readonly discard: (key: string) => void;
  /**
   * Shows another `info` to the other members.
   *
   * @throws {ClientError} (rejects) As `Room.update`; `CLOSED` while there is no room.
   */
  readonly update: (info: unknown) => Promise<void>;
  /**
   * Adds up to `limit` older events (1 to 1,000, by default 50) before the others. Resolves with whether older events
   * may exist. A call during another one returns the result of that one.
   *
   * @throws {ClientError} (rejects) As `Room.history`; `CLOSED` while there is no room.
   */
  readonly loadOlder: (limit?: number) => Promise<boolean>;
  /** Asks again for a refused room, and resumes after the last event. Does nothing in any other state. */
  readonly retry: () => void;
}
