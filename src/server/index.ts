export type { ConnectionHandler } from './connection-handler.js';
export { createConnectionHandler } from './connection-handler.js';
export type { ConnectionPeer } from './connection-peer.js';
export type { Handshake, HandshakeRejection } from './handshake.js';
export type {
  ClientAction,
  ClientRequest,
  ConnectionHandlerOptions,
  ConnectionIdentity,
  HandshakeRequest,
  RateLimiter,
  RequestHandler,
  ServeCloseOptions,
  ServeStats,
  TypingNotifier,
} from './options.js';
export { RequestError } from './request-error.js';
