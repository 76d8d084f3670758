import { Client } from './client.js';
import type { ConnectOptions } from './options.js';
import type { EventMap } from './types.js';

export type {
  HistoryEvent,
  HistoryResult,
  MemberInfo,
  ProtocolErrorCode,
  SendResult,
  UserPresence,
} from '../protocol/frames.js';
export type { ClientEvents, OpenEvent } from './client.js';
export { ClientError, type ClientErrorCode, type ClientErrorOptions } from './client-error.js';
export type { Unsubscribe } from './emitter.js';
export type { ConnectOptions } from './options.js';
export type { ClientClock, ClientTimer, WebSocketConstructor, WebSocketLike } from './platform.js';
export type { ClientState, CloseInfo, Reconnecting } from './reconnecting-socket.js';
export type { AbortSignalLike, CallOptions } from './request-queue.js';
export type {
  ClientDiscontinuity,
  ClientPresenceWatch,
  EventContext,
  EventHandler,
  EventMap,
  EventName,
  EventSubscriber,
  HistoryReadOptions,
  JoinOptions,
  Room,
  RoomState,
  SendOptions,
} from './types.js';
export type { Client };

/**
 * Connects to a server of `rollcall/ws`, and stays connected until {@link Client.close} or a server that says not to
 * come back. Returns at once. `E`: the events sent to the user, by name.
 *
 * @throws {ClientError} `INVALID` for options that can't be.
 */
export function connect<E extends object = EventMap>(options: ConnectOptions): Client<E> {
  return new Client<E>(options);
}
