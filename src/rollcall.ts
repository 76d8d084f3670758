import type { Clock } from './internal/clock.js';
import type { ErrorListener } from './internal/diagnostics.js';
import type { PresenceOptions } from './presence/options.js';
import { PresenceService } from './presence/presence-service.js';
import type { PubSubOptions } from './pubsub/options.js';
import { PubSubService } from './pubsub/pubsub-service.js';
import type { RedisClient } from './redis/detect.js';
import type { RoomServiceOptions } from './rooms/options.js';
import { RoomService } from './rooms/room-service.js';

/** Options of {@link createRollcall}; what all services share stands at the top. */
export interface RollcallOptions {
  /** Your Redis client. It stays yours: rollcall connects it if nobody has, and never closes it. */
  redis: RedisClient;
  /** Gets every failure that no caller waits for. */
  onError?: ErrorListener;
  /** Within how many ms every call settles. @default 5_000 */
  timeout?: number;
  /** Where time and chance come from; for tests. @default the system's */
  clock?: Clock;
  /** Options of the pub/sub service alone. */
  pubsub?: Omit<PubSubOptions, 'redis'>;
  /** Options of the presence service alone. */
  presence?: Omit<PresenceOptions, 'redis'>;
  /** Options of the room service alone. */
  rooms?: Omit<RoomServiceOptions, 'pubsub' | 'presence'>;
}

/** All services on one client, and their end. */
export interface Rollcall {
  /** Publish and subscribe. */
  readonly pubsub: PubSubService;
  /** Who is online. */
  readonly presence: PresenceService;
  /** Rooms for peers on any transport. */
  readonly rooms: RoomService;
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
export function createRollcall(options: RollcallOptions): Rollcall {
  const {
    redis,
    pubsub: pubsubOptions,
    presence: presenceOptions,
    rooms: roomOptions,
    ...shared
  } = options ?? {};
  // Presence first: it checks more, and a constructor that throws must leave nothing open.
  const presence = new PresenceService({ ...shared, ...presenceOptions, redis });
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
    await rooms.close(closing);
    await Promise.all([presence.close(closing), pubsub.close()]);
  };
  return { pubsub, presence, rooms, close, [Symbol.asyncDispose]: () => close() };
}
