export type {
  Action,
  ActionDetails,
  CloseServingOptions,
  Identity,
  RateLimiter,
  RequestHandler,
  ServeOptions,
  ServingStats,
  Typing,
} from './options.js';
export { RequestError } from './request-error.js';
export type { Serving } from './serve-web-socket.js';
export { serveWebSocket } from './serve-web-socket.js';
export type { WebSocketLike, WebSocketServerLike } from './ws-types.js';
