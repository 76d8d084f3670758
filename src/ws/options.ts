import type { IncomingMessage } from 'node:http';
import type { ConnectionHandlerOptions, ConnectionIdentity } from '../server/options.js';

/** Options of {@link serveWebSocket}. */
export interface ServeOptions<User extends ConnectionIdentity = ConnectionIdentity>
  extends ConnectionHandlerOptions<User, IncomingMessage> {
  /**
   * Longest frame of a client, in bytes; a longer one closes its connection with 1009. A smaller `maxPayload` of the
   * server takes precedence. @default 65_536
   */
  maxFrameBytes?: number;
}
