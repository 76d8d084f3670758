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
    /** Another one for each event of the list: what React wants as `key`. The position, where there is one. */
    readonly key: string;
    /** Its name. */
    readonly event: K;
    /** What it carries. */
    readonly data: E[K];
    /** The user who said it; undefined when a server did. */
    readonly from: string | undefined;
    /** Its place in the room's history; undefined where it has none. */
    readonly position: string | undefined;
    /** When it was said, by Redis's clock, in ms since the epoch; undefined without a position. */
    readonly at: number | undefined;
  };
}[EventName<E>];

/** Some events may be missing from a list. */
export interface RoomDiscontinuity extends ClientDiscontinuity {
  /** Another one for each of them. */
  readonly key: string;
  /** The `key` of the event after which it is; undefined before the first one. */
  readonly after: string | undefined;
}

/** What {@link useRoom} takes. What it says of the room counts when the room is joined. */
export interface UseRoomOptions {
  /** Begin with so many of the last events, 0 to 1,000. @default 0 */
  readonly last?: number | undefined;
  /** Shown to others in the room; `update` shows another. JSON. @default nothing */
  readonly info?: unknown;
  /** Keep {@link RoomView.members} current. @default false */
  readonly members?: boolean | undefined;
  /** The names of the events to list. @default all */
  readonly events?: readonly string[] | undefined;
  /** False: as with the name null, there is no room. @default true */
  readonly enabled?: boolean | undefined;
  /** How many events to list, at least 1; older ones that are loaded come on top. @default 200, or `last` if that is more */
  readonly limit?: number | undefined;
}

/** A room as it is now: the same object until something in it changes. From {@link useRoom}. */
export interface RoomView<E extends object = EventMap> {
  /** `idle`: there is no room, for its name is null. The others are the client's. */
  readonly state: RoomState | 'idle';
  /** What was said, oldest first: the same array until it changes. */
  readonly events: readonly TimelineEvent<E>[];
  /** Where events may be missing from it: the same array until it changes. */
  readonly discontinuities: readonly RoomDiscontinuity[];
  /** Who is in the room, where `members` is set: the same Map until it changes, with the same objects in it. */
  readonly members: ReadonlyMap<string, MemberInfo>;
  /** `loadOlder` may find something. False in rooms without history, and until the room is joined. */
  readonly hasOlder: boolean;
  /** Why the server refused, or why it gave no older events. */
  readonly error: ClientError | undefined;
  /**
   * Says something in the room, as `Room.send` of the client does. The same function as long as the name is the same.
   *
   * @throws {ClientError} (rejects) As `Room.send`; `CLOSED` while there is no room.
   */
  readonly send: Room<E>['send'];
  /**
   * Shows another info in the room from now on.
   *
   * @throws {ClientError} (rejects) As `Room.update`; `CLOSED` while there is no room.
   */
  readonly update: (info: unknown) => Promise<void>;
  /**
   * Puts a page of up to `limit` older events (1 to 1,000, by default 50) before the others. Resolves with whether
   * there are more. Calls while one is under way are one.
   *
   * @throws {ClientError} (rejects) As `Room.history`; `CLOSED` while there is no room.
   */
  readonly loadOlder: (limit?: number) => Promise<boolean>;
  /** Asks again for a room that was refused: its list goes on where it ends. Does nothing otherwise. */
  readonly retry: () => void;
}
