export type { Clock, Timer } from './clock.js';
export { systemClock } from './clock.js';
export type { Codec, Json } from './codec.js';
export { jsonCodec } from './codec.js';
export type { ErrorContext, ErrorListener, ErrorStage } from './diagnostics.js';
export type { Outcome, RollcallErrorCode } from './errors.js';
export {
  ClosedError,
  CommandError,
  ConfigurationError,
  ConnectionError,
  DecodeError,
  HandlerError,
  InvalidArgumentError,
  isRollcallError,
  LimitError,
  OverflowError,
  RollcallError,
  TimeoutError,
  UnsupportedError,
} from './errors.js';
export { escapePattern } from './keys.js';
export type {
  ClosePresenceOptions,
  OnlineUsersOptions,
  PresenceOptions,
  PresenceStats,
  ReadOptions,
  RemoveSocketOptions,
  SetStatusOptions,
  WatchOptions,
} from './presence/options.js';
export { PresenceService } from './presence/presence-service.js';
export type { RoomHandler, RoomWatch } from './presence/rooms.js';
export type {
  PresenceChange,
  PresenceData,
  RoomChangeEvent,
  RoomMember,
  SocketPresence,
  Status,
  WatchedPresence,
} from './presence/types.js';
export type { PresenceWatch, WatchHandler } from './presence/watches.js';
export type { Discontinuity, MessageContext } from './pubsub/delivery.js';
export type { Overflow } from './pubsub/inbox.js';
export type { MessageStream, ReceivedMessage } from './pubsub/message-stream.js';
export type {
  MessageHandler,
  MessagesOptions,
  Published,
  PublishOptions,
  PubSubOptions,
  PubSubStats,
  SubscribeOptions,
} from './pubsub/options.js';
export { PubSubService } from './pubsub/pubsub-service.js';
export type { Subscription } from './pubsub/subscribe.js';
export type { RedisClient } from './redis/detect.js';
export type {
  Capabilities,
  Command,
  ConnectionRole,
  Driver,
  DriverListener,
  ExecuteOptions,
  PlainCommand,
  Reply,
  Script,
  ScriptCall,
  SubscriptionKind,
} from './redis/driver.js';
export type { IoredisClient } from './redis/ioredis.js';
export type { IoredisMockClient } from './redis/ioredis-mock.js';
export type { NodeRedisClient } from './redis/node-redis.js';
export type { Rollcall, RollcallOptions } from './rollcall.js';
export { createRollcall } from './rollcall.js';
