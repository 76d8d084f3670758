import type { Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { InvalidArgumentError } from '../internal/errors.js';
import type {
  AcknowledgeOptions,
  AcknowledgeResult,
  NotificationList,
  NotificationListOptions,
  UnreadNotifications,
} from './options.js';

/** Who asks: a socket that is known to be this user's. A `RoomSocket` will do. */
export interface NotificationRequester {
  /** The user. */
  readonly userId: string;
  /** The socket's id: it is not told of what it acknowledges itself. @default it is */
  readonly id?: string;
}

/** Answers a request; `data` is what came with it, unchecked. */
export type NotificationRequestHandler = (socket: NotificationRequester, data?: unknown) => Promise<Json>;

/** Handlers of requests, by method; dates in their answers are ms since the epoch. */
export interface NotificationRequestHandlers {
  /** Takes `{ before?, limit? }`, answers as `NotificationService.list` does. */
  readonly 'notifications.list': NotificationRequestHandler;
  /** Takes nothing, answers as `NotificationService.unread` does. */
  readonly 'notifications.unread': NotificationRequestHandler;
  /** Takes `{ id }`, answers as `NotificationService.acknowledge` does. */
  readonly 'notifications.acknowledge': NotificationRequestHandler;
  /** There are no others. */
  readonly [method: string]: NotificationRequestHandler;
}

/** The part of the service that clients may ask. */
interface NotificationQueries {
  list(userId: string, options?: NotificationListOptions): Promise<NotificationList>;
  unread(userId: string): Promise<UnreadNotifications>;
  acknowledge(userId: string, id: Position, options?: AcknowledgeOptions): Promise<AcknowledgeResult>;
}

/** A client's list is read by a person. */
const MAX_LIMIT = 100;

/** The requests that `service` answers. */
export function createRequestHandlers(service: NotificationQueries): NotificationRequestHandlers {
  return Object.freeze({
    'notifications.list': async ({ userId }, data) => {
      const { before, limit } = assertObject(data ?? {});
      if (typeof limit === 'number' && limit > MAX_LIMIT) {
        throw new InvalidArgumentError('limit', `must be at most ${MAX_LIMIT}`);
      }
      // The service checks what they are.
      const options = {
        ...(before === undefined ? {} : { before: before as Position }),
        ...(limit === undefined ? {} : { limit: limit as number }),
      };
      const { notifications, unread, more, readUpTo } = await service.list(userId, options);
      return {
        notifications: notifications.map(({ at, ...rest }) => ({ ...rest, at: at.getTime() })),
        unread: toUnreadReply(unread),
        more,
        readUpTo,
      };
    },
    'notifications.unread': async ({ userId }) => toUnreadReply(await service.unread(userId)),
    'notifications.acknowledge': async ({ userId, id: socketId }, data) => {
      const { id } = assertObject(data);
      const except = socketId === undefined ? {} : { except: socketId };
      const { readUpTo } = await service.acknowledge(userId, id as Position, except);
      return { readUpTo };
    },
  });
}

/** The members of what came with a request. */
function assertObject(data: unknown): { readonly [name: string]: unknown } {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    throw new InvalidArgumentError('data', 'must be an object');
  }
  return data as { readonly [name: string]: unknown };
}

function toUnreadReply({ count, capped, complete }: UnreadNotifications): Json {
  return { count, capped, complete };
}
