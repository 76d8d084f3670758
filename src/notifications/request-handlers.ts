import type { Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { InvalidArgumentError, markAsClientFault } from '../internal/errors.js';
import type {
  AcknowledgeOptions,
  AcknowledgeResult,
  NotificationList,
  NotificationListOptions,
  UnreadNotifications,
} from './options.js';

/** An authenticated socket of a user, for example a `RoomSocket`. */
export interface NotificationRequester {
  /** Id of the user. */
  readonly userId: string;
  /** Id of the socket, which does not receive events about its own acknowledgements. @default it receives them */
  readonly id?: string;
}

/** Handles a request; `data` is the client's, without validation. */
export type NotificationRequestHandler = (socket: NotificationRequester, data?: unknown) => Promise<Json>;

/** Request handlers by method; dates in replies are ms since the epoch. */
export interface NotificationRequestHandlers {
  /** Takes `{ before?, limit? }`; replies like `NotificationService.list`. */
  readonly 'notifications.list': NotificationRequestHandler;
  /** Takes nothing; replies like `NotificationService.unread`. */
  readonly 'notifications.unread': NotificationRequestHandler;
  /** Takes `{ id }`; replies like `NotificationService.acknowledge`. */
  readonly 'notifications.acknowledge': NotificationRequestHandler;
  /** No other methods. */
  readonly [method: string]: NotificationRequestHandler;
}

interface NotificationQueries {
  list(userId: string, options?: NotificationListOptions): Promise<NotificationList>;
  unread(userId: string): Promise<UnreadNotifications>;
  acknowledge(userId: string, id: Position, options?: AcknowledgeOptions): Promise<AcknowledgeResult>;
}

/** Largest page of a client, which shows it to a person. */
const MAX_LIMIT = 100;

export function createRequestHandlers(service: NotificationQueries): NotificationRequestHandlers {
  return Object.freeze({
    'notifications.list': blamingClient(async ({ userId }, data) => {
      const { before, limit } = assertObject(data ?? {});
      if (typeof limit === 'number' && limit > MAX_LIMIT) {
        throw new InvalidArgumentError('limit', `must be at most ${MAX_LIMIT}`);
      }
      // The service validates both types.
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
    }),
    'notifications.unread': async ({ userId }) => toUnreadReply(await service.unread(userId)),
    'notifications.acknowledge': blamingClient(async ({ userId, id: socketId }, data) => {
      const { id } = assertObject(data);
      const except = socketId === undefined ? {} : { except: socketId };
      const { readUpTo } = await service.acknowledge(userId, id as Position, except);
      return { readUpTo };
    }),
  });
}

/** What is invalid comes from the client: servers of connections answer `INVALID` and report nothing. */
function blamingClient(handler: NotificationRequestHandler): NotificationRequestHandler {
  return async (socket, data) => {
    try {
      return await handler(socket, data);
    } catch (error) {
      throw markAsClientFault(error);
    }
  };
}

function assertObject(data: unknown): { readonly [name: string]: unknown } {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    throw new InvalidArgumentError('data', 'must be an object');
  }
  return data as { readonly [name: string]: unknown };
}

function toUnreadReply({ count, capped, complete }: UnreadNotifications): Json {
  return { count, capped, complete };
}
