export type {
  ClientAction,
  ClientRequest,
  RateLimiter,
  RequestHandler,
  ServeCloseOptions,
  ServeOptions,
  ServeStats,
  TypingNotifier,
  WebSocketIdentity,
} from './options.js';
export { RequestError } from './request-error.js';
export type { ServeHandle } from './serve-web-socket.js';
export { serveWebSocket } from './serve-web-socket.js';
export type { ServerWebSocketLike, WebSocketServerLike } from './ws-types.js';
