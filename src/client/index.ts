import { Client } from './client.js';
import type { ConnectOptions } from './options.js';
import type { Events } from './types.js';

export type {
  ErrorCode,
  HistoryAnswer,
  Membership,
  PastEvent,
  Sent,
  UserPresence,
} from '../protocol/frames.js';
export type { ClientEvents, Opened } from './client.js';
export { ClientError, type ClientErrorCode, type ClientErrorOptions } from './client-error.js';
export type { Unsubscribe } from './emitter.js';
export type { ConnectOptions } from './options.js';
export type { ClientClock, Timer, WebSocketConstructor, WebSocketLike } from './platform.js';
export type { ClientState, Ended, Reconnecting } from './reconnecting-socket.js';
export type { Aborter, CallOptions } from './request-queue.js';
export type {
  Discontinuity,
  EventContext,
  EventHandler,
  EventName,
  EventSource,
  Events,
  HistoryOptions,
  JoinOptions,
  PresenceWatch,
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
export function connect<E extends object = Events>(options: ConnectOptions): Client<E> {
  return new Client<E>(options);
}
