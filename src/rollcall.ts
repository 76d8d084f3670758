import type { Clock } from './internal/clock.js';
import type { Json } from './internal/codec.js';
import { type ErrorListener, isThenable } from './internal/diagnostics.js';
import { InvalidArgumentError } from './internal/errors.js';
import { assertOptions, type OptionNames } from './internal/validate.js';
import { NotificationService } from './notifications/notification-service.js';
import type { ForgottenNotifications } from './notifications/options.js';
import { PRESENCE_OPTION_NAMES } from './presence/option-names.js';
import type { PresenceOptions } from './presence/options.js';
import { PresenceService } from './presence/presence-service.js';
import { PUBSUB_OPTION_NAMES } from './pubsub/option-names.js';
import type { PubSubOptions } from './pubsub/options.js';
import { PubSubService } from './pubsub/pubsub-service.js';
import { looksLikeClient, type RedisClient } from './redis/detect.js';
import { ROOM_SERVICE_OPTION_NAMES } from './rooms/option-names.js';
import type { ForgetUserOptions, ForgottenUser, RoomServiceOptions } from './rooms/options.js';
import { RoomService } from './rooms/room-service.js';

/** Options of {@link createRollcall}; the top-level ones apply to all services. */
export interface RollcallOptions {
  /** Your Redis client. rollcall connects it if it is not connected, and never closes it. */
  redis: RedisClient;
  /**
   * Receives every failure that no caller awaits; `null` silences them. @default warns with
   * `process.emitWarning`
   */
  onError?: ErrorListener | null;
  /** Deadline of every call, in ms. @default 5_000 */
  timeout?: number;
  /** Source of time and randomness, for tests. @default the system's */
  clock?: Clock;
  /** Options of the pub/sub service only. */
  pubsub?: Omit<PubSubOptions, 'redis'>;
  /** Options of the presence service only. */
  presence?: Omit<PresenceOptions, 'redis'>;
  /** Options of the room service only. */
  rooms?: Omit<RoomServiceOptions, 'pubsub' | 'presence'>;
}

/** Result of {@link Rollcall.forget}. */
export interface ForgetResult extends ForgottenUser, ForgottenNotifications {
  /** Nothing remains: all of `remaining` is 0. */
  readonly complete: boolean;
}

/**
 * All services on one client.
 *
 * @typeParam StatusMeta - As of {@link PresenceService}.
 */
export interface Rollcall<StatusMeta extends Json = Json> {
  /** Publish and subscribe. */
  readonly pubsub: PubSubService;
  /** Presence of users. */
  readonly presence: PresenceService<StatusMeta>;
  /** Rooms for peers on any transport. */
  readonly rooms: RoomService;
  /**
   * Removes everything about a user from Redis, in all services: presence, rooms, messages to the user, notifications and the
   * read marker. Their connections are closed on all processes, unless `keepSockets`. An unknown user is no error.
   *
   * Their messages in rooms stay, except in `messagesIn`; so do their bans. So may what `remaining` names, until a later call. Works detached from the
   * object.
   *
   * @throws as `RoomService.forget`. After an error some of it may be removed: call it again.
   */
  forget(userId: string, options?: ForgetUserOptions): Promise<ForgetResult>;
  /** Closes all services. Works detached from the object; idempotent. */
  close(options?: { handoff?: boolean }): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Builds all services on one client, sharing its connections.
 *
 * @example
 * ```ts
 * const { pubsub, presence, rooms, close } = createRollcall({ redis: createClient({ url }) });
 * ```
 * @throws {@link InvalidArgumentError} for an unknown client or an option out of range.
 */
export function createRollcall<StatusMeta extends Json = Json>(
  options: RollcallOptions,
): Rollcall<StatusMeta> {
  assertRollcallOptions(options);
  const {
    redis,
    pubsub: pubsubOptions,
    presence: presenceOptions,
    rooms: roomOptions,
    ...shared
  } = options ?? {};
  // Presence first: it validates more, and if a constructor throws, nothing may stay open.
  const presence = new PresenceService<StatusMeta>({ ...shared, ...presenceOptions, redis });
  let pubsub: PubSubService | undefined;
  let rooms: RoomService;
  try {
    pubsub = new PubSubService({ ...shared, ...pubsubOptions, redis });
    const { timeout: _, ...forRooms } = shared;
    rooms = new RoomService({ ...forRooms, ...roomOptions, pubsub, presence });
  } catch (error) {
    void presence.close();
    void pubsub?.close();
    throw error;
  }
  const close = async (closing?: { handoff?: boolean }): Promise<void> => {
    assertOptions('options', closing, { handoff: true });
    await rooms.close(closing);
    await Promise.all([presence.close(closing), pubsub.close()]);
  };
  const notifications = new NotificationService({ rooms });
  const forget = async (userId: string, forgetting?: ForgetUserOptions): Promise<ForgetResult> => {
    const user = await rooms.forget(userId, forgetting);
    const { sockets, removals } = user.remaining;
    return {
      ...user,
      ...(await notifications.forget(userId)),
      complete: sockets === 0 && removals === 0,
    };
  };
  return { pubsub, presence, rooms, forget, close, [Symbol.asyncDispose]: () => close() };
}

const NAMES: OptionNames<RollcallOptions> = {
  redis: true,
  onError: true,
  timeout: true,
  clock: true,
  pubsub: true,
  presence: true,
  rooms: true,
};

const SERVICES = [
  ['presence', PRESENCE_OPTION_NAMES],
  ['pubsub', PUBSUB_OPTION_NAMES],
  ['rooms', ROOM_SERVICE_OPTION_NAMES],
] as const;

function assertRollcallOptions(options: RollcallOptions): void {
  if (looksLikeClient(options)) {
    throw new InvalidArgumentError('options', 'is a Redis client: call createRollcall({ redis: client })');
  }
  if (isThenable(options)) {
    throw new InvalidArgumentError('options', 'is a Promise: call createRollcall({ redis: await client })');
  }
  for (const [service, names] of SERVICES) {
    const misplaced = Object.keys(options ?? {}).find((name) => !Object.hasOwn(NAMES, name) && name in names);
    if (misplaced !== undefined) {
      const hint = `{ redis, ${service}: { ${misplaced} } }`;
      throw new InvalidArgumentError('options', `${misplaced} is an option of ${service}: pass ${hint}`);
    }
  }
  assertOptions('options', options, NAMES);
  // The services check them again, but call them `options`.
  for (const [service, names] of SERVICES) assertOptions(service, options?.[service], names);
}
