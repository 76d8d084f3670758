import { resolveHistoryOptions } from '../history/options.js';
import { assertPosition, ORIGIN, type Position, positionTime, publishedAt } from '../history/position.js';
import { encodeJson, type Json, jsonCodec } from '../internal/codec.js';
import { assertErrorListener, ErrorReporter } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertName, assertOptions, numberOption } from '../internal/validate.js';
import { type ChannelDefinition, type ChannelRef, defineChannel } from '../pubsub/channel-definition.js';
import type { HistoryMessage } from '../pubsub/options.js';
import { toRollcallError } from '../redis/replies.js';
import type { BroadcastOptions } from '../rooms/options.js';
import type { RoomService } from '../rooms/room-service.js';
import {
  ACKNOWLEDGE_OPTION_NAMES,
  NOTIFICATION_LIST_OPTION_NAMES,
  NOTIFICATION_SERVICE_OPTION_NAMES,
  NOTIFY_OPTION_NAMES,
} from './option-names.js';
import type {
  AcknowledgeOptions,
  AcknowledgeResult,
  ForgottenNotifications,
  Notification,
  NotificationList,
  NotificationListOptions,
  NotificationServiceOptions,
  NotifyOptions,
  NotifyResult,
  UnreadNotifications,
} from './options.js';
import { ReadMarkers } from './read-markers.js';
import { createRequestHandlers, type NotificationRequestHandlers } from './request-handlers.js';

const DAY = 86_400_000;
const YEAR = 365 * DAY;
/** Counting reads the notifications, so it is limited. */
const MAX_COUNT = 100;

const NOTIFICATION = 'notification';
const READ = 'notification:read';

/**
 * Notifications for users: sent to all their sockets now, and stored to be listed, counted and acknowledged later.
 * The service has no connection or timer, so nothing to close.
 *
 * @example
 * ```ts
 * const notifications = new NotificationService({ rooms });
 * const { id, online } = await notifications.notify('alice', { text: 'Bob has replied' });
 * const { unread } = await notifications.list('alice', { limit: 20 });
 * await notifications.acknowledge('alice', id);
 * ```
 */
export class NotificationService {
  readonly #rooms: RoomService;
  readonly #reporter: ErrorReporter;
  readonly #channel: ChannelDefinition<{ readonly userId: string }, Json>;
  readonly #readMarkers: ReadMarkers;

