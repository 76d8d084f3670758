import { resolveHistoryOptions } from '../history/options.js';
import { assertPosition, ORIGIN, type Position, positionTime, publishedAt } from '../history/position.js';
import { encodeJson, type Json, jsonCodec } from '../internal/codec.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertFunction, assertName, assertOptions, numberOption } from '../internal/validate.js';
import { type ChannelDefinition, type ChannelRef, defineChannel } from '../pubsub/channel-definition.js';
import type { HistoryMessage } from '../pubsub/options.js';
import { toRollcallError } from '../redis/replies.js';
import type { BroadcastOptions } from '../rooms/options.js';
import type { RoomService } from '../rooms/room-service.js';
import type {
  AcknowledgeOptions,
  AcknowledgeResult,
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
/** More unread ones are not counted: counting is reading. */
const MAX_COUNT = 100;

/** The events by which a user's sockets are told. */
const NOTIFICATION = 'notification';
const READ = 'notification:read';

/**
 * Notifications for users, wherever they are: told to all their sockets now, and kept for when they come
 * back, to be listed, counted and acknowledged. It holds no connection and no timer of its own: there is
 * nothing to close.
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
  readonly #marks: ReadMarkers;

  /** @throws {@link InvalidArgumentError} for an option out of range. */
  constructor(options: NotificationServiceOptions) {
    if (typeof options?.rooms?.sendToUser !== 'function') {
      throw new InvalidArgumentError('rooms', 'must be a RoomService');
    }
    const { rooms, history = { size: 100, ttl: 30 * DAY }, onError } = options;
    if (onError !== undefined) assertFunction('onError', onError);
    const { size, ttl } = resolveHistoryOptions(history);
    const markTtl = Math.max(YEAR, ttl);
    // Remembered for longer than any mark: a mark must not outlive what it stands on, or all would look lost.
    const positionTtl = history.positionTtl ?? markTtl + ttl;
    this.#rooms = rooms;
    this.#reporter = new ErrorReporter(onError);
    this.#marks = new ReadMarkers(rooms.pubsub, markTtl);
    this.#channel = defineChannel<Json>()('notifications:{userId}', {
      history: { size, ttl, positionTtl },
      codec: jsonCodec,
    });
  }

  /**
   * Keeps a notification, then tells all sockets of the user by the event `notification` with
   * `{ id, at, data }`, `at` in ms since the epoch. It resolves when it is kept: a failure to tell goes to
   * `onError`, and the user finds it in his list. A client may get one twice, with the same id.
   *
   * @throws {@link InvalidArgumentError} for a bad id or option, or what JSON cannot say; and whatever
   * `PubSubService.publish` throws, whose `outcome` tells whether it may be kept all the same.
   */
  async notify(userId: string, notification: Json, options: NotifyOptions = {}): Promise<NotifyResult> {
    const channel = this.#channelOf(userId);
    assertOptions('options', options);
    const { idempotencyKey, live = true } = options;
    if (typeof live !== 'boolean') throw new InvalidArgumentError('live', 'must be true or false');
    // The argument is to be called by its name.
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
      live ? this.#sendToUser(userId, NOTIFICATION, event, this.#once(id)) : 0,
      this.#online(userId),
    ]);
    return { id, duplicate, delivered, online };
  }

  /**
   * Reads a page of what is kept for a user, newest first, whether read or not.
   *
   * @throws {@link InvalidArgumentError} for a bad id or option; {@link CommandError},
   * {@link TimeoutError}, {@link ConnectionError} when it cannot be read.
   */
  async list(userId: string, options: NotificationListOptions = {}): Promise<NotificationList> {
    const channel = this.#channelOf(userId);
    assertOptions('options', options);
    const { before } = options;
    const limit = numberOption('limit', options.limit, 50, { min: 1, max: 1_000, integer: true });
    if (before !== undefined) assertPosition('before', before);
    const paging = { reverse: true, limit, ...(before === undefined ? {} : { before }) };
    const [{ messages, more }, readUpTo] = await Promise.all([
      this.#rooms.pubsub.history(channel, paging),
      this.#marks.get(userId),
    ]);
    const notifications = messages.map((message) => toNotification(message, readUpTo));
    return { notifications, more, unread: await this.#unread(channel, readUpTo), readUpTo };
  }

  /**
   * How many notifications of a user are unread.
   *
   * @throws as {@link NotificationService.list} does.
   */
  async unread(userId: string): Promise<UnreadNotifications> {
    const channel = this.#channelOf(userId);
    return this.#unread(channel, await this.#marks.get(userId));
  }

  /**
   * Marks everything up to this notification, itself included, as read, and tells the user's sockets by the event
   * `notification:read` with `{ id }`, if that is new. Never moves back, in whatever order devices
   * acknowledge. An id beyond the newest one means that; one that is older than all that is kept, nothing.
   *
   * @throws {@link InvalidArgumentError} for a bad id or option; and whatever `PubSubService.history` and
   * `publish` throw. It may be repeated.
   */
  async acknowledge(
    userId: string,
    id: Position,
    options: AcknowledgeOptions = {},
  ): Promise<AcknowledgeResult> {
    const channel = this.#channelOf(userId);
    assertPosition('id', id);
    assertOptions('options', options);
    const { except } = options;
    if (except !== undefined) assertName('except', except);
    const [{ messages }, readUpTo] = await Promise.all([
      // Ids come from clients: only the place of a notification is ever marked.
      this.#rooms.pubsub.history(channel, { reverse: true, before: positionAfter(id), limit: 1 }),
      this.#marks.get(userId),
    ]);
    const newest = messages[0]?.position ?? ORIGIN;
    if (positionTime(newest) <= positionTime(readUpTo)) return { readUpTo };
    await this.#marks.advance(userId, newest);
    await this.#sendToUser(userId, READ, { id: newest }, except === undefined ? {} : { except });
    return { readUpTo: newest };
  }

  /**
   * Handlers of the requests `notifications.list`, `notifications.unread` and `notifications.acknowledge`, by which
   * users' own sockets ask: the user is the socket's, whatever the request says. What they throw for bad input
   * is {@link InvalidArgumentError}.
   */
  requestHandlers(): NotificationRequestHandlers {
    return createRequestHandlers(this);
  }

  /** The channel of a user; throws for a bad id, also one that makes its name too long. */
  #channelOf(userId: string): ChannelRef<Json> {
    assertName('userId', userId);
    // The longer one of the two channels, so that none of them is used in vain.
    this.#marks.channel(userId);
    return this.#channel({ userId });
  }

  async #unread(channel: ChannelRef<Json>, since: Position): Promise<UnreadNotifications> {
    const { messages, more, complete } = await this.#rooms.pubsub.history(channel, {
      since,
      limit: MAX_COUNT,
    });
    return { count: messages.length, capped: more, complete };
  }

  /** Where rooms keep what is sent to users, a repetition of `notify` tells them only what it had not. */
  #once(id: Position): BroadcastOptions {
    return this.#rooms.hasHistory ? { idempotencyKey: `${NOTIFICATION}:${id}` } : {};
  }

  /** Tells the user's sockets; resolves with how many processes have some. */
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

/** A position that comes after `id`, and before whatever comes after that. */
function positionAfter(id: Position): Position {
  return `${Math.min(positionTime(id) + 1, Number.MAX_SAFE_INTEGER)}-0`;
}
