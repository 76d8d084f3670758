export { ClientError, type ClientErrorCode, type ClientErrorOptions } from '../client/client-error.js';
export type { Unsubscribe } from '../client/emitter.js';
export type { ClientClock, ClientTimer } from '../client/platform.js';
export type {
  ClientDiscontinuity,
  ClientState,
  CloseInfo,
  EventMap,
  EventName,
  Reconnecting,
} from '../client/types.js';
export { connectEventStream } from './connect-event-stream.js';
export type { EventStreamClientOptions, FetchLike, HeaderMap } from './options.js';
export type {
  EventStreamClient,
  EventStreamClientEvents,
  StreamCloseInfo,
  StreamDiscontinuity,
  StreamEventContext,
  StreamEventHandler,
  StreamEventSubscriber,
  StreamOpenEvent,
  StreamReconnecting,
} from './types.js';
