import type { HistoryOptions } from '../history/append.js';
import type { Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import type { ErrorListener } from '../internal/diagnostics.js';
import type { RoomService } from '../rooms/room-service.js';

/** Options of a notification service. */
export interface NotificationServiceOptions {
  /** Room service for the users' sockets; its pub/sub and presence services are used too. */
  rooms: RoomService;
  /**
   * Number of stored notifications per user, and their TTL. All services on one Redis need the same value,
   * because each call applies its own. @default the last 100 for 30 days
   */
  history?: HistoryOptions;
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
}

/** Options of `notify`. */
export interface NotifyOptions {
  /**
   * Stores repeated calls once, for 10 minutes: if `notify` fails, repeat it with the same key and content. At
   * most 512 bytes. @default none
   */
  idempotencyKey?: string;
  /** `false` only stores it: no socket receives it now. @default true */
  live?: boolean;
}

/** Result of `notify`, once the notification is stored. */
export interface NotifyResult {
  /** Id of the notification, for `acknowledge`. */
  readonly id: Position;
  /** True if the idempotency key was known: `id` is that of the earlier notification. */
  readonly duplicate: boolean;
  /**
   * Processes with sockets of the user that received it; on a Cluster those of one node at most. 0 also if they
   * had received it before, or if sending failed (see `onError`).
   */
  readonly delivered: number;
  /**
   * True if the user has sockets, invisible ones included, or is within the presence service's `grace`. If
   * false, send a push message or mail. `undefined` without a presence service, or if the read failed.
   */
  readonly online: boolean | undefined;
}

/** A stored notification. */
export interface Notification {
  /** Its id; later notifications have greater ones. */
  readonly id: Position;
  /** When it was stored, by Redis's clock. */
  readonly at: Date;
  /** The data passed to `notify`. */
  readonly data: Json;
  /** True if it or a later one was acknowledged. */
  readonly read: boolean;
}

/** Options of `list`. */
export interface NotificationListOptions {
  /** Only notifications older than this id: the last one of the previous page. @default from the newest on */
  before?: Position;
  /** Maximum number, 1 to 1,000; fewer if they are large. @default 50 */
  limit?: number;
}

/** Number of unread notifications. */
export interface UnreadNotifications {
  /** The number; at most 100 are counted. */
  readonly count: number;
  /** True if there are more than `count`, stored or not; only with the maximum `count`. */
  readonly capped: boolean;
  /** False if unread ones are no longer stored, or were lost by Redis. */
  readonly complete: boolean;
}

/** Result of `list`. */
export interface NotificationList {
  /** Newest first. */
  readonly notifications: Notification[];
  /** True if there are older ones: pass the last id as `before`. */
  readonly more: boolean;
  /** Number of unread notifications on all pages. */
  readonly unread: UnreadNotifications;
  /** Id of the latest acknowledged one; `0-0` for none. */
  readonly readUpTo: Position;
}

/** Options of `acknowledge`. */
export interface AcknowledgeOptions {
  /** Id of the socket that acknowledges, which must not receive the event. @default none */
  except?: string;
}

/** Result of `acknowledge`. */
export interface AcknowledgeResult {
  /** Id up to which all is read; never moves back. `0-0` for none. */
  readonly readUpTo: Position;
}

/** Result of `NotificationService.forget`. */
export interface ForgottenNotifications {
  /** There were stored notifications, or their last position. */
  readonly notifications: boolean;
  /** There was a read marker. */
  readonly readMarker: boolean;
}
