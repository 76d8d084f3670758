export type { NodeRequest, NodeResponse, NodeSocket } from '../http/node-types.js';
export type { ConnectionHandler } from './connection-handler.js';
export { createConnectionHandler } from './connection-handler.js';
export type { ConnectionPeer } from './connection-peer.js';
export type { Handshake, HandshakeRejection } from './handshake.js';
export {
  createHttpHandler,
  type HttpHandler,
  type NodeBodyRequest,
} from './http-handler.js';
export type {
  ClientAction,
  ClientRequest,
  ConnectionHandlerOptions,
  ConnectionIdentity,
  HandshakeRequest,
  HttpHandlerOptions,
  Permission,
  RateLimiter,
  RequestHandler,
  ServeCloseOptions,
  ServeStats,
  TypingNotifier,
} from './options.js';
export { RequestError } from './request-error.js';
