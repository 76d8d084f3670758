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
export type { CrosswsHooks, CrosswsMessage, CrosswsPeer } from './crossws-types.js';
export type { CrosswsHandle } from './serve-crossws.js';
export { serveCrossws } from './serve-crossws.js';
