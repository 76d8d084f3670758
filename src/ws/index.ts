export type {
  ClientAction,
  ClientRequest,
  ConnectionHandlerOptions,
  ConnectionIdentity,
  HandshakeRequest,
  Permission,
  RateLimiter,
  RequestHandler,
  ServeCloseOptions,
  ServeStats,
  TypingNotifier,
} from '../server/options.js';
export { RequestError } from '../server/request-error.js';
export type { ServeHandle } from '../server/serve-handle.js';
export type { ServeOptions } from './options.js';
export { serveWebSocket } from './serve-web-socket.js';
export type { ServerWebSocketLike, WebSocketServerLike } from './ws-types.js';
