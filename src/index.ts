export type { HistoryOptions } from './history/append.js';
export type { UnrecoverableReason } from './history/merge-into-chain.js';
export type { Position } from './history/position.js';
export type { Clock, Timer } from './internal/clock.js';
export { systemClock } from './internal/clock.js';
export type { CloseOnSignalsOptions } from './internal/close-on-signals.js';
export { closeOnSignals } from './internal/close-on-signals.js';
export type { BinaryCodec, Codec, Json, TextCodec } from './internal/codec.js';
export { bufferCodec, jsonCodec } from './internal/codec.js';
export type { ErrorContext, ErrorListener, ErrorStage } from './internal/diagnostics.js';
export type { Outcome, RollcallErrorCode, SchemaIssue } from './internal/errors.js';
export {
  BannedError,
  ClosedError,
  CommandError,
  ConfigurationError,
  ConnectionError,
  DecodeError,
  DiscontinuityError,
  HandlerError,
  InvalidArgumentError,
  isRollcallError,
  LimitError,
  OverflowError,
  RollcallError,
  SchemaError,
  TimeoutError,
  UnsupportedError,
} from './internal/errors.js';
export type { RollcallEvents, TimedEvent } from './internal/telemetry.js';
export { onTelemetry } from './internal/telemetry.js';
export { NotificationService } from './notifications/notification-service.js';
export type {
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
} from './notifications/options.js';
export type {
  NotificationRequester,
  NotificationRequestHandler,
  NotificationRequestHandlers,
} from './notifications/request-handlers.js';
export type {
  ClosePresenceOptions,
  ForgetOptions,
  ForgottenPresence,
  JoinRoomOptions,
  LookupCacheOptions,
  OnlineUsersOptions,
  PresenceOptions,
  PresenceStats,
  ReadOptions,
  RemoveSocketOptions,
  SetPresenceOptions,
  SetStatusOptions,
  WatchOptions,
} from './presence/options.js';
export { PresenceService } from './presence/presence-service.js';
export type { PresenceWatch } from './presence/presence-watches.js';
export type { RoomWatch } from './presence/room-presence.js';
export type { RoomChangeHandler } from './presence/room-watch-state.js';
export type {
  OwnStatus,
  PresenceChange,
  PresenceData,
  RoomChange,
  RoomMember,
  SocketPresence,
  Status,
  WatchedPresence,
} from './presence/types.js';
export type { PresenceChangeHandler } from './presence/user-watch-state.js';
export { CloseCode, shouldReconnect } from './protocol/close-codes.js';
export type {
  DiscontinuityFrame,
  ErrorFrame,
  MemberInfo,
  MembersFrame,
  PositionFrame,
  PresenceFrame,
  UserPresence,
} from './protocol/frames.js';
export type { Backpressure } from './pubsub/backpressure.js';
export type { OverflowPolicy } from './pubsub/bounded-queue.js';
export type { ChannelLike } from './pubsub/channel.js';
export type {
  ChannelDefinition,
  ChannelOptions,
  ChannelParamNames,
  ChannelParams,
  ChannelRef,
  DefineChannelOf,
  ResolvedChannelOptions,
} from './pubsub/channel-definition.js';
export { defineChannel } from './pubsub/channel-definition.js';
export type { Discontinuity, DiscontinuityReason } from './pubsub/discontinuity.js';
export type { MessageContext } from './pubsub/message-context.js';
export type { MessageStream, ReceivedDiscontinuity, ReceivedMessage } from './pubsub/message-stream.js';
export type {
  ChannelRecoverResult,
  HistoryMessage,
  HistoryPage,
  HistoryReadOptions,
  MessageHandler,
  MessagesOptions,
  PublishOptions,
  PublishResult,
  PublishResultWithHistory,
  PubSubOptions,
  PubSubStats,
  RecoverRequest,
  RecoverResult,
  SubscribeOptions,
} from './pubsub/options.js';
export { PubSubService } from './pubsub/pubsub-service.js';
export type {
  InferInput,
  InferOutput,
  StandardIssue,
  StandardPathSegment,
  StandardResult,
  StandardSchema,
} from './pubsub/schema.js';
export type { Subscription } from './pubsub/subscribe.js';
export type { RedisClient } from './redis/detect.js';
export type {
  Capabilities,
  Command,
  Driver,
  DriverListener,
  DriverSubscribeOptions,
  ExecuteOptions,
  Payload,
  PlainCommand,
  Reply,
  Script,
  ScriptCall,
  SubscriptionKind,
} from './redis/driver.js';
export type { IoredisClient } from './redis/ioredis.js';
export type { IoredisClusterClient } from './redis/ioredis-cluster.js';
export type { IoredisMockClient } from './redis/ioredis-mock.js';
export type { NodeRedisClient } from './redis/node-redis.js';
export type { NodeRedisClusterClient } from './redis/node-redis-cluster.js';
export type { NodeRedisPoolClient } from './redis/node-redis-pool.js';
export type { NodeRedisSentinelClient } from './redis/node-redis-sentinel.js';
export { escapePattern } from './redis/pattern.js';
export type { ForgetResult, Rollcall, RollcallOptions } from './rollcall.js';
export { createRollcall } from './rollcall.js';
export type {
  AttachOptions,
  BroadcastOptions,
  DetachOptions,
  ForgetUserOptions,
  ForgottenUser,
  IdentifyOptions,
  IdentifyRequest,
  JoinOptions,
  JoinResult,
  KickOptions,
  LeaveOptions,
  RevokeOptions,
  RoomServiceOptions,
  RoomServiceStats,
  SlowPeerPolicy,
} from './rooms/options.js';
export type { Peer } from './rooms/peer-writer.js';
export type { FrameEncoder, Notice, RoomEvent } from './rooms/room-message.js';
export { RoomMessage } from './rooms/room-message.js';
export { RoomService } from './rooms/room-service.js';
export type { RoomSocket } from './rooms/room-socket.js';
export type { TypingServiceOptions, TypingUpdateOptions } from './typing/typing-service.js';
export { TypingService } from './typing/typing-service.js';
export type { TypingHandler, TypingWatch } from './typing/typing-watch.js';