  /** @throws {@link InvalidArgumentError} for an option out of range. */
  constructor(options: NotificationServiceOptions) {
    if (typeof options?.rooms?.sendToUser !== 'function') {
      throw new InvalidArgumentError('rooms', 'must be a RoomService: pass the rooms of createRollcall');
    }
    assertOptions('options', options, NOTIFICATION_SERVICE_OPTION_NAMES);
    const { rooms, history = { size: 100, ttl: 30 * DAY }, onError } = options;
    assertErrorListener(onError);
    const { size, ttl } = resolveHistoryOptions(history);
    const markTtl = Math.max(YEAR, ttl);
    // Longer than any read marker, whose position would otherwise be unknown: `unread` would look incomplete.
    const positionTtl = history.positionTtl ?? markTtl + ttl;
    this.#rooms = rooms;
    this.#reporter = new ErrorReporter(onError);
    this.#readMarkers = new ReadMarkers(rooms.pubsub, markTtl);
    this.#channel = defineChannel<Json>()('notifications:{userId}', {
      history: { size, ttl, positionTtl },
      codec: jsonCodec,
    });
  }

  /**
   * Stores a notification, then sends the user's sockets the event `notification` with `{ id, at, data }`, `at`
   * in ms since the epoch. If only sending fails, the error goes to `onError`, and the list has the
   * notification. At-least-once: a client may receive one twice, with the same id.
   *
   * @throws {@link InvalidArgumentError} for a bad id or option, or data that is not JSON; all errors of
   * `PubSubService.publish`, whose `outcome` shows whether it may have been stored.
   */
  async notify(userId: string, notification: Json, options: NotifyOptions = {}): Promise<NotifyResult> {
    const channel = this.#channelOf(userId);
    assertOptions('options', options, NOTIFY_OPTION_NAMES);
    const { idempotencyKey, live = true } = options;
    if (typeof live !== 'boolean') throw new InvalidArgumentError('live', 'must be true or false');
    // The error names this argument, not that of `publish`.
    encodeJson('notification', notification);
    const publishing = idempotencyKey === undefined ? {} : { idempotencyKey };
    const { position, duplicate = false } = await this.#rooms.pubsub.publish(
      channel,
      notification,
      publishing,
    );
    const id = position as Position;
    const event = { id, at: publishedAt(id), data: notification };
    const [delivered, online] = await Promise.all([
      live ? this.#sendToUser(userId, NOTIFICATION, event, this.#idempotencyOption(id)) : 0,
      this.#online(userId),
    ]);
    return { id, duplicate, delivered, online };
  }

  /**
   * Reads a page of a user's stored notifications, read and unread, newest first.
   *
   * @throws {@link InvalidArgumentError} for a bad id or option; {@link CommandError},
   * {@link TimeoutError}, {@link ConnectionError} if the read fails.
   */
  async list(userId: string, options: NotificationListOptions = {}): Promise<NotificationList> {
    const channel = this.#channelOf(userId);
    assertOptions('options', options, NOTIFICATION_LIST_OPTION_NAMES);
    const { before } = options;
    const limit = numberOption('limit', options.limit, 50, { min: 1, max: 1_000, integer: true });
    if (before !== undefined) assertPosition('before', before);
    const paging = { reverse: true, limit, ...(before === undefined ? {} : { before }) };
    const [{ messages, more }, readUpTo] = await Promise.all([
      this.#rooms.pubsub.history(channel, paging),
      this.#readMarkers.get(userId),
    ]);
    const notifications = messages.map((message) => toNotification(message, readUpTo));
    return { notifications, more, unread: await this.#unread(channel, readUpTo), readUpTo };
  }

  /**
   * Counts the unread notifications of a user.
   *
   * @throws the errors of {@link NotificationService.list}.
   */
  async unread(userId: string): Promise<UnreadNotifications> {
    const channel = this.#channelOf(userId);
    return this.#unread(channel, await this.#readMarkers.get(userId));
  }

  /**
   * Marks all notifications up to this one as read, and sends the user's sockets the event `notification:read`
   * with `{ id }` if the marker has moved. The marker moves atomically and never back, so devices may
   * acknowledge in any order. An id beyond the newest marks the newest; an id older than all stored ones does
   * nothing. Idempotent.
   *
   * @throws {@link InvalidArgumentError} for a bad id or option; all errors of `PubSubService.history` and
   * `publish`.
   */
  async acknowledge(
    userId: string,
    id: Position,
    options: AcknowledgeOptions = {},
  ): Promise<AcknowledgeResult> {
    const channel = this.#channelOf(userId);
    assertPosition('id', id);
    assertOptions('options', options, ACKNOWLEDGE_OPTION_NAMES);
    const { except } = options;
    if (except !== undefined) assertName('except', except);
    // Ids come from clients: only positions of stored notifications are marked.
    const { messages } = await this.#rooms.pubsub.history(channel, {
      reverse: true,
      before: positionAfter(id),
      limit: 1,
    });
    const newest = messages[0]?.position ?? ORIGIN;
    const { readUpTo, moved } = await this.#readMarkers.advance(userId, newest);
    if (moved) {
      await this.#sendToUser(userId, READ, { id: readUpTo }, except === undefined ? {} : { except });
    }
    return { readUpTo };
  }

  /**
   * Removes a user's notifications and their read marker. An unknown user is no error. `Rollcall.forget` covers all services.
   *
   * @throws {@link InvalidArgumentError} for a bad id; all errors of `PubSubService.deleteHistory`. Repeating the call is
   * safe.
   */
  async forget(userId: string): Promise<ForgottenNotifications> {
    const [notifications, readMarker] = await Promise.all([
      this.#rooms.pubsub.deleteHistory(this.#channelOf(userId)),
      this.#readMarkers.remove(userId),
    ]);
    return { notifications, readMarker };
  }

  /**
   * Handlers of `notifications.list`, `notifications.unread` and `notifications.acknowledge`, always for the
   * socket's own user. Bad input throws {@link InvalidArgumentError}.
   */
  requestHandlers(): NotificationRequestHandlers {
    return createRequestHandlers(this);
  }

  /** Throws also for an id that makes the channel name too long. */
  #channelOf(userId: string): ChannelRef<Json> {
    assertName('userId', userId);
    return this.#channel({ userId });
  }

  async #unread(channel: ChannelRef<Json>, since: Position): Promise<UnreadNotifications> {
    const { messages, more, complete } = await this.#rooms.pubsub.history(channel, {
      since,
      limit: MAX_COUNT,
    });
    const count = messages.length;
    // A history of MAX_COUNT messages trims further unread notifications: they cannot be counted.
    return { count, capped: more || (count >= MAX_COUNT && !complete), complete };
  }

  /** If rooms store messages, a repeated `notify` sends only the missing ones. */
  #idempotencyOption(id: Position): BroadcastOptions {
    return this.#rooms.hasHistory ? { idempotencyKey: `${NOTIFICATION}:${id}` } : {};
  }

  /** Resolves with the number of processes that have sockets of the user. */
  async #sendToUser(userId: string, event: string, data: Json, options: BroadcastOptions): Promise<number> {
    try {
      return (await this.#rooms.sendToUser(userId, event, data, options)).receivers;
    } catch (error) {
      this.#reporter.report(toRollcallError(error), { stage: 'peer' });
      return 0;
    }
  }

  async #online(userId: string): Promise<boolean | undefined> {
    const { presence } = this.#rooms;
    if (presence === undefined) return undefined;
    try {
      const found = await presence.getPresence(userId, { reveal: true });
      return found !== null && found.status !== 'offline';
    } catch (error) {
      this.#reporter.report(toRollcallError(error), { stage: 'peer' });
      return undefined;
    }
  }
}

function toNotification(
  { position, publishedAt, message }: HistoryMessage<Json>,
  readUpTo: Position,
): Notification {
  return {
    id: position,
    at: publishedAt,
    data: message,
    read: positionTime(position) <= positionTime(readUpTo),
  };
}

/** The smallest position after `id`. */
function positionAfter(id: Position): Position {
  return `${Math.min(positionTime(id) + 1, Number.MAX_SAFE_INTEGER)}-0`;
}
