export { eventStream, pipeEventStream } from './event-stream.js';
export type {
  ChannelStreamOptions,
  EventStreamEnd,
  EventStreamHandle,
  EventStreamOptions,
  EventStreamResponse,
  NodeRequest,
  NodeResponse,
  NodeSocket,
  RoomStreamOptions,
  StreamChannel,
  StreamOptions,
  StreamRoom,
  StreamUser,
  WebRequest,
} from './options.js';
