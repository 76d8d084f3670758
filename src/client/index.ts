export type {
  HistoryEvent,
  HistoryResult,
  MemberInfo,
  ProtocolErrorCode,
  SendResult,
  UserPresence,
} from '../protocol/frames.js';
export { connect } from './client.js';
export { ClientError, type ClientErrorCode, type ClientErrorOptions } from './client-error.js';
export type { Unsubscribe } from './emitter.js';
export type { Jsonify } from './json-types.js';
export type { ConnectOptions } from './options.js';
export type { ClientClock, ClientTimer, WebSocketConstructor, WebSocketLike } from './platform.js';
export type {
  AbortSignalLike,
  AnyEventContext,
  CallOptions,
  Client,
  ClientDiscontinuity,
  ClientEvents,
  ClientHistoryOptions,
  ClientJoinOptions,
  ClientPresenceWatch,
  ClientSendResult,
  ClientState,
  CloseInfo,
  EventContext,
  EventHandler,
  EventMap,
  EventName,
  EventSubscriber,
  OpenEvent,
  Reconnecting,
  Room,
  RoomName,
  RoomState,
  SendOptions,
} from './types.js';
