import type { HistoryOptions } from '../history/append.js';
import type { Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { RoomService } from '../rooms/room-service.js';

/** Options of a notification service. */
export interface NotificationServiceOptions {
  /** What reaches the users' sockets; its pub/sub and presence services are used too. */
  rooms: RoomService;
  /**
   * What is kept for each user. Of all services on one Redis the latest call decides, so give
   * all the same. @default the last 100 for 30 days
   */
  history?: HistoryOptions;
  /** Gets every failure that no caller waits for. @default nobody */
  onError?: ErrorListener;
}

/** Options of `notify`. */
export interface NotifyOptions {
  /**
   * Makes repetitions one notification, for 10 minutes: with the same key, and the same content, call
   * `notify` again when it failed. At most 512 bytes. @default none
   */
  idempotencyKey?: string;
  /** False: it is only kept; no socket is told now. @default true */
  live?: boolean;
}

/** What `notify` resolves with: the notification is kept. */
export interface NotifyResult {
  /** Names the notification; what `acknowledge` takes. */
  readonly id: Position;
  /** The idempotency key was known: `id` is the earlier notification's. */
  readonly duplicate: boolean;
  /**
   * How many processes with sockets of the user got it just now; on a Cluster those of one node at most. 0
   * when there are none, when they had got it before, and when telling them failed (see `onError`).
   */
  readonly delivered: number;
  /**
   * The user has sockets, or had until a moment ago (the presence service's `grace`), be he invisible or not. If
   * not, send him a push message or mail. `undefined` without a presence service, or when it failed.
   */
  readonly online: boolean | undefined;
}

/** A notification as it is kept. */
export interface Notification {
  /** What names it. Grows from one to the next. */
  readonly id: Position;
  /** When it was made, by Redis's clock. */
  readonly at: Date;
  /** What was given to `notify`. */
  readonly data: Json;
  /** It, or a later one, was acknowledged. */
  readonly read: boolean;
}

/** Options of `list`. */
export interface NotificationListOptions {
  /** Only what is older than this one: the last one of the page before. @default from the newest on */
  before?: Position;
  /** At most so many, 1 to 1,000; fewer where they are large. @default 50 */
  limit?: number;
}

/** How many notifications are unread. */
export interface UnreadNotifications {
  /** How many there are; no more than 100 are counted. */
  readonly count: number;
  /** There are more than that. */
  readonly capped: boolean;
  /** False when some that were never acknowledged are not kept any more, or were lost with Redis's memory. */
  readonly complete: boolean;
}

/** What `list` resolves with. */
export interface NotificationList {
  /** Newest first. */
  readonly notifications: Notification[];
  /** There are older ones: go on with `before` the last one of these. */
  readonly more: boolean;
  /** How many are unread, on whichever page. */
  readonly unread: UnreadNotifications;
  /** The latest one that was acknowledged; `0-0` for none. */
  readonly readUpTo: Position;
}

/** Options of `acknowledge`. */
export interface AcknowledgeOptions {
  /** The id of a socket that need not be told: the one it came from. @default none */
  except?: string;
}

/** What `acknowledge` resolves with. */
export interface AcknowledgeResult {
  /** Up to where all is read now: never before where it was. `0-0` for nowhere. */
  readonly readUpTo: Position;
}
