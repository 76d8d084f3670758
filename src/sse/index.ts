export type { NodeRequest, NodeResponse, NodeSocket } from '../http/node-types.js';
export { eventStream, pipeEventStream } from './event-stream.js';
export type {
  ChannelStreamOptions,
  EventStreamEnd,
  EventStreamHandle,
  EventStreamOptions,
  EventStreamResponse,
  RoomStreamOptions,
  StreamChannel,
  StreamOptions,
  StreamRoom,
  StreamUser,
  WebRequest,
} from './options.js';
